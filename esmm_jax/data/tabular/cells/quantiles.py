"""Quantiles of numbers that are added part by part, in any order.

Numbers are counted in cells. Up to `MOST` different numbers have a cell each,
and quantiles are exact. Beyond that cells are merged in pairs, by dropping the
last bit of the numbers' own binary form, until there are at most so many: a
cell is then as wide as a share of its numbers, the same for all of them. How
many bits that takes depends on all the numbers and not on the parts they came
in, since a part never has more cells than the whole. So what is added up in
any order has the bits of one pass.
"""

import numpy as np

# 16 MB of cells and their counts.
MOST = 1 << 20
_SIGN = np.uint64(1 << 63)


class Cells:
  """Counts numbers by cell.

  Attributes:
    shift: Bits of the numbers that are dropped.
  """

  def __init__(self, most: int = MOST):
    """Takes the number of cells that are kept; at least 2^14."""
    self._most, self.shift = most, 0
    self._cells = np.zeros(0, np.uint64)
    self._counts = np.zeros(0, np.int64)

  def add(self, values: np.ndarray) -> None:
    """Counts numbers, float64 [n]; nan is left out."""
    values = values[~np.isnan(values)] + 0.0  # -0. and 0. are one number.
    cells, counts = np.unique(_ordered(values), return_counts=True)
    self._join(cells, counts, 0)

  def merge(self, other: 'Cells') -> None:
    """Adds what another one has counted."""
    self._join(other._cells, other._counts, other.shift)

  def _join(self, cells: np.ndarray, counts: np.ndarray, shift: int) -> None:
    whole = max(shift, self.shift)
    cells = np.concatenate([
        self._cells >> np.uint64(whole - self.shift),
        cells >> np.uint64(whole - shift),
    ])
    counts = np.concatenate([self._counts, counts])
    cells, counts = _added(cells, counts)
    while len(cells) > self._most:
      whole += 1
      cells, counts = _added(cells >> np.uint64(1), counts)
    self._cells, self._counts, self.shift = cells, counts, whole

  def edges(self, buckets: int) -> tuple[float, ...]:
    """Returns the edges between buckets with equally many numbers.

    Of n numbers in rising order they are those at the positions floor(k n /
    buckets), from 0, for k = 1 ... buckets - 1; equal ones count once, and the
    least number is none, below which nothing lies.

    Args:
      buckets: How many there are, fewer where numbers are equal.
    """
    if not len(self._cells):
      return ()
    ends = np.cumsum(self._counts)
    ranks = np.arange(1, buckets) * int(ends[-1]) // buckets
    chosen = np.unique(np.searchsorted(ends, ranks, 'right'))
    chosen = self._cells[chosen[chosen > 0]] << np.uint64(self.shift)
    return tuple(_numbers(chosen).tolist())


def _added(
    cells: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Adds the counts of equal cells; returns cells in rising order."""
  order = np.argsort(cells, kind='stable')
  cells, counts = cells[order], counts[order]
  first = np.flatnonzero(np.diff(cells, prepend=~cells[:1]) != 0)
  return cells[first], np.add.reduceat(counts, first) if len(first) else counts


def _ordered(values: np.ndarray) -> np.ndarray:
  """Returns whole numbers in the order of the numbers, uint64 [n]."""
  bits = np.ascontiguousarray(values, np.float64).view(np.uint64)
  return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _numbers(ordered: np.ndarray) -> np.ndarray:
  """Returns the numbers of `_ordered`, float64 [n]."""
  bits = np.where(ordered & _SIGN, ordered & ~_SIGN, ~ordered)
  return bits.view(np.float64)
