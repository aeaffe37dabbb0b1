"""Lengths of time as people write them: 500ms, 30s, 10m, 1h, 1d."""

import re
from typing import NamedTuple

from esmm_jax.types import InputError
import numpy as np

SECOND = 10**9  # Nanoseconds.
DAY = 86_400 * SECOND
EARLIEST = np.iinfo(np.int64).min  # Before all times.
_UNITS = {
    'ms': SECOND // 1000,
    's': SECOND,
    'm': 60 * SECOND,
    'h': 3600 * SECOND,
    'd': DAY,
}
_SPAN = re.compile(r'([0-9]{1,18})(ms|s|m|h|d)')
_LONGEST = 36_500  # Days; 64 bits of nanoseconds hold 292 years.


class Span(NamedTuple):
  """A length of time.

  Attributes:
    text: As it is written.
    ns: Nanoseconds.
    days: Whole days where it is written as such, otherwise 0. A delay in days
      counts days of the calendar.
  """

  text: str
  ns: int
  days: int = 0

  def __str__(self) -> str:
    return self.text


def parse(text: str) -> Span:
  """Parses a length of time.

  >>> parse('10m')
  Span(text='10m', ns=600000000000, days=0)

  Raises:
    InputError: It is none, 0, or longer than a hundred years.
  """
  parts = _SPAN.fullmatch(text.strip())
  if parts is None or not int(parts[1]):
    raise InputError(
        f'{text!r} is no length of time; write a whole number above 0 and a'
        f' unit of {", ".join(_UNITS)}: 10m is ten minutes, 1d a day.'
    )
  num, unit = int(parts[1]), parts[2]
  if num * _UNITS[unit] > _LONGEST * DAY:
    raise InputError(
        f'{text!r} is longer than a hundred years; write a shorter one.'
    )
  return Span(f'{num}{unit}', num * _UNITS[unit], num if unit == 'd' else 0)


def passed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
  """Returns the nanoseconds between times, int64; at most what 64 bits hold.

  Args:
    before: int64.
    after: int64, of the same shape; not before `before`.
  """
  lengths = after - before
  return np.where(lengths < 0, np.iinfo(np.int64).max, lengths)


def earlier(times: np.ndarray, ns: int) -> np.ndarray:
  """Returns the times int64 [n] so many nanoseconds earlier.

  What 64 bits do not hold is before all times, and not far in the future.
  """
  return np.where(times < EARLIEST + ns, EARLIEST, times - ns)
