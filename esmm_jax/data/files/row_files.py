"""Parquet and CSV files as a stream of rows, local and remote."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from esmm_jax.data.files.csv_rows import BLOCK, DAMAGED, find_damage, open_file
from esmm_jax.types import InputError, suggest
import fsspec
import pyarrow as pa
from pyarrow import csv, parquet

_CSV = ('.csv', '.csv.gz')
_PARQUET = ('.parquet', '.pq')


class File(NamedTuple):
  """An input file.

  Attributes:
    path: As fsspec writes it, with its protocol if that is not the local one.
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
  """Finds the files that paths and globs name, sorted within each pattern.

  Args:
    patterns: `log.csv`, `day=*/part-*.parquet`, or with a protocol of fsspec.
    option: The option that holds the patterns, for messages.

  Raises:
    InputError: A pattern fits no file, or a file is neither CSV nor Parquet.
  """
  files: list[File] = []
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
      files.append(File(name, int(fs.size(p))))
  return files


def _protocols(fs: fsspec.AbstractFileSystem) -> tuple[str, ...]:
  return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def names(path: str) -> list[str]:
  """Returns the names of a file's columns.

  Raises:
    InputError: It cannot be read.
  """
  with open_file(path) as f:
    try:
      if path.endswith(_PARQUET):
        return parquet.ParquetFile(f).schema_arrow.names
      with csv.open_csv(f) as reader:
        return reader.schema.names
    except DAMAGED as e:
      raise _unreadable(path, e) from e


def require(
    names: Sequence[str],
    columns: Collection[str],
    where: str,
    why: str = '',
) -> None:
  """Refuses data that lacks a column, or has it twice.

  Args:
    names: The columns required.
    columns: The columns present: a sequence, or a mapping by name.
    where: The file, for messages.
    why: A clause that says who requires them, for messages.

  Raises:
    InputError: Names the first column that is missing or repeated.
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
  """Reads a file `rows` rows at a time; a few such pieces are in memory.

  Args:
    path: The file.
    columns: The columns to read. Of a CSV file they are texts, empty ones null.
    rows: Rows of a piece; the last one has fewer.

  Raises:
    InputError: The file is damaged.
  """
  waiting: list[pa.RecordBatch] = []
  num = first = 0
  with open_file(path) as f:
    try:
      for batch in _batches(f, path, list(columns), rows):
        waiting.append(batch)
        num += batch.num_rows
        while num >= rows:
          table = pa.Table.from_batches(waiting)
          yield Rows(path, first, table.slice(0, rows))
          waiting = table.slice(rows).to_batches()
          first, num = first + rows, num - rows
    except DAMAGED as e:
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
      read_options=csv.ReadOptions(block_size=BLOCK),
      parse_options=csv.ParseOptions(newlines_in_values=True),
      convert_options=csv.ConvertOptions(
          include_columns=columns,
          column_types={name: pa.string() for name in columns},
          strings_can_be_null=True,
          null_values=[''],
      ),
  ) as reader:
    yield from reader


def _unreadable(path: str, error: Exception) -> InputError:
  what = f' cannot be read: {str(error).splitlines()[0]}'
  if not path.endswith(_PARQUET) and (damage := find_damage(path)):
    what = f', line {damage.line}: {damage.problem}.'
  return InputError(f'{path}{what} Repair or remove that file.')
