"""The problems of CSV files whose columns have known types and ranges.

Each is told of lines, which are counted from the first one that is read.
"""

from collections.abc import Mapping
import dataclasses
import datetime
import math
import re
from typing import NamedTuple

from esmm_jax.data.csv_files.csv_rows import find_damage, last_field, read_rows
from esmm_jax.data.store.feature_columns import Values
from esmm_jax.types import InputError
import numpy as np

_NOUNS = {
    'int': 'a whole number',
    'float': 'a number',
    'date': 'a date like 2022-04-09',
}
_LONE_RETURN = re.compile(rb'\r(?!\n)')
_PIECE = 1 << 24
# Ranks of problems, see `Problem`; those of values are of their columns.
RETURNS, HEADER, ENDS, DAMAGE, NO_ROWS, VALUES = range(6)


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


class Problem(NamedTuple):
  """Something wrong with a file.

  Attributes:
    rank: Of the problems of a file the one with the lowest rank is told, of
      these the first one.
    line: From 1, of the lines that were read; 0: no line is to blame.
    field: The column; '': it is the line.
    what: A clause without a full stop.
  """

  rank: int
  line: int
  field: str
  what: str

  def error(self, path: str, advice: str, before: int = 0) -> InputError:
    """Returns the complaint.

    Args:
      path: The file.
      advice: A sentence on how to repair it.
      before: Lines before those that were read.
    """
    where = path
    where += f', row {before + self.line}' if self.line else ''
    where += f', field {self.field!r}' if self.field else ''
    return InputError(f'{where}: {self.what}. {advice}')


def line_ends(
    path: str, span: tuple[int, int]
) -> tuple[int, Problem | None]:
  """Counts lines; refuses ends of a carriage return alone, as on old Macs."""
  num, carried, left = 0, b'', span[1] - span[0]
  what = (
      'the line ends in a carriage return (CR) alone. Save the file with'
      ' newlines (LF) as line ends'
  )
  with open(path, 'rb') as f:
    f.seek(span[0])
    while piece := f.read(min(_PIECE, left)):
      left -= len(piece)
      piece = carried + piece
      # Its newline may be the first byte of the next piece.
      carried = b'\r' if piece.endswith(b'\r') else b''
      piece = piece.removesuffix(carried)
      if lone := _LONE_RETURN.search(piece):
        num += piece.count(b'\n', 0, lone.start())
        return num, Problem(RETURNS, num + 1, '', what)
      num += piece.count(b'\n')
  return num, Problem(RETURNS, num + 1, '', what) if carried else None


def cut_short(
    path: str, header: list[str], span: tuple[int, int]
) -> Problem | None:
  """Refuses a file without a newline at its end."""
  # One cut inside the last field of a row would otherwise read as whole.
  with open(path, 'rb') as f:
    f.seek(span[1] - 1)
    if f.read(1) == b'\n':
      return None
  *_, (row, fields) = read_rows(path, line_breaks=False, span=span)
  what = 'the file ends here, in the middle of a row (no newline after it)'
  return Problem(ENDS, row, last_field(header, fields), what)


def bad_value(
    name: str, column: Column, read: Values, first: int
) -> Problem | None:
  """Returns an empty required field (rank 0), or a number outside its range.

  Args:
    name: Of the column.
    column: Its type and range.
    read: The values.
    first: Line of the first one.
  """
  if column.required and read.missing.any():
    row = int(np.flatnonzero(read.missing)[0])
    return Problem(0, first + row, name, 'the field is empty')
  if column.kind not in ('int', 'float'):
    return None
  bad = (read.values < column.low) | (read.values > column.high)
  bad &= ~read.missing
  if not bad.any():
    return None
  row = int(np.flatnonzero(bad)[0])
  low, high = column.low, column.high
  if (low, high) == (0, 1):
    wanted = '0 or 1'
  else:
    wanted = f'at least {low}' if high == math.inf else f'{low} to {high}'
  what = f'{read.values[row]} is not allowed, it must be {wanted}'
  return Problem(1, first + row, name, what)


def damage(
    path: str,
    columns: Mapping[str, Column],
    header: list[str],
    span: tuple[int, int],
) -> Problem | None:
  """Returns the first row that is damaged; None if none seems so."""

  def problem_of(name: str, text: str) -> str:
    kind = columns[name].kind if name in columns else 'text'
    if kind == 'text' or not text or _readable(text, kind):
      return ''
    return f'{text!r} is not {_NOUNS[kind]}'

  first = find_damage(
      path,
      line_breaks=False,
      problem_of=problem_of,
      span=span,
      header=header if span[0] else (),
  )
  return first and Problem(DAMAGE, *first)


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
