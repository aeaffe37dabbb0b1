"""Times of events: numbers as they are, dates exact to the nanosecond."""

import math
from typing import NamedTuple

from esmm_jax.data.values.casts import cast, ERRORS, first_bad, refuse
from esmm_jax.data.values.kinds import require
from esmm_jax.data.values.location import Location
from esmm_jax.data.values.normalise import plain
from esmm_jax.data.values.numbers import floats
from esmm_jax.data.values.texts import trimmed
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_NAIVE, _UTC = pa.timestamp('ns'), pa.timestamp('ns', 'UTC')
_UTC_NAMES = ('UTC', 'Etc/UTC', 'GMT', 'Z', '+00:00')
_ZONE = r'(?P<zone>Z|[+-]\d\d(?::?\d\d)?)$'
# Kind -> in words.
NOUNS = {
    'number': 'numbers',
    'date': 'dates without a zone',
    'moment': 'moments with a zone',
}
_FORMS = (
    'a date like 2022-04-09, 2022-04-09 12:30:00 or 2022-04-09T12:30:00+08:00,'
    ' from 1678 to 2261'
)
_LEAVE_OUT = '. Leave rows out of the files whose time is not known'
_DATE = (
    r'^(?P<year>\d{4})[-/](?P<month>\d\d?)[-/](?P<day>\d\d?)'
    r'(?:[ T]+(?P<hour>\d\d?)(?::(?P<minute>\d\d)(?::(?P<second>\d\d)'
    r'(?:\.(?P<fraction>\d{1,9})0*)?)?)?)?'
    r' *(?P<zone>Z|z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?$'
)


class Times(NamedTuple):
  """The times of rows.

  Attributes:
    values: [n]: numbers int64, or float64 if one is not whole; of dates int64,
      the nanoseconds since 1970, those with a zone in UTC.
    kind: A key of `NOUNS`.
    zone: `moment`: the column's zone or the one offset of its texts, '' if
      they differ.
  """

  values: np.ndarray
  kind: str
  zone: str = ''

  def words(self, value: int | float) -> str:
    """Returns one of the values as people write it."""
    if self.kind == 'number':
      return f'{value:.17g}' if isinstance(value, float) else str(value)
    text = str(np.datetime64(int(value), 'ns')).replace('T', ' ')
    text = text.rstrip('0').rstrip('.') if '.' in text else text
    return text + ('Z' if self.kind == 'moment' else '')


def times(array: pa.Array, location: Location) -> Times:
  """Converts times.

  The first value decides for all: 20220409 is a number, not a date.

  Args:
    array: Anything that the table of `kinds` calls a time.
    location: The column's.

  Raises:
    InputError: A value is missing or of another kind than the first.
  """
  array = plain(array, location)
  must = 'a number or a date'
  kind = require('time', array, must, location)
  refuse(array.is_null(), array, must, location)
  if kind in ('date', 'timestamp'):
    zone = (array.type.tz or '') if kind == 'timestamp' else ''
    to = pa.timestamp('ns', zone or None)
    array = cast(array, to, f'{must} from 1678 to 2261{_LEAVE_OUT}', location)
    zone = 'UTC' if zone in _UTC_NAMES else zone
    return Times(_integers(array), 'moment' if zone else 'date', zone)
  if kind == 'text':
    texts = trimmed(array, location)
    refuse(texts.is_null(), array, must, location)
    try:
      pc.cast(texts.slice(0, 1), pa.float64())
    except ERRORS:
      return _dates(texts, location)
    array = texts
  return Times(_numbers(array, location), 'number')


def require_exact(array: pa.Array, location: Location) -> None:
  """Refuses numbers that their type has rounded.

  Of seconds of this century float32 has every 128th alone.

  Raises:
    InputError: Names the first of them.
  """
  digits = {pa.float16(): 11, pa.float32(): 24}.get(array.type)
  if digits:
    rounded = pc.greater(pc.abs(array.cast(pa.float64())), 2.0**digits)
    must = f'exact, and {array.type} has rounded it; give int64 or double'
    refuse(pc.fill_null(rounded, False), array, must, location)


def _numbers(array: pa.Array, location: Location) -> np.ndarray:
  """Converts to int64 what is whole, otherwise to float64."""
  if not pa.types.is_floating(array.type):
    try:
      return pc.cast(array, pa.int64()).to_numpy(zero_copy_only=False)
    except ERRORS:
      pass
  values = floats(array, location)
  refuse(np.isnan(values), array, 'a number or a date', location)
  return values


def _integers(array: pa.Array) -> np.ndarray:
  return pc.cast(array, pa.int64()).to_numpy(zero_copy_only=False)


