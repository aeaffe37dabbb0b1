"""Parquet and CSV files as a stream of rows, local and remote."""

from collections.abc import Collection, Iterator, Mapping, Sequence
import contextlib
import csv as csv_lib
import io
import itertools
from typing import NamedTuple
import zlib

from esmm_jax.types import InputError, suggest
import fsspec
import pyarrow as pa
from pyarrow import csv, parquet

_CSV = ('.csv', '.csv.gz')
_PARQUET = ('.parquet', '.pq')
# What reading a damaged file raises; the last two are of compressed ones.
_DAMAGED = (pa.ArrowException, OSError, EOFError, zlib.error)
# Bytes of a CSV file read at once; a row that is longer cannot be read.
_BLOCK = 1 << 22


class File(NamedTuple):
  """An input file.

  Attributes:
    path: As fsspec has it, with its protocol if that is not the local one.
    size: Bytes.
  """

  path: str
  size: int


class Rows(NamedTuple):
  """Consecutive rows of a file.

  Attributes:
    path: The file.
    first: Number of the first row, from 0.
    table: The columns asked for.
  """

  path: str
  first: int
  table: pa.Table


def find(patterns: Sequence[str], option: str = '--input') -> list[File]:
  """The files that paths and globs name, each pattern's in order of name.

  Args:
    patterns: `log.csv`, `day=*/part-*.parquet`, or with a protocol of fsspec.
    option: Where they were given, for messages.

  Raises:
    InputError: Nothing is there, or a file is neither CSV nor Parquet.
  """
  found: list[File] = []
  for pattern in patterns:
    try:
      fs, path = fsspec.url_to_fs(pattern)
      paths = [path] if fs.isfile(path) else sorted(fs.glob(path))
      paths = [p for p in paths if fs.isfile(p)]
    except (ImportError, OSError, ValueError, AttributeError) as e:
      raise InputError(f'{option}={pattern}: {e}') from e
    if not paths:
      raise InputError(f'{option}={pattern}: there is no such file.')
    for p in paths:
      if not p.endswith((*_CSV, *_PARQUET)):
        raise InputError(
            f'{option}: {p} is neither CSV nor Parquet; its name must end in'
            f' {", ".join((*_CSV, *_PARQUET))}.'
        )
      name = p if 'file' in _protocols(fs) else fs.unstrip_protocol(p)
      found.append(File(name, int(fs.size(p))))
  return found


def _protocols(fs: fsspec.AbstractFileSystem) -> tuple[str, ...]:
  return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def names(path: str) -> list[str]:
  """The columns of a file.

  Raises:
    InputError: It cannot be read.
  """
  with _open(path) as f:
    try:
      if path.endswith(_PARQUET):
        return parquet.ParquetFile(f).schema_arrow.names
      with csv.open_csv(f) as reader:
        return reader.schema.names
    except _DAMAGED as e:
      raise _unreadable(path, e) from e


def require(
    names: Sequence[str],
    columns: Collection[str],
    where: str,
    why: str = '',
) -> None:
  """Refuses columns that are not there, or twice.

  Args:
    names: Those that must be there.
    columns: Those that are: a sequence, or a mapping by name.
    where: What to call them in messages.
    why: Why they must be there, for messages.

  Raises:
    InputError: Names the first one.
  """
  for name in names:
    if name not in columns:
      raise InputError(
          f'{where}: there is no column {name!r}{why}.'
          f' {suggest(name, columns)}'
      )
    if not isinstance(columns, Mapping) and columns.count(name) > 1:
      raise InputError(
          f'{where}: there are {columns.count(name)} columns {name!r};'
          ' rename those that are not meant.'
      )


def read(path: str, columns: Sequence[str], rows: int) -> Iterator[Rows]:
  """All rows of a file, `rows` at a time; in memory are a few such pieces.

  Args:
    path: The file.
    columns: Those wanted. Of a CSV file they are texts, empty ones null.
    rows: Rows of a piece; the last one has fewer.

  Raises:
    InputError: The file is damaged.
  """
  waiting: list[pa.RecordBatch] = []
  num = first = 0
  with _open(path) as f:
    try:
      for batch in _batches(f, path, list(columns), rows):
        waiting.append(batch)
        num += batch.num_rows
        while num >= rows:
          table = pa.Table.from_batches(waiting)
          yield Rows(path, first, table.slice(0, rows))
          waiting = table.slice(rows).to_batches()
          first, num = first + rows, num - rows
    except _DAMAGED as e:
      raise _unreadable(path, e) from e
  if num:
    yield Rows(path, first, pa.Table.from_batches(waiting))


def _batches(
    f: fsspec.core.OpenFile, path: str, columns: list[str], rows: int
) -> Iterator[pa.RecordBatch]:
  if path.endswith(_PARQUET):
    yield from parquet.ParquetFile(f).iter_batches(rows, columns=columns)
    return
  with csv.open_csv(
      f,
      read_options=csv.ReadOptions(block_size=_BLOCK),
      parse_options=csv.ParseOptions(newlines_in_values=True),
      convert_options=csv.ConvertOptions(
          include_columns=columns,
          column_types={name: pa.string() for name in columns},
          strings_can_be_null=True,
          null_values=[''],
      ),
  ) as reader:
    yield from reader


def _open(path: str) -> fsspec.core.OpenFile:
  return fsspec.open(path, 'rb', compression='infer')


def _unreadable(path: str, error: Exception) -> InputError:
  what = ''
  if not path.endswith(_PARQUET):
    what = _damage(path)
  what = what or f' cannot be read: {str(error).splitlines()[0]}'
  return InputError(f'{path}{what} Repair or remove that file.')


def line(path: str, row: int) -> int:
  """The line of a CSV file at which a row begins, as an editor counts.

  Args:
    path: The file.
    row: From 0, behind the header; empty lines are no rows.
  """
  with contextlib.suppress(*_DAMAGED, csv_lib.Error):
    for begins, _ in itertools.islice(_lines(path), row + 1, None):
      return begins
  return row + 2


def _damage(path: str) -> str:
  """Where and how a CSV file is wrong, or ''."""
  header: list[str] = []
  try:
    for begins, fields in _lines(path):
      header = header or fields
      if len(fields) != len(header):
        return (
            f', line {begins}: the row has {len(fields)} fields, the header'
            f' {len(header)}.'
        )
      text = ''.join(fields)
      if len(text) > _BLOCK:
        return f', line {begins}: the row is longer than {_BLOCK} bytes.'
      if any('\udc80' <= c <= '\udcff' for c in text):
        return f', line {begins}: it is not UTF-8; save the file as UTF-8.'
  except (*_DAMAGED, csv_lib.Error):
    return ''  # What pyarrow says has to do.
  return ''


def _lines(path: str) -> Iterator[tuple[int, list[str]]]:
  """Line at which it begins and fields of each row, the header first."""
  csv_lib.field_size_limit(1 << 30)
  with _open(path) as f, io.TextIOWrapper(
      f, 'utf-8-sig', errors='surrogateescape', newline=''
  ) as text:
    reader, begins = csv_lib.reader(text), 1
    for fields in reader:
      if fields:
        yield begins, fields
      begins = reader.line_num + 1
