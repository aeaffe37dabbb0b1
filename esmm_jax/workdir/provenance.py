"""Provenance of results: the commit, the device, and a hash of the data."""

from collections.abc import Mapping
import os
import subprocess
from typing import Any

from esmm_jax import streams
from esmm_jax.json_files import read_json, write_json
from esmm_jax.types import InputError

_ROOT = os.path.abspath(os.path.join(__file__, '../../..'))
_SOURCE = ('esmm_jax', 'experiments', 'configs')


def commit(root: str = _ROOT) -> str:
  """Returns the git commit of the code.

  Args:
    root: Folder that holds the package.

  Returns:
    Twelve digits, followed by '(changed)' if source files differ from the
    commit; 'unknown' if the package is not in a git checkout of its own.
  """
  top = _git(root, 'rev-parse', '--show-toplevel')
  if top is None or os.path.realpath(top) != os.path.realpath(root):
    return 'unknown'
  head = _git(root, 'rev-parse', '--short=12', 'HEAD')
  changed = _git(root, 'status', '--porcelain', '--', *_SOURCE)
  return f'{head} (changed)' if changed else f'{head}'


def _git(root: str, *arguments: str) -> str | None:
  """Returns what a git command prints; None if it fails."""
  try:
    done = subprocess.run(
        ['git', '-C', root, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
  except (OSError, subprocess.CalledProcessError):
    return None
  return done.stdout.strip()


def device() -> str:
  """Returns number and kind of the devices of JAX: '1 x NVIDIA H100'."""
  import jax  # Imports slowly, and results tables do without.

  devices = jax.devices()
  return f'{len(devices)} x {devices[0].device_kind}'


def fingerprint(builder: Any) -> dict[str, str]:
  """Returns what tells prepared data from other data.

  Args:
    builder: A prepared `ColumnarBuilder`.

  Returns:
    `data`: see there; the hash is of all columns of all rows. `encoder_sha256`:
    of the vocabularies and scalings of raw values; `encoder_options_sha256`: of
    all else that its folder holds; '' without an encoder.
  """
  return {'data': data(builder)} | builder.encoder_hashes()


def data(builder: Any) -> str:
  """Returns name, config and version of prepared data, and its hash.

  Args:
    builder: A prepared `ColumnarBuilder`.
  """
  return f'{builder.info.full_name}, sha256 {builder.columns_sha256[:16]}'


def origin(command: str) -> dict[str, str]:
  """Returns the command, the commit and the device, for `note_origin`."""
  return {'command': command, 'commit': commit(), 'device': device()}


def note_origin(workdir: str, entry: Mapping[str, str]) -> None:
  """Adds an entry to a run's origin.json, unless it is the last one there.

  A file that is torn is renamed to origin.json.damaged, with a warning.
  """
  path = os.path.join(workdir, 'origin.json')
  try:
    entries = read_json(path, f'It is renamed to {path}.damaged.') or []
    if not isinstance(entries, list):
      raise InputError(f'{path} is no list.') from ValueError()
  except InputError as e:
    if not isinstance(e.__cause__, ValueError):
      raise  # The system refused it: nothing is known of what is in it.
    streams.warn(str(e))
    os.replace(path, f'{path}.damaged')
    entries = []
  if not entries or entries[-1] != entry:
    os.makedirs(workdir, exist_ok=True)
    write_json(path, [*entries, entry])
