"""A whole split as arrays, small enough to stay where it is trained on."""

from typing import Any, NamedTuple

from esmm_jax.data.batching.batches import Batches
from esmm_jax.data.store.columns import concatenate
from esmm_jax.types import Array
import numpy as np


class Whole(NamedTuple):
  """All rows of a split, in file order.

  Attributes:
    slots: int32 [n, S], rows of the table.
    weights: [n, W], float16 where it holds every weight exactly, otherwise
      float32.
    floats: float32 [n, N].
    labels: Label name -> [n], int8 where it holds every label exactly,
      otherwise float32.
    segment_ids: int32 [n], the group of each row; None without groups.
    group_slots: int32 [number of groups, S'], or None.
    group_weights: float16 or float32 [number of groups, W'], or None.
  """

  slots: Array
  weights: Array
  floats: Array
  labels: dict[str, Array]
  segment_ids: Array | None = None
  group_slots: Array | None = None
  group_weights: Array | None = None


def whole(batches: Batches) -> Whole:
  """Reads all rows of a split.

  Raises:
    InputError: A column is not as the schema says.
  """
  columns: list[list[np.ndarray]] = []
  for slots, weights, floats, group, *labels in batches.pieces():
    piece = [slots, narrow(weights, np.float16), floats]
    piece.append(group.astype(np.int32))
    piece += [narrow(label, np.int8) for label in labels]
    columns.append(piece)
  # Pieces of two precisions make a column of the higher one.
  slots, weights, floats, group, *labels = map(
      concatenate, map(list, zip(*columns))
  )
  rows = Whole(slots, weights, floats, dict(zip(batches.label_names, labels)))
  groups = batches.groups
  if groups is None:
    return rows
  return rows._replace(
      segment_ids=group, group_slots=groups.slots, group_weights=groups.weights
  )


def most_bytes(batches: Batches, parts: int = 1) -> int:
  """Returns a bound on the bytes of `whole` and of two orders of the rows.

  Args:
    batches: The split.
    parts: Devices that share the rows; the bound is of one. Each has all of the
      orders and of the groups.
  """
  batch = batches(0)
  numbers = len(batch.labels) + (batches.groups is not None)
  for rows in (batch.slots, batch.weights, batch.floats):
    numbers += rows.shape[1]
  share = -(-batches.num_rows // parts)
  total = 4 * (numbers * share + 2 * batches.num_rows)
  if batches.groups is not None:
    total += batches.groups.slots.nbytes + batches.groups.weights.nbytes
  return total


def narrow(array: np.ndarray, dtype: Any) -> np.ndarray:
  """Casts to a smaller type if that holds every number exactly."""
  with np.errstate(over='ignore', invalid='ignore'):
    small = array.astype(dtype)
  return small if np.array_equal(small, array) else array
