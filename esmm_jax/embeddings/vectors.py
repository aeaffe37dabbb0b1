"""Vectors that belong to ids and are not trained, looked up by id.

They are among the statistics of a model, `stats['vectors']`, so that they are
saved, restored and exported with it: `2_video_id` -> float32 [R, V, d], a row
for each id of the table of the field, which is number 2 of `Schema.inputs`. No
step changes them; they are looked up once for all replicas, outside of the
gradient.
"""

from collections.abc import Mapping
import re
from typing import Any

from esmm_jax.schema import Field, Schema, SlotLayout
from esmm_jax.types import Array, Batch
import jax
import jax.numpy as jnp

VECTORS = 'vectors'
# Name of the vectors of a field -> the rows of its table, and their size.
Sizes = Mapping[str, tuple[int, int]]


def name_of(schema: Schema, field: str) -> str:
  """Returns the name of a field's vectors among the statistics.

  >>> from esmm_jax.schema import Schema
  >>> name_of(Schema((Field('a/b'), Field('item id'))), 'item id')
  '1_item_id'
  """
  number = [f.name for f in schema.inputs].index(field)
  return f'{number}_{re.sub("[^0-9A-Za-z_-]", "_", field)}'


def field_of(schema: Schema, name: str) -> Field:
  """Returns the field that vectors are of; see `name_of`."""
  return schema.inputs[int(name.partition('_')[0])]


def divided(stats: Any) -> tuple[Any, dict[str, Any]]:
  """Divides statistics into those of the model and the vectors, {} if none."""
  if VECTORS not in stats:
    return stats, {}
  rest = {k: v for k, v in stats.items() if k != VECTORS}
  return rest, {VECTORS: stats[VECTORS]}


def zeros(sizes: Sizes, batch: Batch) -> Batch:
  """Returns a batch with zeros for vectors, for the shapes.

  Args:
    sizes: The vectors.
    batch: B examples.
  """
  num = batch.where.shape[0]
  return batch._replace(
      vectors={k: jnp.zeros((num, size)) for k, (_, size) in sizes.items()}
  )


def sizes_of(stats: Any) -> dict[str, tuple[int, int]]:
  """Returns the sizes of the vectors that are among statistics."""
  return {k: v.shape[1:] for k, v in stats.get(VECTORS, {}).items()}


def attached(schema: Schema, stats: Any, batch: Batch) -> tuple[Any, Batch]:
  """Looks the vectors of a batch up.

  Args:
    schema: The fields.
    stats: Statistics of a model, each leaf [R, ...].
    batch: B examples, compacted or not.

  Returns:
    The statistics without the vectors, and the batch with them: name ->
    float32 [B, d], lists pooled as their embeddings are.
  """
  stats, vectors = divided(stats)
  if not vectors:
    return stats, batch
  pooled = {}
  for name, array in vectors[VECTORS].items():
    # All replicas have the same.
    pooled[name] = _of_field(
        schema, field_of(schema, name), jnp.asarray(array)[0], batch
    )
  return stats, batch._replace(vectors=pooled)


def _of_field(
    schema: Schema, field: Field, vectors: Array, batch: Batch
) -> Array:
  """Returns the vectors of one field, [B, d]."""
  first = schema.offsets[field.table]
  if not field.by_group:
    part, slots, weights = schema.row_part, batch.slots, batch.weights
  else:
    part, groups = schema.group_part, batch.groups
    slots, weights = groups.slots, groups.weights
  slots = jnp.asarray(slots[:, part.columns[field.name]])
  rows = jnp.asarray(batch.rows)[slots] if batch.rows.shape[0] else slots
  # Padding may be an id of another table.
  ids = jnp.clip(rows - first, 0, vectors.shape[0] - 1)  # [n, L]
  if not field.pooled:
    by_row = vectors[ids[:, 0]]
  else:
    columns = _weight_columns(part, field)
    by_row = _pooled(vectors, ids, weights[:, columns], field.combiner)
  return by_row[groups.segment_ids] if field.by_group else by_row


def _weight_columns(part: SlotLayout, field: Field) -> slice:
  """Returns the columns of a pooled field in the array of weights."""
  columns, unweighted = part.columns[field.name], len(part.id_fields)
  return slice(columns.start - unweighted, columns.stop - unweighted)


def _pooled(vectors: Array, ids: Array, weights: Array, how: str) -> Array:
  """Adds up the weighted vectors of lists, or takes their mean: [n, d]."""

  def add(total: Array, entry: tuple[Array, Array]) -> tuple[Array, None]:
    at, weight = entry
    return total + vectors[at] * weight[:, None], None

  start = jnp.zeros((ids.shape[0], vectors.shape[1]), vectors.dtype)
  total, _ = jax.lax.scan(add, start, (ids.T, weights.T))
  if how == 'sum':
    return total
  whole = jnp.sum(weights, axis=1, keepdims=True)
  # An empty list is the zero vector, not 0 / 0.
  return total / jnp.where(whole > 0, whole, 1.0)
