r"""Identifiers: one text for one value, whatever its type and its writer.

    7, 7.0, Decimal('7.00'), ' 7 ', b'7'              7
    True, 'true', 'TRUE'                              True
    a date, its midnight, 2022-04-01T00:00:00.000     2022-04-01
    2022-04-01T12:30, 2022-04-01 12:30:00.000         2022-04-01 12:30:00
    2022-04-01 12:30:00.500+0800, and with any zone   2022-04-01 04:30:00.5Z
    12:30:00.500                                      12:30:00.5

Other texts are what they are: '+7', '007' and '1.50' remain so.
"""

import contextlib

from esmm_jax.data.values.casts import cast, ERRORS, refuse
from esmm_jax.data.values.kinds import require
from esmm_jax.data.values.location import Location
from esmm_jax.data.values.normalise import plain
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_WHOLE = r'^([+-]?\d+)\.0*$'
_TRUTHS = {'true': 'True', 'TRUE': 'True', 'false': 'False', 'FALSE': 'False'}
_CLOCK = r'^(\d\d:\d\d:\d\d)(?:\.0*|(\.\d*[1-9])0*)$'
_TIMESTAMP = (
    r'^(?P<date>\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]))[ T]'
    r'(?P<clock>(?:[01]\d|2[0-3]):[0-5]\d)(?::(?P<second>[0-5]\d)'
    r'(?:(?P<fraction>\.\d*[1-9])|\.)?0*)?'
    r'(?P<zone>Z|[+-]\d\d(?::?\d\d)?)?$'
)
# As programs write a float that is at least 1e16 (with + or, after a point,
# without), and tables one of 12 digits. 1e16 may be a code.
_ROUNDED = r'^[+-]?\d(([.,]\d*)?[eE]\+|\.\d+[eE])\d{1,3}$'
_UNITS = {'s': 1, 'ms': 10**3, 'us': 10**6, 'ns': 10**9}
_BLANKS = (b' ', b'\t', b'\n', b'\r', b'\x0b', b'\x0c')
# Bits of the whole numbers that a float holds exactly.
_BITS = {16: 11, 32: 24, 64: 53}


def texts(
    array: pa.Array, location: Location, rows: np.ndarray | None = None
) -> pa.Array:
  """Converts identifiers to texts; null where a value is missing.

  Args:
    array: Anything that the table of `kinds` calls an id.
    location: The column's.
    rows: The row of each entry; None: entry k is in row k.

  Returns:
    pyarrow strings.

  Raises:
    InputError: Entries are lists or durations, floats that are not whole, or
      floats too large to be exact.
  """
  array = plain(array, location, rows)
  must = 'one value; name a column of lists in `ids`'
  kind = require('id', array, must, location, rows)
  if kind == 'text':
    array = trimmed(array, location, rows)
    data = _bytes(array)
    if b'+' in data or (b'.' in data and (b'e' in data or b'E' in data)):
      must = (
          'written with all its digits: some were lost when the column was a'
          ' float; store it as a text or a whole number'
      )
      bad = pc.match_substring_regex(array, _ROUNDED)
      refuse(pc.fill_null(bad, False), array, must, location, rows)
    return canonical(array)
  if kind == 'fraction':
    return cast(_whole(array, location, rows), pa.string(), '', location)
  if kind == 'truth':
    return pc.if_else(array, 'True', 'False')
  if kind == 'decimal':
    return _decimals(array)
  if kind == 'timestamp':
    return _written(array)
  array = cast(array, pa.string(), 'a text', location, rows)
  return array if kind in ('integer', 'none') else canonical(array)


def _whole(
    array: pa.Array, location: Location, rows: np.ndarray | None
) -> pa.Array:
  """Converts floats to int64, nan to null."""
  bits = _BITS[array.type.bit_width]
  array = pc.cast(array, pa.float64())
  array = pc.if_else(pc.is_nan(array), pa.scalar(None, pa.float64()), array)
  odd = pc.fill_null(pc.not_equal(array, pc.trunc(array)), False)
  refuse(odd, array, 'a whole number or a text', location, rows)
  # 2^24 + 1 is 2^24 as such a float: from there on two are one.
  large = pc.fill_null(pc.greater_equal(pc.abs(array), 2.0**bits), False)
  must = (
      f'a whole number below 2^{bits}; larger floats are not exact, so store'
      ' the column as whole numbers or texts'
  )
  refuse(large, array, must, location, rows)
  return pc.cast(array, pa.int64())


def _decimals(array: pa.Array) -> pa.Array:
  """Converts decimals to texts with all digits, and the zeros of their type."""
  try:
    return pc.cast(pc.cast(array, pa.decimal256(76, 0)), pa.string())
  except ERRORS:  # Some are not whole; arrow would write 1E-7.
    numbers = array.to_pylist()
    digits = [None if d is None else format(d, 'f') for d in numbers]
    return canonical(pa.array(digits, pa.string()))


def trimmed(
    array: pa.Array, location: Location, rows: np.ndarray | None = None
) -> pa.Array:
  """Returns strings without blanks around them; null where nothing is left.

  Raises:
    InputError: A string is not UTF-8.
  """
  data = _bytes(array)
  if not data.isascii() or any(blank in data for blank in _BLANKS):
    try:
      array = pc.utf8_trim_whitespace(array)
    except ERRORS:  # A file's strings are not looked at when they are read.
      array = pc.cast(array, pa.binary())
      array = cast(array, pa.string(), 'a text in UTF-8', location, rows)
  empty = pc.equal(pc.binary_length(array), 0)
  if pc.any(empty).as_py():
    array = pc.if_else(empty, pa.scalar(None, pa.string()), array)
  return array


