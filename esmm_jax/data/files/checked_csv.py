"""Reads CSV files whose columns have known types and ranges.

Every complaint names the file, the row (as an editor counts: the header is row
1) and the field. A value is in one line, so several workers may read the lines
of a file (`read_lines`).
"""

from collections.abc import Mapping
import os
from typing import NamedTuple, NoReturn

from esmm_jax.data.csv_files.csv_rows import read_rows, TooLong
from esmm_jax.data.files.line_problems import bad_value, Column, cut_short
from esmm_jax.data.files.line_problems import damage, DAMAGE, ENDS, HEADER
from esmm_jax.data.files.line_problems import line_ends, NO_ROWS, Problem
from esmm_jax.data.files.line_problems import VALUES
from esmm_jax.data.store.feature_columns import Values
import numpy as np
from pyarrow import csv as pa_csv
import pyarrow as pa

_TYPES = {
    'int': pa.int64(),
    'float': pa.float64(),
    'text': pa.string(),
    'date': pa.date32(),
}


class Read(NamedTuple):
  """Whole lines of a file.

  Attributes:
    num_lines: The header counts.
    columns: Name -> values and which are missing: int64, float64, str or
      datetime64[D]; {} where there is a problem.
    problem: The first one of the lowest rank, or None.
  """

  num_lines: int
  columns: dict[str, Values]
  problem: Problem | None = None


def read_csv(
    path: str, columns: Mapping[str, Column], advice: str
) -> dict[str, Values]:
  """Reads some columns of a CSV file.

  Args:
    path: The file; its last line must end in a newline, else it is cut.
    columns: Name -> type and range; other columns are ignored.
    advice: A sentence on how to repair the file; ends every complaint.

  Returns:
    See `Read.columns`.

  Raises:
    InputError: The file is damaged, lacks a column, or a value is outside its
      range; names row and field.
  """
  whole = read_lines(path, columns, 0, os.path.getsize(path))
  if problem := whole.problem or no_rows(whole.num_lines):
    raise problem.error(path, advice)
  return whole.columns


def no_rows(num_lines: int) -> Problem | None:
  """Returns the problem of a file with no line behind its header."""
  if num_lines > 1:
    return None
  return Problem(NO_ROWS, 0, '', 'no rows after the header')


def read_lines(
    path: str, columns: Mapping[str, Column], low: int, high: int
) -> Read:
  """Reads some columns of whole lines of a CSV file, into memory.

  Args:
    path: The file.
    columns: Name -> type and range; other columns are ignored.
    low: The first byte: 0, or one behind the header and a newline.
    high: The byte behind the last one, behind a newline or the end of the file.
  """
  span = low, high
  num_lines, problem = line_ends(path, span)
  if problem:
    return Read(num_lines, {}, problem)
  header: list[str] = []
  try:
    _, header = next(read_rows(path, line_breaks=False), (1, []))
    for name in columns:
      if name not in header:
        held = ', '.join(header) or 'nothing'
        what = f'no such column; the header holds {held}'
        return Read(num_lines, {}, Problem(HEADER, 1, name, what))
    problem = cut_short(path, header, span)
  except TooLong as e:
    rank = ENDS if header else HEADER
    problem = Problem(rank, e.line, next(iter(columns)), str(e))
  if problem:
    return Read(num_lines, {}, problem)
  table, problem = _table(path, columns, header, span, num_lines)
  if table is None:
    return Read(num_lines, {}, problem)
  read = {n: _to_numpy(table[n], c.kind) for n, c in columns.items()}
  for k, (name, column) in enumerate(columns.items()):
    if problem := bad_value(name, column, read[name], 1 + (not low)):
      rank = VALUES + 2 * k + problem.rank
      return Read(num_lines, {}, problem._replace(rank=rank))
  return Read(num_lines, read)


def refuse(path: str, row: int, field: str, what: str, advice: str) -> NoReturn:
  """Raises the complaint about one field of one row."""
  raise Problem(0, row, field, what).error(path, advice)


def _table(
    path: str,
    columns: Mapping[str, Column],
    header: list[str],
    span: tuple[int, int],
    num_lines: int,
) -> tuple[pa.Table | None, Problem | None]:
  """Parses lines; returns their columns or what is wrong with them."""
  with open(path, 'rb') as f:
    f.seek(span[0])
    content = pa.BufferReader(f.read(span[1] - span[0]))
  try:
    table = pa_csv.read_csv(
        content,
        pa_csv.ReadOptions(column_names=header if span[0] else []),
        parse_options=pa_csv.ParseOptions(ignore_empty_lines=False),
        convert_options=pa_csv.ConvertOptions(
            column_types={n: _TYPES[c.kind] for n, c in columns.items()},
            include_columns=list(columns),
            null_values=[''],
            strings_can_be_null=True,
        ),
    )
  except pa.ArrowInvalid as e:
    reason = str(e).splitlines()[0]
  else:
    if table.num_rows == num_lines - (not span[0]):
      return table, None
    reason = 'a value has a line break; each line must be a row'
  problem = damage(path, columns, header, span)
  return None, problem or Problem(DAMAGE, 0, '', reason)


def _to_numpy(column: pa.ChunkedArray, kind: str) -> Values:
  missing = column.is_null().to_numpy()
  if kind == 'text':
    return Values(np.array(column.fill_null('').to_pylist(), str), missing)
  if kind == 'date':
    days = column.cast(pa.int32()).fill_null(0).to_numpy()
    return Values(days.astype('datetime64[D]'), missing)
  values = column.fill_null(0).to_numpy()
  return Values(values, missing | ~np.isfinite(values))


