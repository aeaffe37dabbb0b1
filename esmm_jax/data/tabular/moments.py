"""Mean and spread of a column of numbers, in one pass over its rows."""

from typing import NamedTuple

import numpy as np

# Numbers that differ by so many of their last bits, or by as many as there are
# rows, differ by rounding: a mean that is carried along rows is as wrong.
_BITS, _MOST_BITS = 2.0**10, 2.0**20
_DOUBLE, _SINGLE = (float(np.finfo(t).eps) for t in (np.float64, np.float32))
_EXACT = 2.0**24  # Up to it float32 has every whole number.


def logarithm(values: np.ndarray) -> np.ndarray:
  """Returns sign(x) ln(1 + |x|)."""
  return np.sign(values) * np.log1p(np.abs(values))


class Piece(NamedTuple):
  """Moments of the numbers that were added at once.

  Attributes:
    num: How many there are.
    mean: Their mean; of their logarithms if `log`.
    squares: Sum of the squared distances from it.
    low: The least number, no logarithm.
    high: The greatest, likewise.
    least: The least that the mean is of.
    most: The greatest, likewise.
    single: Whether they were float32 before, and not all exact in it.
  """

  num: int
  mean: np.float64
  squares: np.float64
  low: np.float64
  high: np.float64
  least: np.float64
  most: np.float64
  single: bool


class Moments:
  """Number, mean and variance of a stream of numbers, in float64.

  Attributes:
    num: Numbers so far.
    mean: Their mean; of their logarithms if `log`.
    low: The least number, no logarithm; inf where there is none.
    high: The greatest, likewise; -inf.
  """

  def __init__(self, log: bool = False):
    """Prepares the sums.

    Args:
      log: Whether mean and variance are those of `logarithm`.
    """
    self.num, self.mean, self._squares = 0, 0.0, 0.0
    self.low, self.high = np.inf, -np.inf
    self._log, self._single = log, False
    self._least, self._most = np.inf, -np.inf
    self._pieces: list[Piece] = []

  def add(self, values: np.ndarray, single: bool = False) -> None:
    """Adds numbers, by the formula of Chan et al. (1983); nan is left out.

    Args:
      values: float64 [n].
      single: Whether they were float32 before.
    """
    values = values[~np.isnan(values)]
    if not len(values):
      return
    low, high = values.min(), values.max()
    if single := single and not self._single:
      exact = (values == np.trunc(values)) & (np.abs(values) <= _EXACT)
      single = not exact.all()
    values = logarithm(values) if self._log else values
    mean = values.mean()
    squares = ((values - mean) ** 2).sum()
    ends = values.min(), values.max()
    piece = Piece(len(values), mean, squares, low, high, *ends, single)
    self._pieces.append(piece)
    self._add(piece)

  def merge(self, other: 'Moments') -> None:
    """Adds what was added to another one, of later rows, piece by piece.

    The sums have then the bits of one pass over all rows.
    """
    for piece in other._pieces:
      self._add(piece)

  def _add(self, piece: Piece) -> None:
    self.low = min(self.low, piece.low)
    self.high = max(self.high, piece.high)
    self._single |= piece.single
    delta, num = piece.mean - self.mean, self.num + piece.num
    self._squares += piece.squares
    self._squares += delta**2 * self.num * piece.num / num
    self.mean += delta * piece.num / num
    self.num = num
    self._least = min(self._least, piece.least)
    self._most = max(self._most, piece.most)
    if self._least == self._most:  # Not what rounding makes of it.
      self.mean, self._squares = self._least, 0.0

  @property
  def std(self) -> float:
    """Standard deviation of the population; 0 where it is only rounding."""
    double = _DOUBLE * min(max(_BITS, self.num), _MOST_BITS)
    for low, high, rounding in (
        (self.low, self.high, max(double, 4 * _SINGLE * self._single)),
        (self._least, self._most, double),
    ):
      if high - low <= rounding * max(abs(low), abs(high)):
        return 0.0
    return float(np.sqrt(self._squares / self.num))

  def farthest(self, mean: float, std: float) -> float:
    """Returns how far the numbers go from a mean, in standard deviations.

    Args:
      mean: Of the numbers, or of their logarithms if `log`.
      std: Likewise; 0 gives 0.
    """
    if not self.num or not std:
      return 0.0
    return float(max(self._most - mean, mean - self._least) / std)
