"""Checksums of prepared data: what was prepared is what is trained on.

`sha256.json` in a data set's folder holds the size, the time and the sha256 of
each other file, as they were when the data was prepared. A file whose size or
time is another one is read again, and must be what it was.
"""

import contextlib
import hashlib
import json
import os

from esmm_jax.json_files import write_json
from esmm_jax.types import InputError

NAME = 'sha256.json'


def folder_hash(folder: str) -> str:
  """sha256 over the names and contents of the columns in a folder.

  Args:
    folder: Of a prepared data set, or of one that has just been written. What
      is found there is kept in it.

  Raises:
    InputError: A file is not what it was when the data was prepared.
  """
  kept = _kept(folder)
  found = {}
  for path in sorted(_files(folder)):
    stat = os.stat(os.path.join(folder, path))
    found[path] = [stat.st_size, stat.st_mtime_ns]
    if path in kept and kept[path][:2] == found[path]:
      digest = kept[path][2]
    else:
      with open(os.path.join(folder, path), 'rb') as f:
        digest = hashlib.file_digest(f, 'sha256').hexdigest()
    found[path].append(digest)
  if kept:
    _compare(folder, kept, found)
  if kept != found:
    with contextlib.suppress(OSError):  # The folder may be read-only.
      write_json(os.path.join(folder, NAME), {'files': found}, indent=1)
  whole = hashlib.sha256()
  for path, (_, _, digest) in found.items():
    if path.endswith('.npy'):
      whole.update(f'{path} {digest}\n'.encode())
  return whole.hexdigest()


def _compare(folder: str, kept: dict, found: dict) -> None:
  for path in sorted(kept.keys() | found.keys()):
    if path not in found:
      wrong = 'is gone'
    elif path not in kept:
      wrong = 'was not part of it'
    elif kept[path][2] != found[path][2]:
      wrong = 'is not as it was written'
    else:
      continue
    raise InputError(
        f'The prepared data in {folder} has been changed: {path} {wrong}.'
        ' Delete that folder, and it is prepared again.'
    )


def _kept(folder: str) -> dict[str, list]:
  """What was noted, path -> [bytes, nanoseconds, sha256]; {} if nothing was."""
  try:
    with open(os.path.join(folder, NAME), encoding='utf-8') as f:
      files = json.load(f)['files']
    return {p: [int(a), int(b), str(c)] for p, (a, b, c) in files.items()}
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    return {}


def _files(folder: str) -> list[str]:
  found = []
  for root, _, names in os.walk(folder):
    inside = os.path.relpath(root, folder)
    found += [os.path.normpath(os.path.join(inside, n)) for n in names]
  return [path for path in found if not path.startswith(NAME)]
