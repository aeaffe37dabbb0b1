"""A batch from the rows that are in device memory, made on the device."""

from esmm_jax.data.batching.whole import Whole
from esmm_jax.types import Array, Batch, Groups
import jax
import jax.numpy as jnp


def gather(
    rows: Whole,
    order: Array,
    k: Array,
    *,
    size: int,
    num_groups: int,
    capacity: int,
    table_rows: int,
) -> Batch:
  """Makes a batch on the device, as `Batches` does on the host.

  Args:
    rows: All rows.
    order: int32, the rows of an epoch in order, padded to whole batches.
    k: int32, the number of the batch in the epoch.
    size: B.
    num_groups: G; at least the groups of any batch of the epoch.
    capacity: U; at least the table rows that any batch touches. 0 leaves `rows`
      of the batch empty and gives table rows as slots.
    table_rows: V.
  """
  at = jax.lax.dynamic_slice_in_dim(order, k * size, size)
  real = k * size + jnp.arange(size, dtype=jnp.int32) < rows.slots.shape[0]

  def masked(column: Array) -> Array:
    taken = column[at].astype(jnp.float32)
    mask = real.reshape((size,) + (1,) * (taken.ndim - 1))
    return jnp.where(mask, taken, 0.0)

  slots, groups = rows.slots[at], None
  flat = slots.reshape(-1)
  if rows.of is not None:
    # Padding repeats the first group.
    unique, of = jnp.unique(
        rows.of[at], size=num_groups, return_inverse=True
    )
    groups = Groups(
        rows.group_slots[unique],
        rows.group_weights[unique].astype(jnp.float32),
        of.astype(jnp.int32),
    )
    flat = jnp.concatenate([flat, groups.slots.reshape(-1)])
  touched = jnp.zeros(0, jnp.int32)
  if capacity:
    touched, places = jnp.unique(
        flat, size=capacity, fill_value=table_rows, return_inverse=True
    )
    pad = table_rows + jnp.arange(capacity, dtype=jnp.int32)
    touched = jnp.where(touched < table_rows, touched, pad)
    flat = places.astype(jnp.int32)
    slots, cut = flat[: slots.size].reshape(slots.shape), slots.size
    if groups is not None:
      groups = groups._replace(slots=flat[cut:].reshape(groups.slots.shape))
  return Batch(
      touched,
      slots,
      masked(rows.weights),
      masked(rows.floats),
      {name: masked(label) for name, label in rows.labels.items()},
      real.astype(jnp.float32),
      groups,
  )
