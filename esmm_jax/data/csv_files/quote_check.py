"""Checks the quotes of a CSV file, many rows at once; see `records`.

64 bytes are one number, a bit for each: the bits at which a quote is open are
then a few operations, about as fast as reading.
"""

from esmm_jax.data.csv_files.records import BLOCK, Grammar, Malformed
import numpy as np

_WORD = 64
_LF, _CR = 10, 13
_PIECE = 1 << 19


class QuoteCheck:
  """Checks a file piece by piece; memory is that of a piece and a row."""

  def __init__(self, grammar: Grammar, columns: int, offset: int):
    """Begins.

    Args:
      grammar: Rows and fields.
      columns: Fields of a row.
      offset: Of the first byte that `feed` gets.
    """
    self._grammar, self._columns = grammar, columns
    self._rest, self._offset = b'', offset

  def feed(self, data: bytes, final: bool) -> None:
    """Checks the next bytes; all rows that end in them.

    Args:
      data: The bytes.
      final: Whether the file ends there.

    Raises:
      Malformed: See `Grammar.check`, or there is a zero byte.
    """
    refuse_zero(data, self._offset + len(self._rest))
    quote = self._grammar.quote
    if not quote:
      return
    if quote not in data and quote not in self._rest:
      self._feed(data, final)
      return
    # In pieces that stay in the processor's cache.
    for low in range(0, max(len(data), 1), _PIECE):
      high = low + _PIECE
      self._feed(data[low:high], final and high >= len(data))

  def _feed(self, data: bytes, final: bool) -> None:
    quote = self._grammar.quote
    if quote not in data and quote not in self._rest:
      cut = max(data.rfind(b'\n'), data.rfind(b'\r')) + 1
      self._offset += cut + (len(self._rest) if cut else 0)
      self._rest = data[cut:] if cut else self._rest + data
    else:
      data = self._rest + data
      try:
        end = self._check(data, final)
      except Malformed as e:
        raise e.shifted(self._offset) from e
      self._rest, self._offset = data[end:], self._offset + end
    if len(self._rest) > 2 * BLOCK:  # So that it takes no more memory.
      problem = f'the row is longer than {BLOCK} bytes'
      if quote in self._rest:
        problem += ', or a quote in it is not closed'
      raise Malformed(self._offset, self._offset + len(self._rest), problem)

  def _check(self, data: bytes, final: bool) -> int:
    """Returns the position behind the last row that is whole."""
    end, is_sound = check_pairs(data, self._grammar, self._columns)
    if not is_sound:
      return self._grammar.check(data, self._columns, final)
    if not final:
      return end
    try:
      return end + self._grammar.check(data[end:], self._columns, final)
    except Malformed as e:
      raise e.shifted(end) from e


def refuse_zero(data: bytes, offset: int) -> None:
  """Raises `Malformed` for a zero byte; `offset` is that of the first byte."""
  at = data.find(b'\0')
  if at >= 0:
    raise Malformed(
        offset + at, offset + at, 'there is a zero byte, which no text holds',
        'If the file is UTF-16, set {encoding}=utf-16; otherwise write it anew.'
    )


