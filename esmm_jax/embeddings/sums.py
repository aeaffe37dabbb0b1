"""Rows of a small table taken by index, and the sums that are their gradient.

The gradient of `table[index]` adds up, for each row, the values of all places
that took it. XLA does so by a scatter-add with repeated indices. On a CPU that
is a loop in order. On CUDA it is atomic additions in any order, and those of
jaxlib 0.10.2 to 0.11.0 compare and swap: where many places take one row, as the
rows of gender, age or position are taken, they are some 1000 times slower
(openxla/xla#46225). There the sums are those of `sums_in_blocks`, or of
`sums_by_product` for few rows, which write no row twice: their work does not
depend on how often a row is taken, and no threads race for a sum.
"""

import functools

from esmm_jax.types import Array
import jax
from jax.sharding import PartitionSpec
import jax.numpy as jnp

# Places that are added up at once, by a product with a matrix of so many rows.
_BLOCK = 32
# The most that are left to one last block.
_LAST = 512
# Rows times places up to which one product is less work than a sort.
_FEW = 1 << 22
# Axes of a mesh that share the examples of a batch.
_SHARED = ('data', 'rows')


def take(table: Array, index: Array) -> Array:
  """Takes table[index], with a gradient that suits the device.

  Args:
    table: [U, ...].
    index: int32 of any shape, below U.

  Returns:
    [*index.shape, ...].
  """
  return _take(table.shape[0], table, index)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _take(num: int, table: Array, index: Array) -> Array:
  del num
  return table[index]


def _take_forward(
    num: int, table: Array, index: Array
) -> tuple[Array, Array]:
  return _take(num, table, index), index


def _take_backward(num: int, index: Array, values: Array) -> tuple[Array, None]:
  return sums_by_index(index, values, num=num), None


_take.defvjp(_take_forward, _take_backward)


def sums_by_index(index: Array, values: Array, *, num: int) -> Array:
  """Adds values up by index, in the way that suits the device.

  Args:
    index: int32 of any shape, below `num`.
    values: [*index.shape, ...].
    num: U.

  Returns:
    [U, ...], 0 where no value has the index.
  """
  return jax.lax.platform_dependent(
      index,
      values,
      cuda=functools.partial(sums_without_contention, num=num),
      default=functools.partial(sums_by_scatter, num=num),
  )


def sums_by_scatter(index: Array, values: Array, *, num: int) -> Array:
  """Adds values up as XLA's own gradient of table[index] does.

  Arguments and result are those of `sums_by_index`.
  """
  rest = values.shape[index.ndim :]
  table = jax.ShapeDtypeStruct((num, *rest), values.dtype)
  (sums,) = jax.linear_transpose(lambda t: t[index], table)(values)
  return sums


def sums_without_contention(index: Array, values: Array, *, num: int) -> Array:
  """Adds values up without a scatter-add that has an index twice.

  Arguments and result are those of `sums_by_index`. Where devices share the
  examples, each adds up its own, and sums travel.
  """
  one = functools.partial(_sums_of_device, num=num)
  mesh = jax.sharding.get_abstract_mesh()
  shared = [axis for axis in _SHARED if mesh.shape.get(axis, 1) > 1]
  parts = 1
  for axis in shared:
    parts *= mesh.shape[axis]
  # Groups, which each device has all of, may be of any number.
  if not shared or index.shape[0] % parts:
    return one(index, values)
  by_example = PartitionSpec(tuple(shared))
  return jax.shard_map(
      lambda *args: jax.lax.psum(one(*args), tuple(shared)),
      in_specs=(by_example, by_example),
      out_specs=PartitionSpec(),
      axis_names=set(shared),
  )(index, values)


def _sums_of_device(index: Array, values: Array, num: int) -> Array:
  rest = values.shape[index.ndim :]
  if not values.size:  # A model without ids.
    return jnp.zeros((num, *rest), values.dtype)
  index = index.reshape(-1)
  values = values.reshape(index.size, -1)  # [n, W]
  few = index.size * num <= _FEW
  sums = (sums_by_product if few else sums_in_blocks)(index, values, num=num)
  return sums.reshape(num, *rest)


