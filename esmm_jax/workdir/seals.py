"""Checksums of folders: what was written is what is read back.

A seal is a JSON file beside a folder that lists the size and the sha256 of each
file in it. It is written when the folder is complete, so a folder without one
was cut off.
"""

import hashlib
import json
import os
from typing import Any

from esmm_jax.json_files import write_json

_SUFFIX = '.seal.json'


def seal(folder: str) -> None:
  """Writes the seal of a complete folder, whole or not at all."""
  write_json(folder + _SUFFIX, _contents(folder))


def damage(folder: str) -> str:
  """What is wrong with a folder; '' if it is as it was sealed."""
  try:
    with open(folder + _SUFFIX, encoding='utf-8') as f:
      sealed = json.load(f)
  except FileNotFoundError:
    return f'it was not completed, there is no {_name(folder)}'
  except (OSError, ValueError) as e:
    return f'its list of checksums, {_name(folder)}, cannot be read ({e})'
  found = _contents(folder)
  for path in sorted(sealed.keys() | found.keys()):
    if path not in found:
      return f'{path} is missing'
    if path not in sealed:
      return f'{path} is not part of it'
    if sealed[path] != found[path]:
      (was, _), (now, _) = sealed[path], found[path]
      if was != now:
        return f'{path} has {now} bytes, not {was}'
      return f'{path} is not as it was written'
  return ''


def remove_stray(folder: str) -> None:
  """Removes seals in a folder whose own folders are gone."""
  for name in os.listdir(folder):
    sealed = name.removesuffix(_SUFFIX)
    if sealed != name and not os.path.isdir(os.path.join(folder, sealed)):
      os.remove(os.path.join(folder, name))


def _name(folder: str) -> str:
  return os.path.basename(folder) + _SUFFIX


def _contents(folder: str) -> dict[str, list[Any]]:
  """Path in the folder -> [bytes, sha256] of each file."""
  found = {}
  for root, _, files in os.walk(folder):
    for name in files:
      path = os.path.join(root, name)
      with open(path, 'rb') as f:
        digest = hashlib.file_digest(f, 'sha256').hexdigest()
      size = os.path.getsize(path)
      found[os.path.relpath(path, folder)] = [size, digest]
  return found
