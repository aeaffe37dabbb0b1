"""Reads CSV files whose columns have known types and ranges.

Every complaint names the file, the row (as an editor counts: the header is row
1) and the field.
"""

from collections.abc import Mapping
import dataclasses
import datetime
import math
import os
import re
from typing import NoReturn

from esmm_jax.data.csv_files.csv_rows import find_damage, last_field, read_rows
from esmm_jax.data.csv_files.csv_rows import TooLong
from esmm_jax.data.store.feature_columns import Values
from esmm_jax.types import InputError
import numpy as np
from pyarrow import csv as pa_csv
import pyarrow as pa

_TYPES = {
    'int': pa.int64(),
    'float': pa.float64(),
    'text': pa.string(),
    'date': pa.date32(),
}
_NOUNS = {
    'int': 'a whole number',
    'float': 'a number',
    'date': 'a date like 2022-04-09',
}


@dataclasses.dataclass(frozen=True)
class Column:
  """The type and range of a column of a raw file.

  Attributes:
    kind: `int`, `float`, `text` or `date` (2022-04-09).
    low: Smallest number allowed.
    high: Largest number allowed.
    required: An empty field is an error, not a missing value.
  """

  kind: str
  low: float = -math.inf
  high: float = math.inf
  required: bool = False


def read_csv(
    path: str, columns: Mapping[str, Column], advice: str
) -> dict[str, Values]:
  """Reads some columns of a CSV file.

  Args:
    path: The file; its last line must end in a newline, else it is cut.
    columns: Name -> type and range; other columns are ignored.
    advice: A sentence on how to repair the file; ends every complaint.

  Returns:
    Column name -> values and which are missing: int64, float64, str or
    datetime64[D].

  Raises:
    InputError: The file is damaged, lacks a column, or a value is outside its
      range; names row and field.
  """
  try:
    _, header = next(read_rows(path, line_breaks=False), (1, []))
    for name in columns:
      if name not in header:
        held = ', '.join(header) or 'nothing'
        what = f'no such column; the header holds {held}'
        refuse(path, 1, name, what, advice)
    _check_end(path, header, advice)
  except TooLong as e:
    refuse(path, e.line, next(iter(columns)), str(e), advice)
  try:
    table = pa_csv.read_csv(
        path,
        parse_options=pa_csv.ParseOptions(ignore_empty_lines=False),
        convert_options=pa_csv.ConvertOptions(
            column_types={n: _TYPES[c.kind] for n, c in columns.items()},
            include_columns=list(columns),
            null_values=[''],
            strings_can_be_null=True,
        ),
    )
  except pa.ArrowInvalid as e:
    _refuse_damage(path, columns, advice)
    reason = str(e).splitlines()[0]
    raise InputError(f'{path}: {reason}. {advice}') from e
  if not table.num_rows:
    raise InputError(f'{path}: no rows after the header. {advice}')
  read = {n: _to_numpy(table[n], c.kind) for n, c in columns.items()}
  for name, column in columns.items():
    _check_values(path, name, column, read[name], advice)
  return read


def refuse(path: str, row: int, field: str, what: str, advice: str) -> NoReturn:
  """Raises the complaint about one field of one row."""
  raise InputError(f'{path}, row {row}, field {field!r}: {what}. {advice}')


def _check_end(path: str, header: list[str], advice: str) -> None:
  """Refuses a file without a newline at its end."""
  # One cut inside the last field of a row would otherwise read as whole.
  with open(path, 'rb') as f:
    f.seek(-1, os.SEEK_END)
    if f.read(1) == b'\n':
      return
  *_, (row, fields) = read_rows(path, line_breaks=False)
  what = 'the file ends here, in the middle of a row (no newline after it)'
  refuse(path, row, last_field(header, fields), what, advice)


def _to_numpy(column: pa.ChunkedArray, kind: str) -> Values:
  missing = column.is_null().to_numpy()
  if kind == 'text':
    return Values(np.array(column.fill_null('').to_pylist(), str), missing)
  if kind == 'date':
    days = column.cast(pa.int32()).fill_null(0).to_numpy()
    return Values(days.astype('datetime64[D]'), missing)
  values = column.fill_null(0).to_numpy()
  return Values(values, missing | ~np.isfinite(values))


def _check_values(
    path: str, name: str, column: Column, read: Values, advice: str
) -> None:
  """Refuses an empty required field and a number outside its range."""
  if column.required and read.missing.any():
    row = int(np.flatnonzero(read.missing)[0]) + 2
    refuse(path, row, name, 'the field is empty', advice)
  if column.kind not in ('int', 'float'):
    return
  bad = (read.values < column.low) | (read.values > column.high)
  bad &= ~read.missing
  if bad.any():
    first = int(np.flatnonzero(bad)[0])
    low, high = column.low, column.high
    if (low, high) == (0, 1):
      wanted = '0 or 1'
    else:
      wanted = f'at least {low}' if high == math.inf else f'{low} to {high}'
    what = f'{read.values[first]} is not allowed, it must be {wanted}'
    refuse(path, first + 2, name, what, advice)


def _refuse_damage(
    path: str, columns: Mapping[str, Column], advice: str
) -> None:
  """Raises for the first row that is damaged; returns if none seems so."""

  def problem_of(name: str, text: str) -> str:
    kind = columns[name].kind if name in columns else 'text'
    if kind == 'text' or not text or _readable(text, kind):
      return ''
    return f'{text!r} is not {_NOUNS[kind]}'

  damage = find_damage(path, line_breaks=False, problem_of=problem_of)
  if damage:
    refuse(path, damage.line, damage.field, damage.problem, advice)


def _readable(text: str, kind: str) -> bool:
  text = text.strip()
  if kind == 'int':
    whole = re.fullmatch(r'-?\d+', text)
    return bool(whole) and -(2**63) <= int(text) < 2**63
  try:
    if kind == 'date':
      return len(text) == 10 and bool(datetime.date.fromisoformat(text))
    return math.isfinite(float(text)) or True
  except ValueError:
    return False
