"""Rows of Parquet files: a file as a whole, or a run of its row groups."""

from collections.abc import Iterator, Sequence
import itertools

from esmm_jax.data.csv_files import file_kinds
from esmm_jax.types import InputError
from pyarrow import parquet
import pyarrow as pa

# Rows of texts or lists that are read at once.
_BATCH_ROWS = 1 << 11
_LONGEST_MEAN = 1 << 16


def batches(
    file: parquet.ParquetFile,
    names: Sequence[str],
    rows: int,
    first: int = 0,
    stop: int | None = None,
) -> Iterator[pa.RecordBatch]:
  """Yields the rows [first, stop) of a file; row groups outside are not read.

  Args:
    file: The file.
    names: The columns to read.
    rows: Rows of a batch, at most.
    first: The first row.
    stop: One past the last row; None: the end of the file.
  """
  # The metadata do not tell the length of texts and lists, which a file may
  # hold once for many rows.
  kinds = [file.schema_arrow.field(n).type for n in names]
  rows = rows if all(map(_is_short, kinds)) else min(rows, _BATCH_ROWS)
  if stop is None:
    yield from file.iter_batches(rows, columns=names)
    return
  begins = _group_begins(file.metadata)
  ends = [*begins[1:], file.metadata.num_rows]
  groups = [
      k
      for k, (low, high) in enumerate(zip(begins, ends))
      if low < stop and high > first
  ]
  at = begins[groups[0]] if groups else 0
  for batch in file.iter_batches(rows, groups, columns=names):
    low, high = max(first - at, 0), min(stop - at, batch.num_rows)
    at += batch.num_rows
    if low < high:
      yield batch.slice(low, high - low)


def group_begins(path: str) -> tuple[list[int], int]:
  """Returns the first row of each row group of a file, and its rows."""
  with file_kinds.open_raw(path) as f:
    metadata = parquet.ParquetFile(f).metadata
    return _group_begins(metadata), metadata.num_rows


def cuts(path: str, step: int) -> list[int]:
  """Returns the rows at which a file may be cut, from 0, and its end.

  Args:
    path: The file.
    step: Each is a multiple of it, behind the beginning of a row group.
  """
  begins, end = group_begins(path)
  multiples = {-(-begin // step) * step for begin in begins}
  return sorted({end, *(row for row in multiples if row < end)})


def _group_begins(metadata: parquet.FileMetaData) -> list[int]:
  groups = map(metadata.row_group, range(metadata.num_row_groups))
  sizes = (group.num_rows for group in groups)
  return list(itertools.accumulate(sizes, initial=0))[:-1]


def refuse_long_lists(file: parquet.ParquetFile, path: str) -> None:
  """Refuses lists of which a single one might fill the memory.

  Raises:
    InputError: Names the column and the row group.
  """
  for k in range(file.num_row_groups):
    group = file.metadata.row_group(k)
    for c in range(group.num_columns):
      column = group.column(c)
      mean = column.num_values // max(group.num_rows, 1)
      if mean > _LONGEST_MEAN:
        name = column.path_in_schema.partition('.')[0]
        raise InputError(
            f'{path}: column {name!r} has lists of {mean:,} entries on average'
            f' in row group {k}; it may be {_LONGEST_MEAN:,}. Cut them.'
        )


def _is_short(kind: pa.DataType) -> bool:
  """Returns True for a type whose values all take at most 16 bytes."""
  return pa.types.is_primitive(kind) or pa.types.is_decimal128(kind)
