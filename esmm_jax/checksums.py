"""Checksums of folders: what was written is what is read back.

Checkpoints are sealed: a JSON file *beside* the folder, written when the folder
is complete, lists the size and the sha256 of each file in it. A folder without
a seal was cut off. Prepared data has lists of its own
(`data.store.prepared_files`).

An exported folder travels alone, so its list lies in it; a JSON file that is
passed on by itself holds the hash of its own content (`sealed_content`).
"""

from collections.abc import Iterator, Mapping
import dataclasses
import hashlib
import json
import os
from typing import Any

from esmm_jax.json_files import parse_json, read_json, to_json, write_json
from esmm_jax.types import InputError
from esmm_jax.whole_files import is_stray

_SUFFIX = '.seal.json'
# Key of the hash of a JSON file's other keys: the sha256 of their JSON text,
# keys sorted, as `json.dumps(..., sort_keys=True)` writes it.
CONTENT = 'sha256'


def sha256(path: str) -> str:
  """Returns the sha256 of a file, as hexadecimal digits."""
  with open(path, 'rb') as f:
    return hashlib.file_digest(f, 'sha256').hexdigest()


def hash_json(value: Any) -> str:
  """Returns the sha256 of a JSON value, in any order of its keys."""
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def hash_fields(value: Any) -> str:
  """Returns the sha256 of a dataclass, such as a schema.

  Fields that have their default do not count, so that a version that adds an
  option changes no hash.
  """
  return hash_json(_set_fields(value))


def _set_fields(value: Any) -> Any:
  if dataclasses.is_dataclass(value):
    fields = dataclasses.fields(value)
    set_fields = {f.name: getattr(value, f.name) for f in fields}
    return {
        f.name: _set_fields(set_fields[f.name])
        for f in fields
        if set_fields[f.name] != f.default
    }
  if isinstance(value, (list, tuple)):
    return list(map(_set_fields, value))
  return value


def seal(folder: str) -> None:
  """Writes the seal of a complete folder, whole or not at all."""
  write_json(folder + _SUFFIX, contents(folder))


def is_sealed(folder: str) -> bool:
  """Returns True if there is a seal, whatever it holds."""
  return os.path.lexists(folder + _SUFFIX)


def is_seal(name: str) -> bool:
  """Returns True for the name of a seal."""
  return name.endswith(_SUFFIX)


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
    if not _is_list_of_files(sealed):
      raise ValueError('it lists no files')
  except FileNotFoundError:
    return f'it was not completed, there is no {name}'
  except ValueError as e:
    return f'its list of checksums, {name}, cannot be read ({e})'
  for path, wrong in _differences(sealed, contents(folder)):
    return f'{path} {wrong}'
  return ''


def read_seal(folder: str, strict: bool = True) -> dict[str, list[Any]]:
  """Reads the seal of a folder: path -> [bytes, sha256]; {} without one.

  Args:
    folder: The folder beside which it lies.
    strict: Refuses a seal that is not JSON; otherwise there is none.

  Raises:
    InputError: The seal is damaged and `strict` is set.
  """
  try:
    sealed = read_json(folder + _SUFFIX, 'Use another checkpoint.')
  except InputError:
    if strict:
      raise
    sealed = None
  return sealed if _is_list_of_files(sealed) else {}


def move_seal(folder: str, to: str) -> None:
  """Moves the seal of a folder to that of another name."""
  os.rename(folder + _SUFFIX, to + _SUFFIX)


def holds_only(folder: str, files: Mapping[str, Any]) -> bool:
  """Returns whether no file in a folder is missing in a list, but strays."""
  return all(path in files for path in _list_files(folder))


def contents(folder: str) -> dict[str, list[Any]]:
  """Returns path in the folder -> [bytes, sha256] of each file."""
  return {
      path: [os.path.getsize(full), sha256(full)]
      for path in _list_files(folder)
      for full in [os.path.join(folder, path)]
  }


def listed_damage(folder: str, files: Mapping[str, list[Any]]) -> str:
  """Compares a folder with a list of its files.

  Args:
    folder: Other files directly in it are nobody's and do not count; those in
      its folders do.
    files: As `contents` returned them.

  Returns:
    What is wrong, the tail of a sentence; '' if nothing is.

  Raises:
    OSError: A file cannot be read.
  """
  now = {
      path: entry
      for path, entry in contents(folder).items()
      if path in files
      or os.sep in path and not is_stray(os.path.basename(path))
  }
  for path, wrong in _differences(files, now):
    return f'{path} {wrong}'
  return ''


def difference(folder: str, other: str) -> str:
  """Compares the files in two folders; '' if they are the same."""
  for path, wrong in _differences(contents(folder), contents(other)):
    return f'{path} {wrong}'
  return ''


def changed_content(value: Mapping[str, Any]) -> str:
  """Compares the content of a JSON file with the hash that it holds.

  Args:
    value: What was read, of a file that was written as `sealed_content`.

  Returns:
    What is wrong, the tail of a sentence; '' if it is as it was written.
  """
  if CONTENT not in value:
    return f'has no {CONTENT} of its own content'
  if value[CONTENT] != _content_hash(value):
    return 'is not as it was written'
  return ''


def sealed_content(value: Mapping[str, Any]) -> dict[str, Any]:
  """Adds the hash of all that a JSON file is to hold, under `CONTENT`.

  Args:
    value: Keys are strings; numpy's numbers, nan and infinity become what
      `json_files.to_json` makes of them.
  """
  content = to_json(value)
  return content | {CONTENT: _content_hash(content)}


def _content_hash(value: Mapping[str, Any]) -> str:
  """Hashes what JSON makes of a mapping, without its own hash."""
  return hash_json({k: v for k, v in value.items() if k != CONTENT})


def remove_stray(folder: str) -> None:
  """Removes the seals of steps in a folder whose own folders are gone."""
  for name in os.listdir(folder):
    sealed = name.removesuffix(_SUFFIX)
    if sealed != name and sealed[:1].isdecimal():
      if not os.path.isdir(os.path.join(folder, sealed)):
        os.remove(os.path.join(folder, name))


def _is_list_of_files(value: Any) -> bool:
  """Returns True for path -> [bytes, sha256], of one file at least."""
  return (
      isinstance(value, dict)
      and bool(value)
      and all(isinstance(v, list) and len(v) == 2 for v in value.values())
  )


def _differences(
    then: Mapping[str, Any], now: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
  """Yields (path, what is wrong) of the files, [bytes, sha256], that differ."""
  for path in sorted(then.keys() | now.keys()):
    if is_stray(os.path.basename(path)):
      continue  # Earlier versions listed them.
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




def _list_files(folder: str) -> list[str]:
  """Returns the paths of all files in a folder, relative to it.

  Files that are nobody's (`whole_files.is_stray`) are left out, and so is what
  Python writes beside modules that it has imported.

  Raises:
    OSError: A folder in it cannot be read.
  """

  def refuse(error: OSError) -> None:
    raise error  # `os.walk` would leave that folder out.

  return [
      os.path.relpath(os.path.join(root, name), folder)
      for root, _, names in os.walk(folder, onerror=refuse)
      for name in names
      if not is_stray(name) and os.path.basename(root) != '__pycache__'
  ]
