"""The parser of Ali-CCP's text, compiled by numba.

`parse` reads a chunk of whole lines byte by byte into columns. It is strict
about the grammar, so that a damaged line is reported and not misread:

  sample_id    1 to 18 digits
  click        `0` or `1`; conversion too
  index        1 to 16 hexadecimal digits
  feature_num  1 to 9 digits, the number of triples in the list
  field        1 to 3 digits, or these, `_` and 1 or 2 digits
  feature_id   digits, at most `MAX_ID`
  value        digits, or digits, a point and 1 to 22 digits; at most 15
               digits after leading zeros and at most `MAX_VALUE`

With so few digits the whole number that they form and the power of ten are
exact in float64, and their quotient is the number that `float` reads.

No loop passes the newline that ends its line, and numba checks all indices.

All compiled functions are in this file on purpose: numba's cache does not
notice a change of a function that is called from another file.
"""

from typing import NamedTuple

from esmm_jax.data.ali_ccp.fields import MAX_ID
from numba import njit
import numpy as np

MAX_VALUE = 65504.0  # The largest float16, in which weights are stored.
# Name of a reason -> the message. The parser's codes are their indices.
REASONS = {
    '': 'nothing',
    'fields': 'the line ends before its list of features',
    'sample_id': 'the sample id is not a number of 1 to 18 digits',
    'label': 'click and conversion are not 0 or 1, each with a comma after it',
    'index': 'the common feature index is not 1 to 16 hexadecimal digits',
    'feature_num': 'feature_num is not the number of features in the list',
    'field': 'a field is not named like 101 or 109_14, with byte 2 after it',
    'id': 'a feature id is not a whole number, with byte 3 after it',
    'id_range': f'the feature id is beyond {MAX_ID}',
    'value': (
        'a value is not a number like 1.0, of at most 15 digits, with byte 1'
        ' or the end of the line after it'
    ),
    'value_range': f'the value is beyond {MAX_VALUE:g}',
}
_OK, _FIELDS, _SAMPLE_ID, _LABEL, _INDEX = range(5)
_FEATURE_NUM, _FIELD, _ID, _ID_RANGE, _VALUE, _VALUE_RANGE = range(5, 11)

UNKNOWN, IGNORED = -1, -2  # Column indices of fields without a column.

NEWLINE, _RETURN, _COMMA, _POINT, _UNDERLINE = 10, 13, 44, 46, 95
_DIGITS_END = 10**15
_POWERS = np.array([float(10**k) for k in range(23)])
_LOW_HALF = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_SHORT = 24  # Entries up to which insertion sorts as fast as anything.

_jit = njit(nogil=True, cache=True, boundscheck=True)


class Parsed(NamedTuple):
  """The columns of a chunk of n rows; a row of `ids` etc. is a field.

  Attributes:
    lines: Lines of the chunk.
    blank: Of these, the blank ones.
    tokens: Triples of the rows.
    line: int64 [n], the row's line in the chunk, from 1.
    sample_id: int64 [n].
    labels: int8 [2, n], click and conversion.
    key: uint64 [n], the common feature index.
    ids: int32 [singles, n], -1 where absent.
    weights: float32 [singles, n], 0 where absent and in unweighted fields.
    entries: uint64 [lists, at least T], for `unpack`.
    offsets: int64 [lists, n + 1], of each row's entries.
    unknown: int32, `layout.name_code` of each triple of an unknown field.
    notes: int64 [2, fields], values beyond the first one of a field that has
      one, and values other than 1 of unweighted fields.
    bad: int64 [reasons, 4], by code of the reason: the number of bad lines, and
      of the first of them the line, its first byte and the byte of the damage.
  """

  lines: int
  blank: int
  tokens: int
  line: np.ndarray
  sample_id: np.ndarray
  labels: np.ndarray
  key: np.ndarray
  ids: np.ndarray
  weights: np.ndarray
  entries: np.ndarray
  offsets: np.ndarray
  unknown: np.ndarray
  notes: np.ndarray
  bad: np.ndarray


@_jit
def _count(buf):
  """Counts the newlines and the bytes 2 of a chunk."""
  lines = 0
  triples = 0
  for c in buf:
    lines += c == 10
    triples += c == 2
  return lines, triples


@_jit
def _ends(buf, p):
  """Returns True if the line ends at p. The chunk's last byte is a newline."""
  return buf[p] == NEWLINE or (buf[p] == _RETURN and buf[p + 1] == NEWLINE)


@_jit
def _whole(buf, p, most):
  """Reads up to `most` <= 18 digits: (number, digits, next position)."""
  start = p
  x = 0
  while p - start < most and 48 <= buf[p] <= 57:
    x = x * 10 + (buf[p] - 48)
    p += 1
  return x, p - start, p