def _dates(array: pa.Array, location: Location) -> Times:
  """Parses trimmed texts without nulls; the two usual forms fast."""
  try:
    return Times(_integers(pc.cast(array, _NAIVE)), 'date')
  except ERRORS:
    pass
  try:
    values = _integers(pc.cast(array, _UTC))
  except ERRORS:
    return _odd_dates(array, location)
  (zones,) = pc.extract_regex(array, _ZONE).flatten()
  return Times(values, 'moment', _zone(zones))


def _odd_dates(array: pa.Array, location: Location) -> Times:
  """Parses texts one by one: slashes, digits left out, or not all alike."""
  parts = pc.extract_regex(array, _DATE)
  must = f'a number or {_FORMS}{_LEAVE_OUT}'
  refuse(parts.is_null(), array, must, location)
  year, month, day, hour, minute, second, fraction, zone = parts.flatten()
  join = pc.binary_join_element_wise
  month, day, hour, minute, second = (
      pc.utf8_lpad(part, 2, '0') for part in (month, day, hour, minute, second)
  )
  fraction = pc.if_else(pc.equal(fraction, ''), '0', fraction)
  dates = join(year, month, day, '-')
  texts = join(join(dates, hour, minute, second, ':'), fraction, '.')
  # The first ':' is the one between day and hour.
  texts = pc.replace_substring(texts, ':', 'T', max_replacements=1)
  has_zone = pc.not_equal(zone, '')
  first = has_zone[0].as_py()
  like = f'a date with{"" if first else "out"} an offset, as in the rows before'
  refuse(pc.not_equal(has_zone, first), array, like, location)
  zone = pc.replace_substring_regex(zone, '^(z|UTC|GMT)$', 'Z')
  texts = join(texts, zone, '')
  to = _UTC if first else _NAIVE
  try:
    values = pc.cast(texts, to)
  except ERRORS as e:
    k = first_bad(texts, to)  # 2022-02-30, say; as it is written.
    raise location.refusal(k, array[k].as_py(), must) from e
  kind = 'moment' if first else 'date'
  return Times(_integers(values), kind, _zone(zone) if first else '')


def _zone(offsets: pa.Array) -> str:
  """Returns the zone of offsets like Z, +08, +08:00; '' if they differ."""
  zones = set()
  for text in pc.unique(offsets).to_pylist():
    digits = text.replace(':', '').ljust(5, '0')
    is_utc = text == 'Z' or digits[1:] == '0000'
    zones.add('UTC' if is_utc else f'{digits[:3]}:{digits[3:]}')
  return zones.pop() if len(zones) == 1 else ''


def boundary(text: str, option: str, held: Times, column: str) -> int | float:
  """Reads an option that is a time of a column.

  Args:
    text: A number or a date. A date without an offset is in the column's zone.
    option: The option's name, for messages.
    held: Some times of the column.
    column: The column's name, for messages.

  Returns:
    A value comparable with `held.values`.

  Raises:
    InputError: It is no time of the column's kind, or its zone is not known.
  """
  try:
    read = times(pa.array([text]), Location(''))
  except InputError as e:
    must = f'a number or {_FORMS}'
    raise InputError(f'{option} is {text!r}; it must be {must}.') from e
  value = read.values[0].item()
  if read.kind == held.kind:
    return value
  says = f'{option} is {text!r}, but column {column!r} holds {NOUNS[held.kind]}'
  if held.kind == 'number':
    example = held.words(held.values[0].item())
    raise InputError(f'{says}; give a number like {example}.')
  if read.kind == 'number':
    raise InputError(f'{says}; give a date like 2022-04-09.')
  if held.kind == 'date':
    raise InputError(f'{says}; leave the offset away.')
  if not held.zone:
    raise InputError(
        f'{says} of several offsets; give it an offset too, as in'
        ' 2022-04-09T00:00:00+08:00.'
    )
  try:
    local = pc.assume_timezone(
        pa.array([value], _NAIVE),
        held.zone,
        ambiguous='earliest',
        nonexistent='latest',
    )
  except ERRORS as e:
    raise InputError(
        f'{says} {held.zone!r}, which is not known here; give it an offset, as'
        ' in 2022-04-09T00:00:00+08:00.'
    ) from e
  return _integers(local)[0].item()


def reached(values: np.ndarray, end: int | float) -> np.ndarray:
  """Returns bool [n], which of the values are at least `end`; exact."""
  if values.dtype == np.int64 and math.isfinite(end):
    end = math.ceil(end)  # Not both as floats, which round.
  return values >= end
