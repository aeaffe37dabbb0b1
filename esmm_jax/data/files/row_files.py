"""Parquet and CSV files as a stream of rows, local and remote."""

from collections.abc import Collection, Iterator, Mapping, Sequence
import dataclasses
from typing import NamedTuple

from esmm_jax import system_errors
from esmm_jax.data.csv_files import csv_rows, csv_stream
from esmm_jax.data.csv_files import dialect as dialects
from esmm_jax.data.csv_files import file_kinds
from esmm_jax.data.csv_files.dialect import Dialect
from esmm_jax.data.csv_files.file_kinds import DAMAGED
from esmm_jax.data.csv_files.records import BLOCK
from esmm_jax.data.files import parquet_rows, partitions
from esmm_jax.data.files.find_files import File, find
from esmm_jax.data.values.raw_values import Location
from esmm_jax.types import InputError, suggest
import pyarrow as pa
from pyarrow import csv, parquet
import pyarrow.compute as pc

__all__ = ['File', 'Rows', 'find', 'location', 'names', 'read', 'require']
_SEPARATORS = {'\t': '\\t', ';': ';', '|': '|', '\x01': '\\x01', ',': ','}


# Bytes of a piece, so that rows with long texts do not fill the memory.
PIECE_BYTES = 1 << 26


class UnevenPieces(Exception):
  """Rows of a part of a file are too large to be cut as in the whole file."""


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


def names(path: str, dialect: Dialect = dialects.DEFAULT) -> list[str]:
  """Returns the names of a file's columns, then those of its folders' names.

  Args:
    path: The file.
    dialect: Its form, if it is CSV.

  Raises:
    InputError: It cannot be read.
  """
  try:
    if file_kinds.is_csv(path, dialect):
      with csv_stream.open_csv(path, dialect) as stream:
        present = stream.header
    else:
      with file_kinds.open_raw(path) as f:
        schema = parquet.ParquetFile(f).schema_arrow
        present = [n.strip() for n in schema.names]
  except DAMAGED as e:
    system_errors.refuse(path, e)
    raise _unreadable(path, dialect, e) from e
  more = partitions.partitions(path)
  return [*present, *(n for n in more if n not in present)]


def location(path: str, first: int, dialect: Dialect) -> Location:
  """Returns the location of rows of a file, from row `first`."""
  if file_kinds.is_csv(path, dialect):
    return Location(path, first, 'line', dialect=dialect)
  return Location(path, first)


def require(
    names: Sequence[str],
    columns: Collection[str],
    where: str,
    why: str = '',
    dialect: Dialect | None = None,
) -> None:
  """Refuses data that lacks a column, or has it twice.

  Args:
    names: The columns required.
    columns: The columns present: a sequence, or a mapping by name.
    where: The file, for messages.
    why: A clause that says who requires them, for messages.
    dialect: The form of the file, for messages; None: it is no file.

  Raises:
    InputError: Names the first column that is missing or repeated.
  """
  for name in names:
    if name not in columns:
      hint = ''
      if dialect and file_kinds.is_csv(where, dialect):
        hint = _separator_hint(name, columns, where, dialect)
      raise InputError(
          f'{where}: there is no column {name!r}{why}.{hint}'
          f' {suggest(name, columns)}'
      )
    if not isinstance(columns, Mapping) and columns.count(name) > 1:
      raise InputError(
          f'{where}: there are {columns.count(name)} columns {name!r}; rename'
          ' the ones that you do not want to read.'
      )


def _separator_hint(
    name: str, columns: Collection[str], path: str, dialect: Dialect
) -> str:
  """Returns a sentence on a header that was split at another character."""
  used = file_kinds.separator_of(path, dialect)
  for separator, shown in _SEPARATORS.items():
    if separator == used:
      continue
    for column in columns:
      parts = [p.strip().strip('"\'') for p in column.split(separator)]
      if len(parts) > 1 and (name in parts or len(columns) == 1):
        option = dialect.option('separator')
        return (
            f' Its header {column[:40]!r} looks as if {shown} separates the'
            f" columns; if so, set {option}='{shown}'."
        )
  return ''