@_jit
def _head(buf, p, skeleton, r, sample_id, labels, key):
  """Reads the line up to the list: (reason, next position, feature_num)."""
  if skeleton:
    sample_id[r], digits, p = _whole(buf, p, 18)
    if digits == 0 or buf[p] != _COMMA:
      return _SAMPLE_ID, p, 0
    for k in range(2):
      p += 1
      if not 48 <= buf[p] <= 49:
        return _LABEL, p, 0
      labels[k, r] = buf[p] - 48
      p += 1
      if buf[p] != _COMMA:
        return _LABEL, p, 0
    p += 1
  start = p
  x = np.uint64(0)
  while p - start < 16:
    c = buf[p]
    if 48 <= c <= 57:
      digit = c - 48
    elif 65 <= c <= 70:
      digit = c - 55
    elif 97 <= c <= 102:
      digit = c - 87
    else:
      break
    x = (x << np.uint64(4)) | np.uint64(digit)
    p += 1
  key[r] = x
  if p == start or buf[p] != _COMMA:
    return _INDEX, p, 0
  number, digits, p = _whole(buf, p + 1, 9)
  if digits == 0 or buf[p] != _COMMA:
    return _FEATURE_NUM, p, 0
  return _OK, p + 1, number


@_jit
def _triple(buf, p):
  """Reads a triple: (reason, next position, code of the name, id, value)."""
  # The code of the name, as `layout.name_code` has it.
  name = 1  # The leading 1 keeps zeros that a name may begin with.
  while name < 1000 and 48 <= buf[p] <= 57:
    name = name * 10 + (buf[p] - 48)
    p += 1
  if name == 1:
    return _FIELD, p, 0, 0, 0.0
  if buf[p] == _UNDERLINE:
    p += 1
    second = 1
    while second < 100 and 48 <= buf[p] <= 57:
      second = second * 10 + (buf[p] - 48)
      p += 1
    if second == 1:
      return _FIELD, p, 0, 0, 0.0
    name += 2000 * second
  if buf[p] != 2:
    return _FIELD, p, 0, 0, 0.0
  p += 1
  start = p
  x = 0
  while 48 <= buf[p] <= 57:
    x = x * 10 + (buf[p] - 48)
    if x > MAX_ID:
      return _ID_RANGE, p, 0, 0, 0.0
    p += 1
  if p == start or buf[p] != 3:
    return _ID, p, 0, 0, 0.0
  p += 1
  start = p
  digits = 0
  while 48 <= buf[p] <= 57:
    digits = digits * 10 + (buf[p] - 48)
    if digits >= _DIGITS_END:
      return _VALUE, p, 0, 0, 0.0
    p += 1
  if p == start:
    return _VALUE, p, 0, 0, 0.0
  decimals = 0
  if buf[p] == _POINT:
    p += 1
    start = p
    while 48 <= buf[p] <= 57:
      digits = digits * 10 + (buf[p] - 48)
      p += 1
      if digits >= _DIGITS_END or p - start >= _POWERS.size:
        return _VALUE, p, 0, 0, 0.0
    decimals = p - start
    if decimals == 0:
      return _VALUE, p, 0, 0, 0.0
  value = digits / _POWERS[decimals]
  if value > MAX_VALUE:
    return _VALUE_RANGE, p, 0, 0, 0.0
  if buf[p] != 1 and not _ends(buf, p):
    return _VALUE, p, 0, 0, 0.0
  return _OK, p, name, x, value


@_jit
def _entry(x, value):
  """Packs id and weight in a number that sorts by falling weight, then id."""
  # The bits of floats >= 0 rise with the float.
  bits = np.float32(value).view(np.uint32)
  return (np.uint64(~bits) << _HALF) | np.uint64(x)


@_jit
def _sort(a):
  """Sorts a row's entries in place."""
  if a.size > _SHORT:
    a.sort()
    return
  for i in range(1, a.size):
    x = a[i]
    k = i
    while k > 0 and a[k - 1] > x:
      a[k] = a[k - 1]
      k -= 1
    a[k] = x


@_jit
def unpack(entries):
  """Unpacks `Parsed.entries` of a list field: int32 ids, float32 weights."""
  ids = np.empty(entries.size, np.int32)
  bits = np.empty(entries.size, np.uint32)
  for i in range(entries.size):
    ids[i] = np.int32(entries[i] & _LOW_HALF)
    bits[i] = ~np.uint32(entries[i] >> _HALF)
  return ids, bits.view(np.float32)


