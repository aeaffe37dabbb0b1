"""Sums over bins of a probability, in one pass over any number of rows.

Rows fall into fine bins of log-odds; afterwards neighbours are joined until
each group has about as many rows as the others. So quantiles need no sorting,
and predictions can be read in parts.
"""

from typing import NamedTuple

from esmm_jax.types import Array, InputError
import numpy as np
from scipy import special

_LIMIT = 20.0  # Log-odds beyond this share the outermost bins.
_FINE = 64  # Bins for one unit of log-odds.
_NUM = int(2 * _LIMIT * _FINE) + 2
_Z = 1.959964  # Of a 95 % interval.


class Bins:
  """Sums of columns over fine bins of a probability.

  Attributes:
    names: Names of the columns.
    count: int64 [fine bins], rows.
    sums: Name -> float64 [fine bins].
  """

  def __init__(self, *names: str):
    self.names = names
    self.count = np.zeros(_NUM, np.int64)
    self.sums = {name: np.zeros(_NUM) for name in names}

  def add(self, by: Array, **columns: Array) -> None:
    """Adds rows.

    Args:
      by: [n], probabilities in [0, 1]; rows of nan are an error.
      **columns: [n] each, one for each of `names`.

    Raises:
      InputError: A probability is none, or the columns are not those named.
    """
    by = np.asarray(by, np.float64)
    if not np.all((by >= 0) & (by <= 1)):
      raise InputError('Predictions must be probabilities, in [0, 1].')
    if set(columns) != set(self.names):
      raise InputError(f'Columns are {sorted(columns)}, not {self.names}.')
    logits = special.logit(by)
    index = np.clip((logits + _LIMIT) * _FINE, -1, _NUM - 2)
    index = np.floor(index).astype(np.int64) + 1
    self.count += np.bincount(index, minlength=_NUM)
    for name, values in columns.items():
      self.sums[name] += np.bincount(
          index, weights=np.asarray(values, np.float64), minlength=_NUM
      )

  def groups(self, num: int) -> dict[str, np.ndarray]:
    """Joins the bins into at most `num` groups of about equally many rows.

    A fine bin belongs to one group, that of its middle row, so groups are
    unequal if many rows have nearly one probability; empty ones are left out.

    Returns:
      `count` int64 [G] and each column's sums float64 [G], by rising
      probability.
    """
    ends = np.cumsum(self.count)
    total = max(int(ends[-1]), 1)
    group = (2 * ends - self.count) * num // (2 * total)
    group = np.minimum(group, num - 1)
    count = np.zeros(num, np.int64)
    np.add.at(count, group, self.count)
    filled = count > 0
    joined = {'count': count[filled]}
    for name, sums in self.sums.items():
      joined[name] = np.bincount(group, weights=sums, minlength=num)[filled]
    return joined


class Rate(NamedTuple):
  """Observed rates with their 95 % intervals (Wilson 1927), float64 [G]."""

  rate: np.ndarray
  low: np.ndarray
  high: np.ndarray


def observed_rate(positives: Array, rows: Array) -> Rate:
  """Computes positives over rows [G] with intervals; nan without rows."""
  positives = np.asarray(positives, np.float64)
  n = np.asarray(rows, np.float64)
  with np.errstate(divide='ignore', invalid='ignore'):
    p = positives / n
    middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    spread = p * (1 - p) / n + _Z**2 / (4 * n**2)
    half = _Z * np.sqrt(spread) / (1 + _Z**2 / n)
  return Rate(p, middle - half, middle + half)
