"""The folder of an exported model, checked before anything of it is read.

Its description.json lists the size and the sha256 of every other file, and
holds the hash of its own content. A program with one other bit may crash the
process that reads it, and one other bit in a table gives other numbers.
"""

import os
import sys
from typing import Any

from esmm_jax import checksums, system_errors
from esmm_jax.entry import commands
from esmm_jax.json_files import read_json
from esmm_jax.types import InputError

MODEL = 'model.jax_export'
DESCRIPTION = 'description.json'
PARAMS = 'params'
VERSION = 2
# Exports of this version list no files.
_UNCHECKED = 1
_REMEDY = f'Export the run again: {commands.command("export")}.'


def checked(folder: str) -> dict[str, Any]:
  """Reads the description of an export whose files are as they were exported.

  An export of version 1 lists no files: a warning says that.

  Args:
    folder: Of the export.

  Returns:
    The content of description.json.

  Raises:
    InputError: There is no export, or a file of it is another one.
  """
  path = os.path.join(folder, DESCRIPTION)
  about = read_json(path, _REMEDY)
  if about is None:
    raise InputError(
        f'{folder} is no exported model: there is no {DESCRIPTION}. {_REMEDY}'
    )
  if not isinstance(about, dict):
    raise InputError(f'{path} holds no object. {_REMEDY}')
  version = about.get('version')
  if version == _UNCHECKED and checksums.CONTENT not in about:
    print(
        f'warning: {folder} was exported by an earlier version, without'
        ' checksums: damage cannot be noticed. Export the run again.',
        file=sys.stderr,
        flush=True,
    )
    return about
  if version not in (VERSION, _UNCHECKED):
    raise InputError(
        f'{path} is of version {version}, not {VERSION}. {_REMEDY}'
    )
  if wrong := checksums.changed_content(about):
    raise InputError(f'{path} {wrong}. {_REMEDY}')
  if wrong := _damage(folder, about['files']):
    raise InputError(f'The export in {folder} was changed: {wrong}. {_REMEDY}')
  return about


def _damage(folder: str, files: dict[str, list[Any]]) -> str:
  """Returns what is wrong with the files that a description lists, or ''."""
  try:
    return checksums.listed_damage(folder, files)
  except OSError as e:
    system_errors.refuse(e.filename or folder, e)
    return f'{e.filename} cannot be read ({e.strerror})'
