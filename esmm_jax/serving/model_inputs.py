"""Encoded columns -> dense arrays -> the batch that a model reads.

The predictor takes both steps with NumPy. An exported program starts from the
dense arrays and takes the second one itself, with jax.numpy.
"""

from collections.abc import Mapping
from typing import Any

from esmm_jax.data.batching.padding import pad_lists
from esmm_jax.schema import MISSING, Schema, SlotLayout
from esmm_jax.types import Array, Batch, Columns, Groups
import numpy as np

ABSENT = -1  # Id of the entries past the end of a list.


def features(schema: Schema, columns: Columns) -> dict[str, np.ndarray]:
  """Pads encoded columns to the dense inputs of an exported model.

  Args:
    schema: The fields.
    columns: Field -> column [n], or `Ragged` of n rows.

  Returns:
    Field -> float32 [n] of a number, int32 [n] of an id, int32 [n, max_len]
    of a list; `NAME.weight` -> float32 of the same shape where the field NAME
    is weighted.
  """
  arrays = {}
  for f in schema.fields:
    column = columns[f.name]
    weight_name = f'{f.name}.weight'
    if f.kind == 'float':
      arrays[f.name] = np.asarray(column, np.float32)
    elif f.kind == 'id':
      arrays[f.name] = np.asarray(column, np.int32)
      if f.weighted:
        arrays[weight_name] = np.asarray(columns[weight_name], np.float32)
    else:
      ids, weights = pad_lists(column, f.max_len)
      is_past_end = np.arange(f.max_len) >= np.diff(column.offsets)[:, None]
      arrays[f.name] = np.where(is_past_end, np.int32(ABSENT), ids)
      if f.weighted:
        arrays[weight_name] = weights
  return arrays


def pad_rows(features: Mapping[str, Array], size: int) -> dict[str, Array]:
  """Pads arrays [n, ...] to `size` rows with copies of their last row."""
  num = len(next(iter(features.values())))
  index = np.minimum(np.arange(size), num - 1)
  return {name: array[index] for name, array in features.items()}


def to_batch(
    schema: Schema, inputs: Mapping[str, Array], where: Array, xp: Any = np
) -> Batch:
  """Assembles the batch of dense inputs; each row is its own group.

  Args:
    schema: The fields.
    inputs: Arrays as `features` returns them, [n] or [n, max_len]; ids are in
      the vocabulary.
    where: float32 [n], 0 for rows that are padding.
    xp: numpy or jax.numpy.
  """
  num = where.shape[0]
  slots, weights = _slots_and_weights(schema, schema.row_part, inputs, num, xp)
  groups = None
  if schema.group_part.num_slots:
    groups = Groups(
        *_slots_and_weights(schema, schema.group_part, inputs, num, xp),
        xp.arange(num, dtype=np.int32),
    )
  floats = [inputs[f.name][:, None] for f in schema.float_fields]
  return Batch(
      rows=xp.zeros(0, np.int32),
      slots=slots,
      weights=weights,
      floats=xp.concatenate([xp.zeros((num, 0), np.float32), *floats], axis=1),
      labels={},
      where=where,
      groups=groups,
  )


def _slots_and_weights(
    schema: Schema,
    part: SlotLayout,
    inputs: Mapping[str, Array],
    num: Any,
    xp: Any,
) -> tuple[Array, Array]:
  """Returns table rows int32 [n, S] and weights float32 [n, W] of a part."""
  slots = [xp.zeros((num, 0), np.int32)]
  weights = [xp.zeros((num, 0), np.float32)]
  for f in part.fields:
    ids = inputs[f.name].reshape(num, f.max_len)
    is_entry = True
    if f.kind == 'ids':
      is_entry = ids >= 0
      ids = xp.maximum(ids, MISSING)
    slots.append(ids + np.int32(schema.offsets[f.table]))
    if f.pooled:
      weight = xp.ones((num, f.max_len), np.float32)
      if f.weighted:
        weight = inputs[f'{f.name}.weight'].reshape(num, f.max_len)
      weights.append(xp.where(is_entry, weight, np.float32(0)))
  return xp.concatenate(slots, axis=1), xp.concatenate(weights, axis=1)
