"""Checksums of folders: what was written is what is read back.

Checkpoints are sealed: a JSON file *beside* the folder, written when the folder
is complete, lists the size and the sha256 of each file in it. A folder without
a seal was cut off.

Prepared data is gigabytes that many runs read, so `sha256.json` *in* its folder
also holds the time of each file, and only files whose size or time differs are
hashed again.
"""

from collections.abc import Iterator, Mapping
import contextlib
import hashlib
import os
from typing import Any

from esmm_jax.json_files import parse_json, read_json, write_json
from esmm_jax.types import InputError

NOTE = 'sha256.json'
_SUFFIX = '.seal.json'


def sha256(path: str) -> str:
  """Returns the sha256 of a file, as hexadecimal digits."""
  with open(path, 'rb') as f:
    return hashlib.file_digest(f, 'sha256').hexdigest()


def seal(folder: str) -> None:
  """Writes the seal of a complete folder, whole or not at all."""
  write_json(folder + _SUFFIX, _contents(folder))


def damage(folder: str) -> str:
  """Compares a sealed folder with its seal.

  Returns:
    What is wrong, the tail of a sentence; '' if the folder is as it was sealed.

  Raises:
    OSError: A file cannot be read, which is no damage: it may be sound.
  """
  name = os.path.basename(folder) + _SUFFIX
  try:
    with open(folder + _SUFFIX, encoding='utf-8') as f:
      sealed = parse_json(f.read())
  except FileNotFoundError:
    return f'it was not completed, there is no {name}'
  except ValueError as e:
    return f'its list of checksums, {name}, cannot be read ({e})'
  for path, wrong in _differences(sealed, _contents(folder)):
    return f'{path} {wrong}'
  return ''


def read_seal(folder: str) -> dict[str, list[Any]]:
  """Reads the seal of a folder: path -> [bytes, sha256]; {} without one."""
  sealed = read_json(folder + _SUFFIX)
  return sealed if isinstance(sealed, dict) else {}


def remove_stray(folder: str) -> None:
  """Removes the seals in a folder whose own folders are gone."""
  for name in os.listdir(folder):
    sealed = name.removesuffix(_SUFFIX)
    if sealed != name and not os.path.isdir(os.path.join(folder, sealed)):
      os.remove(os.path.join(folder, name))


def folder_hash(folder: str) -> str:
  """Hashes the names and contents of the columns in a folder.

  Args:
    folder: Of a prepared data set, or of one that has just been written. The
      checksums are noted in it.

  Returns:
    sha256, as hexadecimal digits.

  Raises:
    InputError: A file is not what it was when the data was prepared.
  """
  noted = _read_note(folder)
  now = {}
  for path in sorted(_list_files(folder)):
    # `sha256.json.PID.tmp` too: of a process that was killed as it wrote it.
    if path.startswith(NOTE):
      continue
    stat = os.stat(os.path.join(folder, path))
    size_and_time = [stat.st_size, stat.st_mtime_ns]
    is_noted = path in noted and noted[path][:2] == size_and_time
    digest = noted[path][2] if is_noted else sha256(os.path.join(folder, path))
    now[path] = [*size_and_time, digest]
  if noted:
    # Digests alone: a copy of the data, with other times, is as good.
    for path, wrong in _differences(_digests(noted), _digests(now)):
      raise InputError(
          f'The prepared data in {folder} has been changed: {path} {wrong}.'
          ' Delete that folder, and it is prepared again.'
      )
  if noted != now:
    with contextlib.suppress(OSError):  # The folder may be read-only.
      write_json(os.path.join(folder, NOTE), {'files': now}, indent=1)
  whole = hashlib.sha256()
  for path, (_, _, digest) in now.items():
    if path.endswith('.npy'):
      whole.update(f'{path} {digest}\n'.encode())
  return whole.hexdigest()


def _differences(
    then: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
  """Yields (path, what is wrong) of the files, [bytes, sha256], that differ."""
  for path in sorted(then.keys() | now.keys()):
    if path not in now:
      yield path, 'is missing'
    elif path not in then:
      yield path, 'is not part of it'
    elif then[path] != now[path]:
      (was, _), (size, _) = then[path], now[path]
      yield path, (
          'is not as it was written'
          if was == size
          else f'has {size} bytes, not {was}'
      )


def _contents(folder: str) -> dict[str, list[Any]]:
  """Returns path in the folder -> [bytes, sha256] of each file."""
  return {
      path: [os.path.getsize(full), sha256(full)]
      for path in _list_files(folder)
      for full in [os.path.join(folder, path)]
  }


def _digests(files: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
  return {path: [0, digest] for path, (_, _, digest) in files.items()}


def _list_files(folder: str) -> list[str]:
  """Returns the paths of all files in a folder, relative to it.

  Raises:
    OSError: A folder in it cannot be read.
  """

  def refuse(error: OSError) -> None:
    raise error  # `os.walk` would leave that folder out.

  return [
      os.path.relpath(os.path.join(root, name), folder)
      for root, _, names in os.walk(folder, onerror=refuse)
      for name in names
  ]


def _read_note(folder: str) -> dict[str, list[Any]]:
  """Returns path -> [bytes, nanoseconds, sha256] as noted; {} if nothing is."""
  try:
    with open(os.path.join(folder, NOTE), encoding='utf-8') as f:
      files = parse_json(f.read())['files']
    return {p: [int(a), int(b), str(c)] for p, (a, b, c) in files.items()}
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    return {}
