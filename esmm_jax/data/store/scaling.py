"""Numbers -> scaled floats and buckets of equal mass; fitted, then applied.

A fit takes the values of the training rows at once, float64: their mean must
have the same bits however they were stored. So it needs about three times 8
bytes for each training row.
"""

from typing import NamedTuple

from esmm_jax.schema import FIRST_KEPT, MISSING
import numpy as np

# Numbers that differ by so many of their last bits differ by rounding, that of
# their mean too.
_ROUNDING = 2.0**10 * float(np.finfo(np.float64).eps)


class Scaling(NamedTuple):
  """Mean and deviation of the training rows.

  Attributes:
    mean: Of the values that are not missing.
    std: Their deviation; see `fit` where they are all one number. With 0 all
      values become 0.
  """

  mean: float
  std: float

  @classmethod
  def fit(cls, values: np.ndarray, of_one: float = 1.0) -> 'Scaling':
    """Fits to the values of training rows, float64 [n], none missing.

    Args:
      values: The values.
      of_one: The deviation of values that are one number, but for rounding, or
        of none. What `std` makes of rounding would be a unit of 1e-15.
    """
    if not len(values):
      return cls(0.0, of_one)
    mean, std = float(values.mean()), float(values.std())
    low, high = float(values.min()), float(values.max())
    if high - low <= _ROUNDING * max(abs(low), abs(high)):
      std = of_one
    return cls(mean, std)

  def apply(self, values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Scales to mean 0 and variance 1, float32 [n]; 0 where missing.

    Args:
      values: float64 [n].
      valid: bool [n], the values that are not missing.
    """
    if not self.std:
      return np.zeros(len(values), np.float32)
    scaled = np.where(valid, (values - self.mean) / self.std, 0)
    return scaled.astype(np.float32)


def fit_edges(values: np.ndarray, num_buckets: int) -> np.ndarray:
  """Returns the edges of buckets, ascending, fewer than `num_buckets`.

  They are quantiles, so that buckets hold about equally many rows; equal
  quantiles make one edge, so there may be fewer buckets.

  Args:
    values: Of the training rows [n], none missing.
    num_buckets: How many buckets there are at most.
  """
  if not len(values):
    return np.empty(0)
  inner = np.linspace(0, 1, num_buckets + 1)[1:-1]
  edges = np.unique(np.quantile(values, inner, method='inverted_cdf'))
  return edges[edges > values.min()]


def bucket_ids(
    edges: np.ndarray, values: np.ndarray, missing: np.ndarray
) -> np.ndarray:
  """Returns the id of each value's bucket, int32 [n]; a missing one has 0.

  No bucket is rare: id 1 is unused.
  """
  ids = np.searchsorted(edges, values, side='right') + FIRST_KEPT
  return np.where(missing, MISSING, ids).astype(np.int32)


def num_ids(edges: np.ndarray) -> int:
  """Returns the number of ids of buckets, with the two reserved ones."""
  return len(edges) + 1 + FIRST_KEPT
