"""Rows as people hold them in Python -> columns by name.

pandas and polars are not imported: what is of them brings them along.

  pandas, polars       DataFrame, LazyFrame
  pyarrow              Table, RecordBatch, RecordBatchReader, Dataset, Scanner
  others               anything with `__arrow_c_stream__` (a relation of
                       duckdb), `__arrow_c_array__` or `__dataframe__`
  dict                 of lists, tuples, arrays (numpy, jax), Series
  list                 of dicts, a row each
  numpy                a structured array
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from esmm_jax.data.files import frame_columns, row_files
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa

_TAKEN = (
    'a DataFrame of pandas or polars, a pyarrow Table, RecordBatch, reader or'
    ' Dataset, a dict of arrays or lists, or a list of dicts'
)
# Methods of other libraries that give one of these.
_CONVERTERS = ('to_arrow_table', 'to_arrow', 'to_pandas', 'toPandas', 'compute')


class Frame(NamedTuple):
  """Rows in memory.

  Attributes:
    columns: Name -> arrow array, numpy array, list or `Ragged`, [n] each.
    num_rows: n.
  """

  columns: dict[str, Any]
  num_rows: int


class _Source(NamedTuple):
  """A frame of any library.

  Attributes:
    names: Of its columns; one that is there twice stands twice.
    columns: Makes the columns of names; None of a stream.
    batches: Opens the batches of names; None of what is in memory.
    index: Names that a frame of pandas has as its index.
  """

  names: list[str]
  columns: Callable[[list[str]], Mapping[str, Any]] | None = None
  batches: Callable[[list[str]], Iterator[pa.RecordBatch]] | None = None
  index: Sequence[Any] = ()


def read(
    data: Any,
    names: Sequence[str] | None = None,
    where: str = 'columns',
    why: str = '',
) -> Frame:
  """Reads columns of rows that people hold, in the order of the rows.

  The index of a pandas frame is left out. In a list of dicts a key that a row
  lacks is a null there. A name that is no text is taken as its text.

  Args:
    data: See the module.
    names: The columns to read; None: all.
    where: Name of the rows, for messages.
    why: A clause that says who requires the columns, for messages.

  Raises:
    InputError: `data` is of none of the kinds, a column is missing, there
      twice or no column, or columns differ in length.
  """
  return _read(_source(data, names, where), names, where, why)


def pieces(
    data: Any,
    names: Sequence[str] | None,
    rows: int,
    where: str = 'columns',
    why: str = '',
) -> Iterator[tuple[int, Frame]]:
  """Reads rows piece by piece, where they come as a stream.

  Args:
    data: See `read`.
    names: See there.
    rows: A piece of a stream has so many rows or a multiple, the last one any
      number. What is in memory is one piece.
    where: See there.
    why: See there.

  Yields:
    The number of a piece's first row, and the piece; at least one, which may
    be empty.

  Raises:
    InputError: See `read`.
  """
  source = _source(data, names, where)
  if source.batches is None:
    yield 0, _read(source, names, where, why)
    return
  wanted = _wanted(source, names, where, why)
  first = 0
  for table in _cut(source.batches(wanted), rows, where):
    yield first, _read(_table(table), wanted, where, why)
    first += table.num_rows


def _read(
    source: _Source, names: Sequence[str] | None, where: str, why: str
) -> Frame:
  wanted = _wanted(source, names, where, why)
  if source.batches is not None:
    (table,) = _cut(source.batches(wanted), None, where)
    source = _table(table)
  held = source.columns(wanted)
  frame_columns.check_indexes(held, where)
  columns = {
      name: frame_columns.column(value, name, where)
      for name, value in held.items()
  }
  sizes = {name: len(column) for name, column in columns.items()}
  num = next(iter(sizes.values()), 0)
  for name, size in sizes.items():
    if size != num:
      raise InputError(
          f'{where}: columns differ in length: {next(iter(sizes))!r} has {num}'
          f' rows, {name!r} {size}.'
      )
  if not num:  # A list of nothing has no type, or a wrong one.
    columns = {name: pa.nulls(0) for name in columns}
  return Frame(columns, num)


def _wanted(
    source: _Source, names: Sequence[str] | None, where: str, why: str
) -> list[str]:
  wanted = list(source.names if names is None else names)
  for name in wanted:
    if name in source.index and name not in source.names:
      raise InputError(
          f'{where}: {name!r} is the index of the frame, not a column; use'
          ' frame.reset_index().'
      )
  row_files.require(wanted, source.names, where, why)
  return wanted


def _source(data: Any, names: Sequence[str] | None, where: str) -> _Source:
  """Tells the kinds apart; `names` are the columns of a list of no rows."""
  if isinstance(data, Mapping):
    return _mapping(data)
  if isinstance(data, pa.RecordBatch):
    data = pa.Table.from_batches([data])
  if isinstance(data, pa.Table):
    return _table(data)
  if isinstance(data, np.ndarray) and data.dtype.names and data.ndim == 1:
    return _mapping({name: data[name] for name in data.dtype.names})
  if isinstance(data, (list, tuple)):
    none = {name: [] for name in names or ()}
    return _mapping(_transposed(data, where) if data else none)
  if frame_columns.is_of(data, 'pandas', 'DataFrame'):
    return _pandas(data, where)
  if frame_columns.is_of(data, 'polars', 'LazyFrame', 'DataFrame'):
    return _polars(data)
  if frame_columns.is_of(data, 'pyarrow', 'Dataset', 'Scanner'):
    return _dataset(data)
  try:
    if frame_columns.is_series(data):
      raise TypeError('it is one column or one row')
    if hasattr(data, '__arrow_c_stream__'):
      reader = pa.RecordBatchReader.from_stream(data)
      return _stream(reader.schema, lambda _: reader)
    if hasattr(data, '__arrow_c_array__'):
      return _table(pa.Table.from_batches([pa.record_batch(data)]))
    if hasattr(data, '__dataframe__'):
      from pyarrow import interchange

      return _table(interchange.from_dataframe(data))
  except (pa.ArrowException, TypeError, ValueError, NotImplementedError) as e:
    reason = str(e).splitlines()[0]
    raise InputError(
        f'{where}: a {type(data).__name__} cannot be read as rows ({reason});'
        f' give {_TAKEN}.'
    ) from e
  named = [name for name in _CONVERTERS if hasattr(data, name)]
  advice = f' Give its {named[0]}().' if named else ''
  if isinstance(data, (str, bytes)) or hasattr(data, '__fspath__'):
    advice = (
        ' Files are read by the program predict and by'
        ' pyarrow.parquet.read_table.'
    )
  shown = frame_columns.shown(data)
  raise InputError(f'{where} is {shown}; it must be {_TAKEN}.{advice}')


def _mapping(data: Mapping[Any, Any]) -> _Source:
  keys = {str(key): key for key in data}
  return _Source(
      [str(key) for key in data],
      lambda names: {name: data[keys[name]] for name in names},
  )


def _table(table: pa.Table) -> _Source:
  return _Source(
      table.column_names, lambda names: {name: table[name] for name in names}
  )


def _transposed(rows: Sequence[Any], where: str) -> dict[Any, list[Any]]:
  """Turns rows, dicts, into columns; a key that a row lacks is None there."""
  dicts = []
  for number, row in enumerate(rows):
    if hasattr(row, '_asdict'):  # A named tuple.
      row = row._asdict()
    if not hasattr(row, 'keys'):
      raise InputError(
          f'{where}, row {number} is {frame_columns.shown(row)}; a list must'
          f' hold dicts, a row each. Or give {_TAKEN}.'
      )
    dicts.append(dict(row))
  keys = dict.fromkeys(key for row in dicts for key in row)
  return {key: [row.get(key) for row in dicts] for key in keys}


def _pandas(frame: Any, where: str) -> _Source:
  if frame.columns.nlevels > 1:
    raise InputError(
        f'{where}: the columns of the frame have {frame.columns.nlevels}'
        ' levels of names; give them one, as in'
        " frame.columns = ['_'.join(c) for c in frame.columns]."
    )
  texts = [str(name) for name in frame.columns]
  return _Source(
      texts,
      lambda names: {n: frame.iloc[:, texts.index(n)] for n in names},
      index=frame.index.names,
  )


def _polars(frame: Any) -> _Source:
  if not hasattr(frame, 'collect'):
    return _Source(
        frame.columns, lambda names: {n: frame.get_column(n) for n in names}
    )
  return _Source(
      frame.collect_schema().names(),
      lambda names: _polars(frame.select(names).collect()).columns(names),
  )


def _dataset(data: Any) -> _Source:
  if hasattr(data, 'to_reader'):  # A scanner, which has chosen its columns.
    return _stream(data.projected_schema, lambda _: data.to_reader())
  return _stream(
      data.schema, lambda names: data.scanner(columns=names).to_reader()
  )


def _stream(
    schema: pa.Schema, opened: Callable[[list[str]], pa.RecordBatchReader]
) -> _Source:
  def batches(names: list[str]) -> Iterator[pa.RecordBatch]:
    # First one without rows: it has the types, if no other comes.
    fields = [schema.field(name) for name in names]
    yield pa.RecordBatch.from_pylist([], pa.schema(fields))
    for batch in opened(names):
      yield batch.select(names)

  return _Source(schema.names, batches=batches)


def _cut(
    batches: Iterator[pa.RecordBatch], rows: int | None, where: str
) -> Iterator[pa.Table]:
  """Cuts a stream into tables of a multiple of `rows`; None: into one."""
  waiting: list[pa.RecordBatch] = []
  num, is_first = 0, True
  try:
    for batch in batches:
      waiting.append(batch)
      num += batch.num_rows
      if rows is not None and num >= rows:
        table, whole = pa.Table.from_batches(waiting), num - num % rows
        yield table.slice(0, whole)
        waiting, num = table.slice(whole).to_batches(), num - whole
        is_first = False
  except (pa.ArrowException, OSError) as e:
    raise InputError(f'{where}: {str(e).splitlines()[0]}') from e
  if num or is_first:
    yield pa.Table.from_batches(waiting)
