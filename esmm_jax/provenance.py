"""Where numbers come from: the commit, the device, and a hash of the data."""

import contextlib
import hashlib
import json
import os
import subprocess
from typing import Any

from esmm_jax.writer import write_json
import jax

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_KEPT_HASH = 'sha256.json'
_SOURCE = ('esmm_jax', 'experiments', 'configs')


def commit() -> str:
  """The git commit of the code, '(changed)' behind it if files differ from it.

  'unknown' where the package is not in a git checkout of its own.
  """
  top = _git('rev-parse', '--show-toplevel')
  if top is None or os.path.realpath(top) != os.path.realpath(_ROOT):
    return 'unknown'
  head = _git('rev-parse', '--short=12', 'HEAD')
  changed = _git('status', '--porcelain', '--', *_SOURCE)
  return f'{head} (changed)' if changed else f'{head}'


def _git(*arguments: str) -> str | None:
  try:
    done = subprocess.run(
        ['git', '-C', _ROOT, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
  except (OSError, subprocess.CalledProcessError):
    return None
  return done.stdout.strip()


def device() -> str:
  """Kind and number of the devices that JAX uses: '1 x NVIDIA H100'."""
  devices = jax.devices()
  return f'{len(devices)} x {devices[0].device_kind}'


def data(builder: Any) -> str:
  """Name, config and version of prepared data, and a hash of its columns.

  Args:
    builder: A prepared `ColumnarBuilder`.
  """
  digest = folder_hash(os.fspath(builder.data_path))
  return f'{builder.info.full_name}, sha256 {digest[:16]}'


def folder_hash(folder: str) -> str:
  """sha256 over the names and contents of the columns in a folder.

  It is kept in the folder, and made again when the size or the time of a file
  has changed.
  """
  paths = sorted(_columns(folder))
  stats = [os.stat(os.path.join(folder, path)) for path in paths]
  files = [[p, s.st_size, s.st_mtime_ns] for p, s in zip(paths, stats)]
  kept = os.path.join(folder, _KEPT_HASH)
  with contextlib.suppress(OSError, ValueError):
    with open(kept, encoding='utf-8') as f:
      found = json.load(f)
    if found['files'] == files:
      return found['sha256']
  digest = _hash(folder, paths)
  with contextlib.suppress(OSError):  # The folder may be read-only.
    write_json(kept, {'sha256': digest, 'files': files})
  return digest


def _hash(folder: str, paths: list[str]) -> str:
  whole = hashlib.sha256()
  for path in paths:
    with open(os.path.join(folder, path), 'rb') as f:
      digest = hashlib.file_digest(f, 'sha256').hexdigest()
    whole.update(f'{path} {digest}\n'.encode())
  return whole.hexdigest()


def _columns(folder: str) -> list[str]:
  found = []
  for root, _, files in os.walk(folder):
    inside = os.path.relpath(root, folder)
    found += [os.path.join(inside, f) for f in files if f.endswith('.npy')]
  return found
