"""Mean and spread of a column of numbers, in one pass over its rows."""

import numpy as np

# Numbers that differ by so many of their last bits, or by as many as there are
# rows, differ by rounding: a mean that is carried along rows is as wrong.
_BITS, _MOST_BITS = 2.0**10, 2.0**20
_DOUBLE, _SINGLE = (float(np.finfo(t).eps) for t in (np.float64, np.float32))
_EXACT = 2.0**24  # Up to it float32 has every whole number.


def logarithm(values: np.ndarray) -> np.ndarray:
  """Returns sign(x) ln(1 + |x|)."""
  return np.sign(values) * np.log1p(np.abs(values))


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

  def add(self, values: np.ndarray, single: bool = False) -> None:
    """Adds numbers, by the formula of Chan et al. (1983); nan is left out.

    Args:
      values: float64 [n].
      single: Whether they were float32 before.
    """
    values = values[~np.isnan(values)]
    if not len(values):
      return
    self.low = min(self.low, values.min())
    self.high = max(self.high, values.max())
    if single and not self._single:
      exact = (values == np.trunc(values)) & (np.abs(values) <= _EXACT)
      self._single = not exact.all()
    values = logarithm(values) if self._log else values
    mean = values.mean()
    delta, num = mean - self.mean, self.num + len(values)
    self._squares += ((values - mean) ** 2).sum()
    self._squares += delta**2 * self.num * len(values) / num
    self.mean += delta * len(values) / num
    self.num = num
    self._least = min(self._least, values.min())
    self._most = max(self._most, values.max())
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
