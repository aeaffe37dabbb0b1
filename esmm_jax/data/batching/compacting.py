"""Makes ids unique: the table rows that a batch touches, compiled by numba.

One bit for each table row is set where it is touched. Reading the bits in order
gives the rows in ascending order without a sort, and the number of bits set
below that of an id is its index among them.
"""

from numba import njit
import numpy as np

_WORD = 64  # Bits.
_ONE = np.uint64(1)
_jit = njit(nogil=True, cache=True, boundscheck=True)


def grown(capacity: int, needed: int) -> int:
  """Grows a capacity by half and one until it is enough.

  Each capacity is compiled once, so there must be few of them, and they must
  depend on the first one alone.
  """
  while needed > capacity:
    capacity += capacity // 2 + 1
  return capacity


class Compacter:
  """Finds the unique ids of a batch, and each id's index among them.

  Holds 1.5 bits for each table row, and reads them once for each batch.
  """

  def __init__(self, num_rows: int):
    """Takes V: ids are in [0, num_rows)."""
    self._num_rows = num_rows
    words = -(-num_rows // _WORD)
    self._bits = np.zeros(words, np.uint64)
    self._before = np.zeros(words, np.int32)

  def __call__(
      self, ids: np.ndarray, capacity: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Compacts ids.

    Args:
      ids: int32 of any shape.
      capacity: The length of `rows`, if that is enough; see `grown`.

    Returns:
      rows int32 [capacity], ascending and unique, and slots int32 with the
      shape of ids: rows[slots] == ids. Padding has ids from num_rows on, which
      a scatter drops.
    """
    flat = ids.reshape(-1)
    num = _mark(flat, self._bits, self._before)
    rows = np.empty(grown(capacity, num), np.int32)
    slots = np.empty(flat.size, np.int32)
    _place(flat, self._bits, self._before, rows, slots)
    self._bits[:] = 0  # For the next batch.
    rows[num:] = np.arange(rows.size - num, dtype=np.int32) + self._num_rows
    return rows, slots.reshape(ids.shape)


@_jit
def _count(x):
  """Counts the bits set in a word."""
  # In parallel: of 2 bits, of 4, of 8; the product adds up the 8 bytes.
  x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
  x = (x & np.uint64(0x3333333333333333)) + (
      (x >> np.uint64(2)) & np.uint64(0x3333333333333333)
  )
  x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
  return np.int32((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@_jit
def _mark(ids, bits, before):
  """Sets the ids' bits and counts, in `before`, the bits of earlier words.

  Returns the number of unique ids.
  """
  for i in range(ids.size):
    bits[ids[i] >> 6] |= _ONE << np.uint64(ids[i] & 63)
  num = 0
  for w in range(bits.size):
    before[w] = num
    num += _count(bits[w])
  return num


@_jit
def _place(ids, bits, before, rows, slots):
  """Writes the unique ids to rows, and the index of each id to slots."""
  num = 0
  for w in range(bits.size):
    x = bits[w]
    while x:
      lowest = x & (~x + _ONE)  # The lowest bit that is set.
      rows[num] = w * 64 + _count(lowest - _ONE)
      num += 1
      x ^= lowest
  for i in range(ids.size):
    w = ids[i] >> 6
    below = (_ONE << np.uint64(ids[i] & 63)) - _ONE
    slots[i] = before[w] + _count(bits[w] & below)
