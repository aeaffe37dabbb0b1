"""Forms of times that are numbers: units since 1970, days of the calendar.

    seconds, milli-, micro-, nanoseconds and days since 1970
    20220401120000, 20220401, 202204, 2022

A column has one of them. Numbers that are none, a counter of events say, are
numbers and nothing more.
"""

from collections.abc import Iterator
from typing import NamedTuple

from esmm_jax.data.values.times import Times
import numpy as np

_UNITS = {
    'seconds': 1,
    'milliseconds': 10**3,
    'microseconds': 10**6,
    'nanoseconds': 10**9,
}
# From 1973 to 2261: no number is of two units.
_LOW, _HIGH = 10**8, 9_223_372_036
# Form -> digits behind the month, of a number that is written as a date.
_WRITTEN = {'yyyymm': 0, 'yyyymmdd': 2, 'yyyymmddhhmmss': 8}
_DAY = 86_400
_YEAR = 366 * _DAY
# Moments that programs write where they know none: the first one and the one
# past the last one, in seconds since 1970.
_SENTINELS = {
    '1900-01-01': (-2_208_988_800, -2_208_988_799),
    '1970-01-01': (-1, 1),
    '9999-12-31': (253_402_214_400, 253_402_300_800),
}
# The same, of numbers that are written as dates.
_WRITTEN_SENTINELS = {
    'yyyymm': {190001: '1900-01', 197001: '1970-01', 999912: '9999-12'},
    'yyyymmdd': {
        19000101: '1900-01-01',
        19700101: '1970-01-01',
        99991231: '9999-12-31',
    },
    'yyyymmddhhmmss': {
        19000101000000: '1900-01-01',
        19700101000000: '1970-01-01',
        99991231000000: '9999-12-31',
        99991231235959: '9999-12-31',
    },
}


class Form(NamedTuple):
  """A form, and the first of some numbers that has it.

  Attributes:
    name: `seconds` or `yyyymmdd`, say; '' is none of them.
    row: Index of the first number.
    value: The number.
    num: How many of the numbers have it.
  """

  name: str
  row: int
  value: int | float
  num: int = 1

  def words(self) -> str:
    """Returns the number and its form, as messages show them."""
    if self.name in _WRITTEN or self.name == 'yyyy':
      return f'{self.value} (like {self.name})'
    since = f'{self.name} since 1970' if self.name else 'no time that is known'
    return f'{self.value} (like {since})'


def forms(values: np.ndarray) -> list[Form]:
  """Lists the forms of numbers, each with its first one, in their order.

  Args:
    values: int64 or float64 [n]. What stands for a missing time has no form and
      is passed by.
  """
  rest = ~_is_sentinel(values)
  rows = {}
  for name, low, high in _ranges():
    is_it = rest & (values >= low) & (values <= high)
    if name in _WRITTEN and is_it.any():
      is_it &= _is_written(values, name)
    if is_it.any():
      rows[name] = int(is_it.argmax()), int(is_it.sum())
      rest &= ~is_it
  if rest.any():
    rows[''] = int(rest.argmax()), int(rest.sum())
  in_order = sorted(rows.items(), key=lambda item: item[1])
  return [
      Form(name, row, values[row].item(), num) for name, (row, num) in in_order
  ]


def _ranges() -> Iterator[tuple[str, int, int]]:
  """Yields name, lowest and highest number of each form; they are apart."""
  for name, unit in _UNITS.items():
    yield name, _LOW * unit, _HIGH * unit
  yield 'days', 10_000, 84_000
  yield 'yyyy', 1900, 2261
  for name, digits in _WRITTEN.items():
    yield name, 190001 * 10**digits, 226113 * 10**digits - 1


def _is_written(values: np.ndarray, name: str) -> np.ndarray:
  """Returns bool [n], which numbers are dates of the calendar."""
  months, rest = np.divmod(values, 10 ** _WRITTEN[name])
  good = (months % 100 >= 1) & (months % 100 <= 12) & (rest % 1 == 0)
  if name == 'yyyymmdd':
    good &= (rest >= 1) & (rest <= 31)
  if name == 'yyyymmddhhmmss':
    good &= (rest >= 10**6) & (rest < 32 * 10**6)
    good &= (rest % 10**6 < 240_000) & (rest % 10**4 < 6000)
    good &= rest % 100 < 60
  return good


def _is_sentinel(values: np.ndarray) -> np.ndarray:
  """Returns bool [n], which numbers stand for a missing time in some form."""
  bad = (values == 0) | (values == -1)
  for numbers in _WRITTEN_SENTINELS.values():
    bad |= np.isin(values, list(numbers))
  first, end = _SENTINELS['9999-12-31']
  for unit in list(_UNITS.values())[:-1]:  # Not in 64 bits of nanoseconds.
    bad |= (values >= first * unit) & (values < end * unit)
  return bad


def words(value: int | float, times: Times, form: str) -> str:
  """Returns a time as people write it, a number with the date it stands for.

  Args:
    value: One of the times.
    times: The column's, for their kind.
    form: That of its numbers; '' for dates, and for none.
  """
  text = times.words(value)
  unit = _UNITS.get(form) or (1 if form == 'days' else 0)
  if not unit or not np.isfinite(value):
    return text
  seconds = value // unit * (_DAY if form == 'days' else 1)
  date = str(np.datetime64(int(seconds), 's')).replace('T', ' ')
  return f'{text} ({date}Z)'


def sentinels(times: Times, form: str) -> Iterator[tuple[str, int, bool]]:
  """Yields dates that often stand for a missing time, far from all others.

  Args:
    times: All of a column, ascending.
    form: Of its numbers; '' for dates, and for none.

  Yields:
    The date, its number of rows, and whether they come before all others.
  """
  values = times.values
  for name, low, high, year in _bounds(times, form):
    first, last = np.searchsorted(values, [low, high])
    if last == first:
      continue
    before = first == 0 and last < len(values)
    after = last == len(values) and first > 0
    if before and values[last] - values[first] > year:
      yield name, int(last), True
    elif after and values[last - 1] - values[first - 1] > year:
      yield name, int(last - first), False


def _bounds(
    times: Times, form: str
) -> Iterator[tuple[str, int, int, int]]:
  """Yields a date, its first time, the one past its last, and a year."""
  if times.kind != 'number' or form in _UNITS:
    unit = _UNITS.get(form, 10**9)
    for name, (low, high) in _SENTINELS.items():
      if high * unit < 1 << 63:
        yield name, low * unit, high * unit, _YEAR * unit
  elif form == 'days':
    yield '1970-01-01', -1, 1, 366
  elif form in _WRITTEN:
    yield '0', -1, 1, 0
    year = 100 * 10 ** _WRITTEN[form]
    for value, name in _WRITTEN_SENTINELS[form].items():
      yield name, value, value + 1, year