def sums_by_product(index: Array, values: Array, *, num: int) -> Array:
  """Adds values up by index, by a product with a matrix of 0 and 1.

  It takes num * n numbers of memory, so it is for few rows. A value that is not
  finite makes the sums of all rows nan.

  Args:
    index: int32 [n].
    values: [n, W].
    num: U.

  Returns:
    [U, W].
  """
  at = jnp.arange(num, dtype=index.dtype)[:, None] == index  # [U, n]
  return _product('un,nw->uw', at, values)


def sums_in_blocks(index: Array, values: Array, *, num: int) -> Array:
  """Adds values up by index, sorted, in blocks.

  Sorted, the places of a row are next to each other. In each block of 32 a
  product with the matrix of equal indices adds them up. A row that no other
  block can have is then done and is written. The first row and the last one of
  each block go on to the next round, which has two values a block, until one
  block is left. Where a value is not finite, other rows of its block may be
  nan.

  Args:
    index: int32 [n]; those at or past U are dropped.
    values: [n, W].
    num: U.

  Returns:
    [U, W].
  """
  index = index.astype(jnp.int32)
  order = jnp.arange(index.size, dtype=jnp.int32)
  index, order = jax.lax.sort((index, order), num_keys=1)
  values = values[order]
  sums = jnp.zeros((num, values.shape[1]), values.dtype)
  while index.size > _LAST:
    index, values, sums = _round(index, values, sums)
  block = index[None]
  totals = _within(block, values[None])[0]
  return _written(sums, index, totals, _is_first(block)[0])


def _round(
    index: Array, values: Array, sums: Array
) -> tuple[Array, Array, Array]:
  """Adds up blocks; returns what goes on, and the sums with what is done."""
  num, pad = sums.shape[0], -index.size % _BLOCK
  index = jnp.pad(index, (0, pad), constant_values=num)
  values = jnp.pad(values, ((0, pad), (0, 0)))
  blocks = index.reshape(-1, _BLOCK)
  totals = _within(blocks, values.reshape(*blocks.shape, -1))
  first, last = blocks[:, :1], blocks[:, -1:]
  inside = (blocks != first) & (blocks != last) & _is_first(blocks)
  sums = _written(
      sums, index, totals.reshape(values.shape), inside.reshape(-1)
  )
  # A block of one row alone must not count twice.
  at_end = jnp.where((first == last)[..., None], 0, totals[:, -1:])
  index = jnp.concatenate([first, last], axis=1).reshape(-1)
  values = jnp.concatenate([totals[:, :1], at_end], axis=1)
  return index, values.reshape(index.size, -1), sums


def _within(blocks: Array, values: Array) -> Array:
  """Returns at each place the sum over its block's places of that index."""
  equal = blocks[:, :, None] == blocks[:, None, :]  # [n / K, K, K]
  return _product('mij,mjw->miw', equal, values)


def _is_first(blocks: Array) -> Array:
  """Returns for sorted blocks whether a place is the first of its index."""
  differs = blocks[:, 1:] != blocks[:, :-1]
  return jnp.pad(differs, ((0, 0), (1, 0)), constant_values=True)


def _written(sums: Array, index: Array, totals: Array, chosen: Array) -> Array:
  """Writes the chosen totals to the rows of their index."""
  num = sums.shape[0]
  # The others lie past the end, each elsewhere, where a scatter drops them.
  past = num + jnp.arange(index.size, dtype=index.dtype)
  at = jnp.where(chosen & (index < num), index, past)
  return sums.at[at].set(totals, mode='drop', unique_indices=True)


def _product(form: str, chosen: Array, values: Array) -> Array:
  """Multiplies with a matrix of 0 and 1; no factor is rounded (TF32)."""
  return jnp.einsum(
      form,
      chosen.astype(values.dtype),
      values,
      precision=jax.lax.Precision.HIGHEST,
  )
