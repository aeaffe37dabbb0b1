"""Finds the files that paths, globs and folders name."""

from collections.abc import Sequence
import glob
import os
import re
from typing import NamedTuple, TYPE_CHECKING

from esmm_jax import paths, system_errors
from esmm_jax.data.csv_files import dialect as dialects
from esmm_jax.data.csv_files import file_kinds
from esmm_jax.data.csv_files.dialect import Dialect
from esmm_jax.storage import faults
from esmm_jax.types import InputError
from esmm_jax.whole_files import is_stray

if TYPE_CHECKING:
  import fsspec  # An export encodes rows without it.

# Entry of a folder -> whose table it is: rows of its files may be deleted.
_TABLES = {'_delta_log': 'Delta Lake', '.hoodie': 'Hudi'}
_GLOB = re.compile(r'[*?\[]')


class File(NamedTuple):
  """An input file.

  Attributes:
    path: As fsspec writes it, with its protocol if that is not the local one.
    size: Bytes.
  """

  path: str
  size: int


def find(
    patterns: Sequence[str],
    option: str = '--input',
    dialect: Dialect = dialects.DEFAULT,
    seen: dict[object, str] | None = None,
) -> list[File]:
  """Finds files, sorted within each pattern.

  Args:
    patterns: `log.csv`, `day=*/part-*.parquet`, a folder, or with a protocol of
      fsspec. In folders what begins with `_` or `.` is left out.
    option: The option that holds the patterns, for messages.
    dialect: The form of the CSV files.
    seen: Files that were found before; gets these too.

  Raises:
    InputError: A pattern fits no file, a file is neither CSV nor Parquet, or
      one is named twice, by a link too.
  """
  files: list[File] = []
  seen = {} if seen is None else seen
  for pattern in patterns:
    try:
      fs, path = paths.file_system(pattern)
      where = f'{option}={pattern}'
      listed, sizes = _listed(fs, path, where)
    except (ImportError, OSError, ValueError, AttributeError) as e:
      if isinstance(e, InputError) and str(e).startswith(option):
        raise
      what = option if isinstance(e, InputError) else f'{option}={pattern}'
      system_errors.refuse(what, e)
      raise InputError(f'{what}: {e}') from e
    if not listed:
      raise InputError(f'{option}={pattern}: there is no such file.')
    is_local = 'file' in _protocols(fs)
    for p, size in zip(listed, sizes):
      name = p if is_local else fs.unstrip_protocol(p)
      _refuse_twice(name, is_local, option, seen)
      if not file_kinds.by_name(name):
        is_folder = p != path and fs.isdir(path)
        inside = f'{pattern.rstrip("/")}/*.parquet' if is_folder else ''
        _check_kind(name, option, dialect, inside)
      files.append(File(name, size))
  return files


def _listed(
    fs: 'fsspec.AbstractFileSystem', path: str, where: str
) -> tuple[list[str], list[int]]:
  """Returns the files of a pattern, and their bytes."""

  def now() -> tuple[list[str], list[int]]:
    fs.invalidate_cache()  # What was listed before may be another state.
    names = _list(fs, path, where)
    return names, [int(fs.size(name) or 0) for name in names]

  return now() if 'file' in _protocols(fs) else faults.retried(where, now)


def _check_kind(
    path: str, option: str, dialect: Dialect, inside: str
) -> None:
  """Refuses a file whose kind neither its name nor its content tells.

  Args:
    path: The file.
    option: See `find`.
    dialect: See there.
    inside: A glob of the folder that the file is in, if a folder was named.
  """
  try:
    file_kinds.kind_of(path, dialect)
  except InputError as e:
    text = f'{option}: {e}'
    if inside:
      text += f' If it is no data, name the rest, as in {inside}.'
    raise InputError(text) from e


def _refuse_twice(
    path: str, is_local: bool, option: str, seen: dict[object, str]
) -> None:
  """Refuses a file that was found before, by this name or another."""
  key: object = path
  if is_local:
    status = os.stat(path)
    # Some file systems number no files.
    number = (status.st_dev, status.st_ino)
    key = number if status.st_ino else os.path.realpath(path)
  if key in seen:
    if os.path.normpath(seen[key]) == os.path.normpath(path):
      what = f'{path} is named twice'
    else:
      what = f'{path} and {seen[key]} are one file, by a link'
    raise InputError(f'{option}: {what}; its rows would count twice.')
  seen[key] = path