@_jit
def _close_row(r, ends, offsets, entries, is_sorted):
  """Sorts the entries of row r and sets its offsets."""
  for k in range(ends.size):
    start, end = offsets[k, r], ends[k]
    if is_sorted[k] and end - start > 1:
      _sort(entries[k, start:end])
    offsets[k, r + 1] = end


@_jit
def _clear_row(r, ids, weights, ends, offsets):
  """Removes what a bad line has left in row r."""
  ids[:, r] = -1
  weights[:, r] = 0
  for k in range(ends.size):
    ends[k] = offsets[k, r]


@_jit
def parse(buf, skeleton, codes, singles, weighted, last):
  """Reads a chunk of whole lines.

  Args:
    buf: uint8, C-contiguous and writable; its last byte is a newline.
    skeleton: True for the skeleton, False for the common file.
    codes: int8, by `layout.name_code` the field's index among the fields, those
      with one value first; or `UNKNOWN` or `IGNORED`.
    singles: Number of fields with one value.
    weighted: bool [fields], True where values are weights.
    last: bool [fields], fields with one value of which the last one counts.

  Returns:
    `Parsed`. A bad line leaves nothing but its record in `bad`.

  Raises:
    ValueError: The chunk does not end in a newline.
  """
  # Long on purpose: with the loop over triples in a function of its own, to
  # which the arrays are passed for each line, the skeleton takes 1.35 times as
  # long (384 -> 283 MB/s).
  if buf.size == 0 or buf[buf.size - 1] != NEWLINE:
    raise ValueError('a chunk must end in a newline')
  rows, triples = _count(buf)
  fields = weighted.size
  line = np.empty(rows, np.int64)
  sample_id = np.zeros(rows, np.int64)
  labels = np.zeros((2, rows), np.int8)
  key = np.empty(rows, np.uint64)
  ids = np.full((singles, rows), -1, np.int32)
  weights = np.zeros((singles, rows), np.float32)
  # Pages of it that no entry is written to take no memory.
  entries = np.empty((fields - singles, triples), np.uint64)
  offsets = np.zeros((fields - singles, rows + 1), np.int64)
  ends = np.zeros(fields - singles, np.int64)
  unknown = np.empty(triples, np.int32)
  notes = np.zeros((2, fields), np.int64)
  row_notes = np.zeros((2, fields), np.int64)
  bad = np.zeros((_VALUE_RANGE + 1, 4), np.int64)
  lines = blank = tokens = num_unknown = r = p = 0
  while p < buf.size:
    start = p
    lines += 1
    if _ends(buf, p):
      blank += 1
      p += 1 + (buf[p] == _RETURN)
      continue
    reason, p, expected = _head(buf, p, skeleton, r, sample_id, labels, key)
    if reason != _OK and _ends(buf, p):
      reason = _FIELDS
    row_tokens = row_unknown = 0
    noted = False
    more = reason == _OK and not _ends(buf, p)
    while more:
      reason, p, name, x, value = _triple(buf, p)
      if reason != _OK:
        break
      row_tokens += 1
      more = buf[p] == 1
      p += more
      f = codes[name]
      if f < 0:
        if f == UNKNOWN:
          unknown[num_unknown + row_unknown] = name
          row_unknown += 1
        continue
      if not weighted[f] and value != 1:
        row_notes[1, f] += 1
        noted = True
      if f >= singles:
        k = f - singles
        entries[k, ends[k]] = _entry(x, value) if weighted[f] else np.uint64(x)
        ends[k] += 1
        continue
      if ids[f, r] >= 0 and not last[f]:
        row_notes[0, f] += 1
        noted = True
        continue
      ids[f, r] = x
      if weighted[f]:
        weights[f, r] = value
    if reason == _OK and row_tokens != expected:
      reason = _FEATURE_NUM
    if reason == _OK:
      line[r] = lines
      tokens += row_tokens
      num_unknown += row_unknown
      if noted:
        notes += row_notes
      _close_row(r, ends, offsets, entries, weighted[singles:])
      r += 1
    else:
      if bad[reason, 0] == 0:
        bad[reason, 1:] = lines, start, p
      bad[reason, 0] += 1
      _clear_row(r, ids, weights, ends, offsets)
    if noted:
      row_notes[:] = 0
    while buf[p] != NEWLINE:
      p += 1
    p += 1
  return Parsed(
      lines,
      blank,
      tokens,
      line[:r],
      sample_id[:r],
      labels[:, :r],
      key[:r],
      ids[:, :r],
      weights[:, :r],
      entries,
      offsets[:, : r + 1],
      unknown[:num_unknown],
      notes,
      bad,
  )