def read(
    path: str,
    columns: Sequence[str],
    rows: int,
    dialect: Dialect = dialects.DEFAULT,
    first: int = 0,
    stop: int | None = None,
) -> Iterator[Rows]:
  """Reads a file piece by piece; a few pieces are in memory.

  Args:
    path: The file.
    columns: The columns to read. Of a CSV file they are texts, empty ones null.
    rows: Rows of a piece; the last one has fewer, and so have pieces of rows
      that would take more than `PIECE_BYTES`.
    dialect: The form of the file, if it is CSV.
    first: Of a Parquet file: the row to begin with.
    stop: The row to end before; None: the file is read as a whole.

  Raises:
    InputError: The file is damaged, or lacks a column.
    UnevenPieces: With `stop`: pieces might not be those of the whole file.
  """
  waiting: list[pa.RecordBatch] = []
  num = size = 0
  # Batches of a part are other ones than those of the whole file, and so are
  # their sizes, by a little.
  most = PIECE_BYTES if stop is None else PIECE_BYTES // 2
  begin = location(path, 0, dialect)
  more = {k: v for k, v in partitions.partitions(path).items() if k in columns}

  def piece(table: pa.Table) -> Rows:
    at = dataclasses.replace(begin, first=first)
    return Rows(path, first, partitions.add(table, more, at).select(columns))

  try:
    for batch in _batches(
        path, list(columns), more, rows, dialect, (first, stop)
    ):
      waiting.append(batch)
      num, size = num + batch.num_rows, size + batch.nbytes
      while num >= rows or size >= most:
        if num < rows and stop is not None:
          raise UnevenPieces(path)
        table = pa.Table.from_batches(waiting)
        now = min(num, rows)
        yield piece(table.slice(0, now).combine_chunks())
        rest = table.slice(now)
        waiting, size = rest.to_batches(), rest.nbytes
        first, num = first + now, num - now
  except DAMAGED as e:
    system_errors.refuse(path, e)
    raise _unreadable(path, dialect, e) from e
  if num:
    yield piece(pa.Table.from_batches(waiting).combine_chunks())


def _batches(
    path: str,
    columns: list[str],
    more: Collection[str],
    rows: int,
    dialect: Dialect,
    span: tuple[int, int | None],
) -> Iterator[pa.RecordBatch]:
  """Yields those of the columns that the file has; at least one."""

  def own(present: list[str]) -> list[str]:
    added = [n for n in more if n not in present]
    require(columns, [*present, *added], path, dialect=dialect)
    return [n for n in columns if n in present] or present[:1]

  if file_kinds.is_csv(path, dialect):
    with csv_stream.open_csv(path, dialect) as stream:
      if stream.peek():
        yield from _csv_batches(stream, path, own(stream.header), dialect)
    return
  with file_kinds.open_raw(path) as f:
    file = parquet.ParquetFile(f)
    stored = file.schema_arrow.names
    present = [n.strip() for n in stored]
    wanted = own(present)
    names = [stored[present.index(n)] for n in wanted]
    parquet_rows.refuse_long_lists(file, path)
    for batch in parquet_rows.batches(file, names, rows, *span):
      yield batch.select(names).rename_columns(wanted)


def _csv_batches(
    stream: csv_stream.CsvStream,
    path: str,
    columns: list[str],
    dialect: Dialect,
) -> Iterator[pa.RecordBatch]:
  # Numbers for names: two columns that nobody reads may have one name.
  numbers = [str(stream.header.index(n)) for n in columns]
  mark = dialect.quote_mark
  with csv.open_csv(
      stream,
      read_options=csv.ReadOptions(
          block_size=BLOCK,
          column_names=[str(k) for k in range(len(stream.header))],
      ),
      parse_options=csv.ParseOptions(
          delimiter=file_kinds.separator_of(path, dialect),
          quote_char=mark or False,
          newlines_in_values=bool(mark),
      ),
      convert_options=csv.ConvertOptions(
          include_columns=numbers,
          column_types={n: pa.string() for n in numbers},
          strings_can_be_null=True,
          null_values=[''],
      ),
  ) as reader:
    nulls = pa.array(dialect.nulls, pa.string())
    for batch in reader:
      arrays = [_without(a, nulls) for a in batch.columns]
      yield pa.record_batch(arrays, columns)


def _without(array: pa.Array, nulls: pa.Array) -> pa.Array:
  """Makes the texts that are missing values null."""
  if not len(nulls):
    return array
  is_null = pc.is_in(pc.utf8_trim_whitespace(array), nulls)
  return pc.if_else(is_null, pa.scalar(None, pa.string()), array)


def _unreadable(path: str, dialect: Dialect, error: Exception) -> InputError:
  reason = str(error).splitlines()[0].rstrip('.')
  what = f' cannot be read: {reason}.'
  if file_kinds.is_csv(path, dialect) and (
      damage := csv_rows.find_damage(path, dialect=dialect)
  ):
    problem = damage.problem
    if problem == csv_rows.NOT_UTF8:
      option = dialect.option('encoding')
      problem = (
          f'it is not UTF-8; say what it is with {option}, gbk or latin-1 say,'
          ' or save the file as UTF-8'
      )
    what = f', line {damage.line}: {problem}.'
  return InputError(f'{path}{what} Repair or remove that file.')