def _literal_folders(fs: 'fsspec.AbstractFileSystem', pattern: str) -> str:
  """Escapes the folders of a pattern that are there: `lr[0.1]/*.csv`."""
  folders, rest = '', pattern
  while '/' in rest:
    name, _, behind = rest.partition('/')
    if glob.escape(name) != name and not fs.isdir(folders + name):
      break
    folders, rest = f'{folders}{name}/', behind
  return glob.escape(folders) + rest


def _list(fs: 'fsspec.AbstractFileSystem', path: str, where: str) -> list[str]:
  """Returns the files of a path, a folder or a glob."""
  if fs.isfile(path):
    return [path]
  if fs.isdir(path):
    return _folder(fs, path, where)
  matches = sorted(fs.glob(_literal_folders(fs, path)))
  files = [p for p in matches if fs.isfile(p) and not _is_aside(p, path)]
  folders = [p for p in matches if fs.isdir(p) and not _is_aside(p, path)]
  if matches:
    _refuse_tables(fs, matches[0].rpartition('/')[0], where)
  if files:
    # `log/*` means its files, and folders that are data sets by their name.
    folders = [p for p in folders if file_kinds.by_name(p) or '=' in _last(p)]
  inside = [p + '/' for p in folders]
  folders = [p for p in folders if not p.startswith(tuple(
      other for other in inside if other != p + '/'))]
  more = [f for p in folders for f in _folder(fs, p, where)]
  return sorted({*files, *more})


def _is_aside(path: str, pattern: str) -> bool:
  """Returns whether a match of a glob is no data, as `_SUCCESS`, `_delta_log`.

  A file `_a.csv` is data: a glob like `*.csv` says so.
  """
  start = _GLOB.split(pattern)[0].rpartition('/')[0]
  if '/_' in pattern[len(start) :] or '/.' in pattern[len(start) :]:
    return False
  *folders, name = path[len(start) :].strip('/').split('/')
  if any(map(_is_hidden, folders)):
    return True
  return is_stray(name) or _is_hidden(name) and not file_kinds.by_name(name)


def _is_hidden(name: str) -> bool:
  """Returns whether Spark leaves out what has this name, or it is nobody's."""
  if is_stray(name) or name.startswith('.'):
    return True
  return name.startswith('_') and '=' not in name


def _last(path: str) -> str:
  return path.rstrip('/').rpartition('/')[2]


def _folder(
    fs: 'fsspec.AbstractFileSystem', path: str, where: str
) -> list[str]:
  """Returns the files in a folder, and in those in it."""
  root = path.rstrip('/')
  _refuse_tables(fs, root, where)
  files = []
  for p in sorted(fs.find(root)):
    parts = p[len(root) :].strip('/').split('/')
    if parts[-1].endswith('.metadata.json') and 'metadata' in parts:
      raise InputError(
          f'{where}: {root} is a table of Iceberg, whose files hold rows that'
          ' were deleted too. Export it as Parquet.'
      )
    if any(map(_is_hidden, parts)):
      continue
    # fsspec does not follow it, so that no loop is endless.
    if 'file' in _protocols(fs) and os.path.isdir(p):
      raise InputError(
          f'{where}: {p} is a link to a folder; name that folder itself.'
      )
    files.append(p)
  if not files:
    raise InputError(
        f'{where}: the folder holds no file; what begins with _ or . does not'
        ' count.'
    )
  return files


def _refuse_tables(
    fs: 'fsspec.AbstractFileSystem', folder: str, where: str
) -> None:
  """Refuses a folder that only another program can read right."""
  for entry in fs.ls(folder, detail=False):
    if maker := _TABLES.get(_last(entry)):
      raise InputError(
          f'{where}: {folder} is a table of {maker}, whose files hold rows that'
          ' were deleted too. Export it as Parquet.'
      )


def _protocols(fs: 'fsspec.AbstractFileSystem') -> tuple[str, ...]:
  return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
