"""Lengths of time as people write them: 500ms, 30s, 10m, 1h, 1d."""

import re
from typing import NamedTuple

from esmm_jax.types import InputError

SECOND = 10**9  # Nanoseconds.
DAY = 86_400 * SECOND
_UNITS = {
    'ms': SECOND // 1000,
    's': SECOND,
    'm': 60 * SECOND,
    'h': 3600 * SECOND,
    'd': DAY,
}
_SPAN = re.compile(r'(\d+)(ms|s|m|h|d)')
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
    raise InputError(f'{text!r} is longer than a hundred years.')
  return Span(f'{num}{unit}', num * _UNITS[unit], num if unit == 'd' else 0)
