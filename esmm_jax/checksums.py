"""Checksums of folders: what was written is what is read back.

Checkpoints are sealed: a JSON file *beside* the folder, written when the folder
is complete, lists the size and the sha256 of each file in it. A folder without
a seal was cut off. Prepared data has lists of its own
(`data.store.prepared_files`).
"""

from collections.abc import Iterator, Mapping
import hashlib
import json
import os
from typing import Any

from esmm_jax.json_files import read_json, write_json

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
      sealed = json.load(f)
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
