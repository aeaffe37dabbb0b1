"""Converts columns to the slots and weights of a batch, padded."""

from esmm_jax.data.store.checks import check_groups
from esmm_jax.data.store.feature_columns import cut
from esmm_jax.schema import Schema, SlotLayout
from esmm_jax.types import Columns, Ragged
import numpy as np

_CHUNK = 1 << 14  # Groups that are padded together.


def pad_lists(
    lists: Ragged, max_len: int
) -> tuple[np.ndarray, np.ndarray]:
  """Pads the first `max_len` entries of each list.

  Returns:
    ids int32 [n, max_len], 0 where padded, and weights float32 [n, max_len],
    0 where padded and otherwise the entry's weight (1 for lists without).
  """
  offsets = np.asarray(lists.offsets)
  lengths = np.diff(offsets)
  positions = np.arange(max_len)
  mask = positions < lengths[:, None]
  # Lists stand one after the other: without a longer one all entries are taken
  # as they are, and no array of positions [n, max_len] is made.
  entries = slice(offsets[0], offsets[-1])
  if lengths.max(initial=0) > max_len:
    entries = (offsets[:-1, None] + positions)[mask]
  ids = np.zeros(mask.shape, np.int32)
  weights = np.zeros(mask.shape, np.float32)
  ids[mask] = lists.values[entries]
  # Padding has id 0 and weight 0, so it adds nothing to a sum or a mean.
  weights[mask] = 1 if lists.weights is None else lists.weights[entries]
  return ids, weights


def table_offsets(schema: Schema, part: SlotLayout) -> np.ndarray:
  """Returns the first row of each slot's table, int32 [S]."""
  starts = [schema.offsets[f.table] for f in part.fields]
  return np.repeat(
      np.array(starts, np.int32), [f.max_len for f in part.fields]
  )


def slots_and_weights(
    schema: Schema, part: SlotLayout, columns: Columns, num: int
) -> tuple[np.ndarray, np.ndarray]:
  """Computes the slots and weights of n rows.

  Args:
    schema: Of the data.
    part: The fields.
    columns: Their columns.
    num: n.

  Returns:
    slots int32 [n, S], rows of the one table, and weights float32 [n, W].
  """
  slots = np.empty((num, part.num_slots), np.int32)
  for f in part.id_fields:
    slots[:, part.columns[f.name].start] = columns[f.name]
  weights = [np.zeros((num, 0), np.float32)]
  for f in part.pooled_fields:
    if f.kind == 'id':
      ids = columns[f.name][:, None]
      weight = columns[f'{f.name}.weight'].astype(np.float32)[:, None]
    else:
      ids, weight = pad_lists(columns[f.name], f.max_len)
    slots[:, part.columns[f.name]] = ids
    weights.append(weight)
  # All tables are one array; each id becomes a row of it.
  slots += table_offsets(schema, part)
  return slots, np.concatenate(weights, axis=1)


class GroupTable:
  """The group table of a split, padded once and kept in memory.

  Holds 4 bytes for each slot and 2 or 4 for each weight of each group: the
  73 slots of Ali-CCP's 730,600 sessions with lists of 16 take 0.3 GB. Longer
  lists are never read beyond their first entries.

  Attributes:
    slots: int32 [n, S], rows of the one table.
    weights: float [n, W], in the precision that they are stored with.
  """

  def __init__(self, schema: Schema, groups: Columns, where: str):
    """Pads and checks the groups.

    Args:
      schema: Of the data.
      groups: The columns of the group table.
      where: The data, for messages.

    Raises:
      InputError: An id is outside its vocabulary or a weight is not finite.
    """
    part = schema.group_part
    num = len(next(iter(groups.values())))
    self.slots = np.empty((num, part.num_slots), np.int32)
    self.weights = np.empty((num, part.num_weights), _precision(part, groups))
    names = [f.name for f in part.fields]
    names += [n for n in (f'{name}.weight' for name in names) if n in groups]
    # In chunks: the float32 weights of all groups at once would double the
    # memory of those stored as float16.
    for low in range(0, num, _CHUNK):
      high = min(low + _CHUNK, num)
      piece = {n: cut(groups[n], low, high) for n in names}
      check_groups(schema, piece, where)
      self.slots[low:high], self.weights[low:high] = slots_and_weights(
          schema, part, piece, high - low
      )


def _precision(part: SlotLayout, groups: Columns) -> np.dtype:
  """Returns float16 where every weight is stored so, otherwise float32."""
  stored = [
      groups[f'{f.name}.weight'].dtype
      if f.kind == 'id'
      else groups[f.name].weights.dtype
      for f in part.pooled_fields
      if f.weighted
  ]
  halves = stored and all(dtype == np.float16 for dtype in stored)
  return np.dtype(np.float16 if halves else np.float32)
