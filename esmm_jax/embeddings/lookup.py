"""Gathers and scatters rows of a table that may be sharded over devices.

Where the mesh of `Layout.active` divides the rows of a table, each device
gathers the rows that it has, and a sum over devices completes them: rows are
communicated, never the table. Arrays here are [V, R, ...], rows by replicas.
"""

from collections.abc import Callable
import functools
from typing import Any

from esmm_jax.types import Array
import jax
from jax.sharding import PartitionSpec
import jax.numpy as jnp

_TABLE = PartitionSpec('rows', 'replica')
_ROWS = PartitionSpec(None, 'replica')
_ALL = PartitionSpec()


def gather_rows(leaf: Array, rows: Array) -> Array:
  """Gathers leaf[rows] for ascending unique rows.

  Args:
    leaf: [V, R, ...].
    rows: int32 [U]; ids at or past V are padding.

  Returns:
    [U, R, ...], 0 for padding.
  """
  if not divided():
    return leaf.at[rows].get(
        mode='fill', fill_value=0, unique_indices=True, indices_are_sorted=True
    )

  def local(part: Array, rows: Array) -> Array:
    gathered = part.at[rows - _first_row(part)].get(
        mode='fill', fill_value=0, unique_indices=True,
        indices_are_sorted=True, wrap_negative_indices=False,
    )
    return _sum_over_devices(gathered)

  return _mapped(local, (_TABLE, _ALL), _ROWS)(leaf, rows)


def scatter_rows(leaf: Array, rows: Array, new: Array) -> Array:
  """Sets leaf[rows] to new values, for ascending unique rows.

  Args:
    leaf: [V, R, ...].
    rows: int32 [U]; ids at or past V are padding, whose values are dropped.
    new: [U, R, ...].

  Returns:
    The leaf with the new rows, [V, R, ...].
  """
  if not divided():
    return leaf.at[rows].set(
        new, mode='drop', unique_indices=True, indices_are_sorted=True
    )

  def local(part: Array, rows: Array, new: Array) -> Array:
    return part.at[rows - _first_row(part)].set(
        new, mode='drop', unique_indices=True, indices_are_sorted=True,
        wrap_negative_indices=False,
    )

  return _mapped(local, (_TABLE, _ALL, _ROWS), _TABLE)(leaf, rows, new)


def lookup_rows(leaf: Array, rows: Array) -> Array:
  """Gathers leaf[rows] for any rows, in any order and repeated.

  Args:
    leaf: [V, R, ...].
    rows: int32 [n], ids below V.

  Returns:
    [n, R, ...].
  """
  if not divided():
    return leaf[rows]

  def local(part: Array, rows: Array) -> Array:
    gathered = part.at[rows - _first_row(part)].get(
        mode='fill', fill_value=0, wrap_negative_indices=False
    )
    return _sum_over_devices(gathered)

  return _mapped(local, (_TABLE, _ALL), _ROWS)(leaf, rows)


def mask_padding_rows(rows: Array, num_rows: int, padded: int) -> Array:
  """Moves padding ids, those at or past `num_rows`, past `padded` too.

  Args:
    rows: int32 [U].
    num_rows: V.
    padded: V', the rows of the padded table.

  Returns:
    int32 [U].
  """
  # A table is padded so that all devices have as many rows. Without the shift a
  # padding id would be a row of it, and a scatter would write there.
  if padded == num_rows:
    return rows
  return rows + jnp.where(rows >= num_rows, padded - num_rows, 0)


def init_table(
    keys: Array, num_rows: int, padded: int, width: int, scale: float, part: int
) -> Array:
  """Draws normal embeddings, in parts.

  A row's numbers do not depend on the devices that share the rows.

  Args:
    keys: Random keys [R].
    num_rows: V; the rows behind it are 0.
    padded: V', the rows of the padded table.
    width: Width of a row, num_tables * D.
    scale: Standard deviation.
    part: Rows that are drawn at once.

  Returns:
    float32 [V', R, width].
  """
  # In parts, because the random bits of a whole table need as much memory again
  # as the table.
  fill = functools.partial(
      _draw_rows,
      num_rows=num_rows,
      width=width,
      scale=scale,
      part=min(num_rows, part),
  )
  if not divided():
    return fill(keys, padded, 0)

  def local(keys: Array) -> Array:
    size = padded // _axis_size()
    return fill(keys, size, jax.lax.axis_index('rows') * size)

  return _mapped(local, (PartitionSpec('replica'),), _TABLE)(keys)


def _draw_rows(
    keys: Array,
    size: int,
    first: Any,
    *,
    num_rows: int,
    width: int,
    scale: float,
    part: int,
) -> Array:
  """Draws rows [first, first + size) of the table of `init_table`."""
  parts = -(-num_rows // part)

  def draw(key: Array, k: Array) -> Array:
    return jax.random.normal(jax.random.fold_in(key, k), (part, width))

  def body(k: Array, table: Array) -> Array:
    rows = scale * jax.vmap(draw, (0, None), 1)(keys, k)  # [part, R, width]
    start = jnp.minimum(k * part, num_rows - part)
    if size == num_rows:
      return jax.lax.dynamic_update_slice(table, rows, (start, 0, 0))
    index = start - first + jnp.arange(part)
    return table.at[index].set(
        rows, mode='drop', unique_indices=True, indices_are_sorted=True,
        wrap_negative_indices=False,
    )

  table = jnp.zeros((size, len(keys), width))
  if size == num_rows:
    return jax.lax.fori_loop(0, parts, body, table)
  table = jax.lax.pcast(table, ('rows', 'replica'), to='varying')
  end = jnp.minimum(-(-(first + size) // part), parts)
  # The last part is moved back so as to end with the table. It then overwrites
  # rows of the part before it, so the device of those rows must draw it too.
  end = jnp.where(first + size > num_rows - part, parts, end)
  begin = jnp.minimum(first // part, parts - 1)
  return jax.lax.fori_loop(begin, jnp.maximum(end, begin), body, table)


def divided() -> bool:
  """Returns True if the active mesh divides the rows of tables."""
  return _axis_size() > 1


def _axis_size() -> int:
  return jax.sharding.get_abstract_mesh().shape.get('rows', 1)


def _first_row(part: Array) -> Array:
  """Returns the number of the first row of this device's part."""
  return jax.lax.axis_index('rows') * part.shape[0]


def _sum_over_devices(rows: Array) -> Array:
  """Adds up rows of which one device has the values and the others 0."""
  if rows.dtype == jnp.uint16:  # Not every backend can add those.
    return jax.lax.psum(rows.astype(jnp.uint32), 'rows').astype(jnp.uint16)
  return jax.lax.psum(rows, 'rows')


def _mapped(
    local: Callable[..., Array], in_specs: Any, out_specs: Any
) -> Callable[..., Array]:
  return jax.shard_map(local, in_specs=in_specs, out_specs=out_specs)
