"""The kind of a file, by its name and by its first bytes."""

from collections.abc import Iterator
import contextlib
import lzma
import os
import re
from typing import Any
import zlib

from esmm_jax import paths, system_errors
from esmm_jax.data.csv_files.dialect import Dialect
from esmm_jax.storage import faults
from esmm_jax.types import InputError
import pyarrow as pa

CSV = ('.csv', '.tsv')
PARQUET = ('.parquet', '.pq', '.parq')
COMPRESSED = ('.gz', '.bz2', '.xz', '.zst', '.zstd', '.lz4')
ENDINGS = f'{", ".join([*CSV, *PARQUET])} (CSV also with .gz, .bz2, .xz, .zst)'
# Raised by reading a damaged file; the last four by a compressed one.
DAMAGED = (pa.ArrowException, OSError, EOFError, zlib.error, lzma.LZMAError)

# First bytes -> the name of the compression.
_COMPRESSIONS = {
    b'\x1f\x8b': 'gzip',
    **{b'BZh%d1AY&SY' % n: 'bz2' for n in range(1, 10)},
    b'\xfd7zXZ\0': 'xz',
    b'\x28\xb5\x2f\xfd': 'zstd',
    b'\x04\x22\x4d\x18': 'lz4',
}
# First bytes of what is no text -> its name, and what to do.
_OTHERS = {
    b'PK\x03\x04': ('a ZIP archive or an Excel workbook', 'Unpack it, or save '
                    'the sheet as CSV'),
    b'\xd0\xcf\x11\xe0': ('an Excel workbook', 'Save the sheet as CSV'),
    b'ORC': ('an ORC file', 'Convert it to Parquet'),
    b'Obj\x01': ('an Avro file', 'Convert it to Parquet'),
    b'ARROW1\0': ('an Arrow (Feather) file', 'Convert it to Parquet'),
    b'\x89HDF': ('an HDF5 file', 'Convert it to Parquet'),
    b'\x93NUMPY': ('a NumPy array', 'Convert it to Parquet'),
    b'SQLite format 3\0': ('an SQLite database', 'Export the table as CSV'),
    b'7z\xbc\xaf\x27\x1c': ('a 7z archive', 'Unpack it'),
    b'Rar!\x1a': ('a RAR archive', 'Unpack it'),
    b'\x80\x04\x95': ('a pickle', 'Convert it to Parquet'),
    b'\x80\x05\x95': ('a pickle', 'Convert it to Parquet'),
    b'PARE': ('an encrypted Parquet file', 'Decrypt it'),
}
# No text begins so, in no encoding of one byte; `ORC_id,...` is a header.
_BINARY = re.compile(rb'[\0-\x08\x0e-\x1f\x7f-\xff]')
_POINTER = b'version https://git-lfs.github.com/spec/'
_UTF16 = (b'\xff\xfe', b'\xfe\xff')


def _base(path: str) -> str:
  """Returns the last part of a path in small letters, uncompressed."""
  name = path.rpartition('/')[2].lower()
  if '://' in path:
    name = name.partition('?')[0]
  stem, ending = os.path.splitext(name)
  return stem if ending in COMPRESSED else name


def by_name(path: str) -> str:
  """Returns `csv`, `parquet` or, where the name does not tell, ''."""
  name = _base(path)
  if name.endswith(CSV):
    return 'csv'
  return 'parquet' if name.endswith(PARQUET) else ''


def separator_of(path: str, dialect: Dialect) -> str:
  """Returns the separator of a CSV file."""
  return dialect.separator_of(_base(path))


def kind_of(path: str, dialect: Dialect) -> str:
  """Returns the kind of a file, `csv` or `parquet`.

  Args:
    path: The file.
    dialect: Its `format` decides where the name is of another kind or of none.

  Raises:
    InputError: It is neither, a pointer of Git LFS, or content and name differ
      and `format` is unset.
  """
  start = head(path)
  if start.startswith(_POINTER):
    raise InputError(
        f'{path} is a pointer of Git LFS, not the file itself; fetch that with'
        ' git lfs pull.'
    )
  named, wanted = by_name(path), dialect.format
  is_parquet = start[:4] == b'PAR1' and (
      len(start) == 4 or bool(_BINARY.match(start, 4))
  )
  if is_parquet and (wanted == 'parquet' or named == 'parquet'):
    return 'parquet'
  if is_parquet and (named or wanted):
    raise InputError(
        f'{path} is a Parquet file by its first bytes. Rename it to .parquet,'
        f' or set {dialect.option("format")}=parquet.'
    )
  if is_parquet:
    return 'parquet'
  if (wanted or named) == 'parquet':
    raise InputError(
        f'{path} cannot be read: it does not begin as a Parquet file does'
        f' ({_shown(start)}).{_other(start, dialect)} If it is CSV, set'
        f' {dialect.option("format")}=csv, or remove the file.'
    )
  if named or wanted:
    _refuse_other(path, start, dialect)
    return 'csv'
  raise InputError(
      f'{path} is neither CSV nor Parquet by its name, which must end in'
      f' {ENDINGS}.{_other(start, dialect)} If it is CSV, set'
      f' {dialect.option("format")}=csv.'
  )


def is_csv(path: str, dialect: Dialect) -> bool:
  """Returns whether a file that can be read is CSV."""
  return kind_of(path, dialect) == 'csv'


def _refuse_other(path: str, start: bytes, dialect: Dialect) -> None:
  """Refuses what is no text, and text that is not in the encoding."""
  if note := _other(start, dialect):
    raise InputError(f'{path} is no CSV file.{note}')


def _other(start: bytes, dialect: Dialect) -> str:
  """Returns a sentence about the first bytes of no CSV file, or ''."""
  for magic, (noun, do) in _OTHERS.items():
    if start.startswith(magic) and _BINARY.search(start):
      return f' By its first bytes it is {noun}. {do}.'
  if start.startswith(_UTF16) and not dialect.encoding:
    return (
        f' By its first bytes it is UTF-16; set {dialect.option("encoding")}='
        'utf-16.'
    )
  return ''


def _shown(start: bytes) -> str:
  if not start:
    return 'it is empty'
  return f'it begins with {start[:16]!r}'


def head(path: str) -> bytes:
  """Returns the first bytes of a file as it is stored."""
  with open_raw(path) as f:
    return f.read(64)


def open_raw(path: str) -> Any:
  """Opens a local or remote file, as it is stored.

  Raises:
    InputError: It cannot be opened.
  """
  try:
    # Not fsspec.open: it takes `[1]` in a name for a pattern.
    fs, name = paths.file_system(path)
    if '://' not in path:
      return fs.open(name, 'rb')
    file = faults.retried(path, lambda: fs.open(name, 'rb'))
    return faults.Patient(file, path)
  except OSError as e:
    raise system_errors.unreadable(path, e) from e


@contextlib.contextmanager
def open_file(path: str) -> Iterator[Any]:
  """Opens a file for reading from begin to end, decompressed.

  The compression is that of the first bytes, whatever the name says.
  """
  from fsspec.compression import compr  # An export encodes rows without it.

  start = head(path)
  name = next((c for m, c in _COMPRESSIONS.items() if start.startswith(m)), '')
  with open_raw(path) as f:
    if name in ('zstd', 'lz4') and name not in compr:
      with pa.CompressedInputStream(pa.PythonFile(f, 'r'), name) as stream:
        yield stream
    elif name:
      with compr[name](f, mode='rb') as stream:
        yield stream
    else:
      yield f
