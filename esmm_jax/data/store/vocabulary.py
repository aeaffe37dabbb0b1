"""Raw value -> id, fitted on training rows only."""

from collections.abc import Sequence

from esmm_jax.schema import FIRST_KEPT, MISSING, RARE
from esmm_jax.types import InputError
import numpy as np


class Vocabulary:
  """Ids of the values of one field: 0 missing, 1 rare or unseen, 2.. kept.

  Kept values are numbered by falling count, ties by value, so ids do not depend
  on the order of the rows.

  Attributes:
    values: The kept values, array [size - 2]; `values[k]` has id k + 2.
  """

  def __init__(self, values: np.ndarray):
    self.values = values
    self._order = np.argsort(values, kind='stable')
    self._sorted = values[self._order]

  @classmethod
  def fit(
      cls,
      values: np.ndarray,
      missing: np.ndarray | None = None,
      min_count: int = 1,
  ) -> 'Vocabulary':
    """Counts the values of training rows.

    Args:
      values: Any sortable dtype, [n]; training rows only.
      missing: bool [n], entries that hold no value.
      min_count: Values that occur less often are rare.

    Raises:
      InputError: min_count is below 1.
    """
    if min_count < 1:
      raise InputError(f'min_count is {min_count}; it must be at least 1.')
    if missing is not None:
      values = values[~missing]
    kept, counts = np.unique(values, return_counts=True)
    enough = counts >= min_count
    kept, counts = kept[enough], counts[enough]
    return cls(kept[np.argsort(-counts, kind='stable')])

  @property
  def size(self) -> int:
    """Number of ids, with the two reserved ones."""
    return len(self.values) + FIRST_KEPT

  def encode(
      self, values: np.ndarray, missing: np.ndarray | None = None
  ) -> np.ndarray:
    """Ids of values, int32 with the shape of `values`."""
    ids = np.full(values.shape, RARE, np.int32)
    if len(self._sorted):
      place = np.searchsorted(self._sorted, values)
      place = np.minimum(place, len(self._sorted) - 1)
      found = self._sorted[place] == values
      ids[found] = self._order[place[found]].astype(np.int32) + FIRST_KEPT
    if missing is not None:
      ids[missing] = MISSING
    return ids

  def decode(self, ids: Sequence[int]) -> list:
    """The values of ids, for people to read; None for missing or rare."""
    return [
        self.values[i - FIRST_KEPT] if i >= FIRST_KEPT else None for i in ids
    ]