def canonical(array: pa.Array) -> pa.Array:
  """Returns the one text of each value, of trimmed strings."""
  # Looking for bytes first is what makes this fast: few columns have them.
  data = _bytes(array)
  if b'.' in data:
    array = pc.replace_substring_regex(array, _WHOLE, r'\1')
  if b'-0' in data:
    is_zero = pc.equal(array, '-0')
    if pc.any(is_zero).as_py():
      array = pc.if_else(is_zero, '0', array)
  if any(all(c in data for c in _letters(word)) for word in _TRUTHS):
    index = pc.index_in(array, pa.array(list(_TRUTHS)))
    if index.null_count < len(index):
      words = pa.array(list(_TRUTHS.values())).take(index)
      array = pc.coalesce(words, array)
  if b':' in data:
    if b'-' in data:
      array = _timestamps(array)
    if b'.' in data:
      array = pc.replace_substring_regex(array, _CLOCK, r'\1\2')
  return array


def _letters(word: str) -> list[bytes]:
  return [c.encode() for c in word]


def _timestamps(array: pa.Array) -> pa.Array:
  """Returns strings with one form for all timestamps among them."""
  lengths = pc.binary_length(array)
  # 2022-04-09 12 has 13 characters; the pattern below leaves it as it is.
  has_minutes = pc.equal(pc.utf8_slice_codeunits(array, 13, 14), ':')
  has_minutes = pc.and_(has_minutes, pc.greater(lengths, 15))
  if pc.all(pc.or_(pc.equal(lengths, 10), has_minutes)).as_py():
    for zone in (None, 'UTC'):
      with contextlib.suppress(*ERRORS):
        return _written(pc.cast(array, pa.timestamp('ns', zone)))
  parts = pc.extract_regex(array, _TIMESTAMP)
  if parts.null_count == len(parts):
    return array
  is_time = parts.is_valid()
  date, clock, second, fraction, zone = parts.filter(is_time).flatten()
  second = pc.if_else(pc.equal(second, ''), '00', second)
  clock = pc.binary_join_element_wise(clock, second, ':')
  whole = pc.binary_join_element_wise(date, clock, ' ')
  texts_ = pc.binary_join_element_wise(whole, fraction, '')
  is_midnight = pc.and_(pc.equal(clock, '00:00:00'), pc.equal(fraction, ''))
  texts_ = pc.if_else(is_midnight, date, texts_)
  zoned = pc.not_equal(zone, '')
  if pc.any(zoned).as_py():
    moments = pc.binary_join_element_wise(whole, zone, '').filter(zoned)
    moments = pc.binary_join_element_wise(
        _in_utc(moments), fraction.filter(zoned), 'Z', ''
    )
    # A day that does not exist, 2022-02-30, remains as it is.
    moments = pc.coalesce(moments, array.filter(is_time).filter(zoned))
    texts_ = pc.replace_with_mask(texts_, zoned, moments)
  return pc.replace_with_mask(array, is_time, texts_)


def _written(array: pa.Array) -> pa.Array:
  """Converts timestamps to their one text."""
  unit, zone = array.type.unit, array.type.tz
  # In UTC: the zone is a way to write the value, not a part of it.
  local = pc.cast(array, pa.timestamp(unit))
  units = pc.fill_null(pc.cast(local, pa.int64()), 0).to_numpy()
  seconds, rest = np.divmod(units, _UNITS[unit])
  seconds = pa.array(seconds, mask=array.is_null().to_numpy(False))
  texts_ = pc.cast(pc.cast(seconds, pa.timestamp('s')), pa.string())
  if rest.any():
    is_long = pa.array(rest != 0)
    long = pc.cast(local.filter(is_long), pa.string())
    long = pc.utf8_rtrim(long, '0')
    texts_ = pc.replace_with_mask(texts_, is_long, long)
  if zone:
    return pc.binary_join_element_wise(texts_, 'Z', '')
  is_day = units % (86400 * _UNITS[unit]) == 0
  if not is_day.any():
    return texts_
  days = pc.utf8_slice_codeunits(texts_, 0, 10)
  return pc.if_else(pa.array(is_day), days, texts_)


def _in_utc(array: pa.Array) -> pa.Array:
  """Converts whole seconds with a zone to texts in UTC; null where no time."""
  utc = pa.timestamp('s', 'UTC')
  try:
    times = pc.cast(array, utc)
  except ERRORS:
    pieces = []
    for k in range(len(array)):
      piece = pa.nulls(1, utc)
      with contextlib.suppress(*ERRORS):
        piece = pc.cast(array.slice(k, 1), utc)
      pieces.append(piece)
    times = pa.concat_arrays(pieces)
  return pc.cast(pc.cast(times, pa.timestamp('s')), pa.string())


def _bytes(array: pa.Array) -> bytes:
  """Returns the bytes of all strings, those of nulls possibly too."""
  _, offsets, data = array.buffers()
  if data is None or not len(array):
    return b''
  ends = np.frombuffer(offsets, np.int32)[array.offset :][: len(array) + 1]
  return bytes(memoryview(data)[ends[0] : ends[-1]])
