"""A batch that is made on the devices, from the rows that they hold.

Where several devices share a batch, each holds its share of the rows in file
order, and an epoch takes them in any order: so each device gives what it has of
the batch, and a sum over the devices, all others of which give 0, brings it to
those that need it. The ids go to all, because which rows of the table a batch
touches has to be known everywhere; the rest goes to the device of the example.
"""

from collections.abc import Callable
from typing import NamedTuple

from esmm_jax.data.batching.whole import Whole
from esmm_jax.embeddings.distinct import distinct
from esmm_jax.parallel.layout import BY_EXAMPLE, SHARE_EXAMPLES
from esmm_jax.types import Array, Batch, Groups
import jax
from jax.sharding import PartitionSpec
import jax.numpy as jnp


class _Taken(NamedTuple):
  """The rows of a batch, padding among them.

  Attributes:
    slots: int32 [B, S], rows of the table.
    weights: float32 [B, W].
    floats: float32 [B, N].
    labels: Label name -> float32 [B].
    segment_ids: int32 [B], numbers of groups; None without groups.
  """

  slots: Array
  weights: Array
  floats: Array
  labels: dict[str, Array]
  segment_ids: Array | None


def gather(
    rows: Whole,
    order: Array,
    k: Array,
    *,
    num_rows: int,
    size: int,
    num_groups: int,
    capacity: int,
    table_rows: int,
) -> Batch:
  """Makes a batch on the devices, as `Batches` does on the host.

  Args:
    rows: All rows; those from `num_rows` on are padding.
    order: int32, the rows of an epoch in order, padded to whole batches.
    k: int32, the number of the batch in the epoch.
    num_rows: Rows of the training set.
    size: B.
    num_groups: G; at least the groups of any batch of the epoch.
    capacity: U; at least the table rows that any batch touches. 0 leaves `rows`
      of the batch empty and gives table rows as slots.
    table_rows: V.
  """
  at = jax.lax.dynamic_slice_in_dim(order, k * size, size)
  real = k * size + jnp.arange(size, dtype=jnp.int32) < num_rows
  taken = _taken(rows, at)

  def masked(column: Array) -> Array:
    mask = real.reshape((size,) + (1,) * (column.ndim - 1))
    return jnp.where(mask, column, 0.0)

  slots, groups = taken.slots, None
  flat = slots.reshape(-1)
  if taken.segment_ids is not None:
    # Padding repeats the first group.
    chosen = taken.segment_ids
    unique, segment_ids = distinct(chosen, num_groups, chosen.min())
    segment_ids = _whole(segment_ids)
    groups = Groups(
        rows.group_slots[unique],
        rows.group_weights[unique].astype(jnp.float32),
        segment_ids,
    )
    flat = jnp.concatenate([flat, groups.slots.reshape(-1)])
  touched = jnp.zeros(0, jnp.int32)
  if capacity:
    touched, flat = distinct(flat, capacity, table_rows)
    pad = table_rows + jnp.arange(capacity, dtype=jnp.int32)
    touched = jnp.where(touched < table_rows, touched, pad)
    slots, cut = _whole(flat[: slots.size].reshape(slots.shape)), slots.size
    if groups is not None:
      shared = _whole(flat[cut:].reshape(groups.slots.shape))
      groups = groups._replace(slots=shared)
  if groups is not None:
    groups = groups._replace(segment_ids=_divided(groups.segment_ids))
  return Batch(
      touched,
      _divided(slots),
      masked(taken.weights),
      masked(taken.floats),
      {name: masked(label) for name, label in taken.labels.items()},
      _divided(real.astype(jnp.float32)),
      groups,
  )


def _taken(rows: Whole, at: Array) -> _Taken:
  """Takes rows by their numbers in the training set, int32 [B]."""
  if not _axes():
    return _columns(rows, lambda column: column[at])
  # What lies everywhere is no part of it.
  shares = rows._replace(group_slots=None, group_weights=None)

  def local(shares: Whole, at: Array) -> _Taken:
    num = shares.slots.shape[0]
    inside = at - jax.lax.axis_index(SHARE_EXAMPLES) * num
    here = (inside >= 0) & (inside < num)
    inside = jnp.clip(inside, 0, num - 1)

    def take(column: Array) -> Array:
      mask = here.reshape((-1,) + (1,) * (column.ndim - 1))
      return jnp.where(mask, column[inside], 0)

    # Of the others all have 0, so that no number is rounded.
    mine = _columns(shares, take)
    everywhere = lambda x: jax.lax.psum(x, SHARE_EXAMPLES)
    to_example = lambda x: jax.lax.psum_scatter(x, SHARE_EXAMPLES, tiled=True)
    ids = jax.tree.map(everywhere, (mine.slots, mine.segment_ids))
    rest = mine.weights, mine.floats, mine.labels
    return _Taken(ids[0], *jax.tree.map(to_example, rest), ids[1])

  by_example = _Taken(
      PartitionSpec(), BY_EXAMPLE, BY_EXAMPLE, BY_EXAMPLE, PartitionSpec()
  )
  return jax.shard_map(
      local,
      in_specs=(BY_EXAMPLE, PartitionSpec()),
      out_specs=by_example,
      axis_names=set(SHARE_EXAMPLES),
  )(shares, at)


def _columns(rows: Whole, take: Callable[[Array], Array]) -> _Taken:
  """Takes rows of each column, in the types of a batch."""
  number = lambda column: take(column).astype(jnp.float32)
  index = rows.segment_ids
  return _Taken(
      take(rows.slots),
      number(rows.weights),
      number(rows.floats),
      {name: number(label) for name, label in rows.labels.items()},
      None if index is None else take(index),
  )


def _axes() -> list[str]:
  """Returns the axes along which several devices share the examples."""
  shape = jax.sharding.get_abstract_mesh().shape
  return [axis for axis in SHARE_EXAMPLES if shape.get(axis, 1) > 1]


def _whole(column: Array) -> Array:
  """Lets every device work all of it out, so that none has to send a part."""
  if not _axes():
    return column
  return jax.lax.with_sharding_constraint(column, PartitionSpec())


def _divided(column: Array) -> Array:
  """Divides by example what every device has, so that each works on its part.
  """
  if not _axes():
    return column
  return jax.lax.with_sharding_constraint(column, BY_EXAMPLE)
