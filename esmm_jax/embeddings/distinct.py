"""The distinct numbers among some, in programs of a fixed size."""

from esmm_jax.types import Array
import jax
import jax.numpy as jnp


def distinct(values: Array, size: int, fill: Array) -> tuple[Array, Array]:
  """Finds the distinct values, and the index of each value among them.

  As `jnp.unique(values, size=size, fill_value=fill, return_inverse=True)`, in
  one sort, and without the scatter-add with repeated indices that it counts by.

  Args:
    values: int32 [n].
    size: At least the number of distinct values.
    fill: Scalar.

  Returns:
    int32 [size], ascending, then `fill`; and int32 [n], the index of each.
  """
  place = jnp.arange(values.size, dtype=jnp.int32)
  ascending, order = jax.lax.sort((values, place), num_keys=1)
  is_new = jnp.append(True, ascending[1:] != ascending[:-1])
  index = jnp.cumsum(is_new, dtype=jnp.int32) - 1
  # Others lie past the end, each elsewhere, where a scatter drops them.
  at = jnp.where(is_new & (index < size), index, size + place)
  result = jnp.full(size, fill, values.dtype).at[at].set(
      ascending, mode='drop', unique_indices=True
  )
  inverse = jnp.zeros_like(place).at[order].set(index, unique_indices=True)
  return result, inverse