def check_pairs(
    data: bytes, grammar: Grammar, columns: int
) -> tuple[int, bool]:
  """Checks many rows at once, whose quotes are as RFC 4180 has them.

  Args:
    data: Bytes of a file, from the beginning of a row.
    grammar: Rows and fields.
    columns: Fields of a row.

  Returns:
    The position behind the last whole row, and whether all before it is sound;
    if not, `Grammar.check` tells what is wrong, if anything is.
  """
  array = np.frombuffer(data, np.uint8)
  is_quote = array == grammar.quote[0]
  is_break = array == _LF
  if b'\r' in data:
    is_break |= array == _CR
  quotes, breaks = _words(is_quote), _words(is_break)
  may_stand = quotes | breaks | _words(array == grammar.separator[0])
  is_open = _parity(quotes)
  last = np.flatnonzero(breaks & ~is_open)
  if not len(last):
    return 0, True
  word = int(last[-1])
  bits = int(breaks[word] & ~is_open[word])
  end = word * _WORD + bits.bit_length()
  inside = breaks & is_open
  # Of the last word only what is before the end counts.
  for words in (quotes, inside):
    words[word + 1 :] = 0
    words[word] &= np.uint64((1 << bits.bit_length()) - 1)
  before = may_stand << np.uint64(1)
  before[1:] |= may_stand[:-1] >> np.uint64(_WORD - 1)
  before[0] |= np.uint64(1)  # A row begins there.
  after = may_stand >> np.uint64(1)
  after[:-1] |= may_stand[1:] << np.uint64(_WORD - 1)
  bad = quotes & ((is_open & ~before) | (~is_open & ~after))
  if bad.any():
    return end, False
  if columns == 1 or not inside.any():
    return end, True
  rows = array[:end], is_quote[:end], is_break[:end]
  return end, not _may_be_rows(*rows, grammar, columns)


def _words(mask: np.ndarray) -> np.ndarray:
  """Packs bools [n] into uint64 [ceil(n / 64)], the first in the lowest bit."""
  packed = np.packbits(mask, bitorder='little')
  padding = -len(packed) % 8
  return np.concatenate([packed, np.zeros(padding, np.uint8)]).view('<u8')


def _parity(words: np.ndarray) -> np.ndarray:
  """Returns for each bit whether it and those before are odd in number."""
  for shift in (1, 2, 4, 8, 16, 32):
    words = words ^ (words << np.uint64(shift))
  odd = np.bitwise_xor.accumulate(words >> np.uint64(_WORD - 1))
  before = np.concatenate([np.zeros(1, np.uint64), odd[:-1]])
  return words ^ (np.uint64(0) - before)


def _may_be_rows(
    array: np.ndarray,
    is_quote: np.ndarray,
    is_break: np.ndarray,
    grammar: Grammar,
    columns: int,
) -> bool:
  """Returns whether a value's lines might be rows; see `Grammar.check_lines`.

  Args:
    array: Bytes, uint8 [n], whole rows.
    is_quote: Which are quotes, bool [n].
    is_break: Which are of line breaks, bool [n].
    grammar: Rows and fields.
    columns: Fields of a row.
  """
  quotes, breaks = np.flatnonzero(is_quote), np.flatnonzero(is_break)
  is_inside = (np.searchsorted(quotes, breaks) & 1).astype(bool)
  ends, inside = breaks[~is_inside], breaks[is_inside]
  opening, closing = quotes[::2], quotes[1::2]
  # Two quotes beside each other stand for one, and end no value.
  is_twice = closing[:-1] + 1 == opening[1:]
  first = opening[np.append(True, ~is_twice)]
  last = closing[np.append(~is_twice, True)]
  low, high = np.searchsorted(inside, first), np.searchsorted(inside, last)
  is_long = high > low
  first, last, low, high = (a[is_long] for a in (first, last, low, high))
  separators = np.flatnonzero(array == grammar.separator[0])
  outer = separators[(np.searchsorted(quotes, separators) & 1) == 0]
  row = np.searchsorted(ends, first)
  begin = np.where(row > 0, ends[np.maximum(row - 1, 0)], -1)
  before = _count(outer, begin, first)
  rest = _count(separators, first, inside[low])
  start = _count(separators, inside[high - 1], last)
  is_likely = (rest == columns - 1 - before) & (start == before)
  # Those between the first and the last line, as many as two rows at least.
  inner = _count(separators, inside[low], inside[high - 1])
  rows = inner // (columns - 1)
  is_likely |= (inner % (columns - 1) == 0) & (rows > 1) & (rows < high - low)
  return bool(is_likely.any())


def _count(
    positions: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
  """Counts the sorted positions between low and high."""
  return np.searchsorted(positions, high) - np.searchsorted(positions, low)
