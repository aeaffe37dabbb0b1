"""Rows of a table, taken and put back, wherever its parts lie.

Where the mesh of `Layout.active` divides the rows of a table, each device looks
up those that it has and the others' are added: rows travel, never the table. An
array here is [V, R, ...], rows by replicas.
"""

from collections.abc import Callable
from typing import Any

from esmm_jax.types import Array
import jax
from jax.sharding import PartitionSpec
import jax.numpy as jnp

_TABLE = PartitionSpec('rows', 'replica')
_ROWS = PartitionSpec(None, 'replica')
_ALL = PartitionSpec()


def take_rows(leaf: Array, rows: Array) -> Array:
  """leaf[rows] for ascending unique rows; 0 for rows past the end.

  Args:
    leaf: [V, R, ...].
    rows: int32 [U].

  Returns:
    [U, R, ...].
  """
  if not divided():
    return leaf.at[rows].get(
        mode='fill', fill_value=0, unique_indices=True, indices_are_sorted=True
    )

  def local(part: Array, rows: Array) -> Array:
    found = part.at[rows - _first(part)].get(
        mode='fill', fill_value=0, unique_indices=True,
        indices_are_sorted=True, wrap_negative_indices=False,
    )
    return _added(found)

  return _mapped(local, (_TABLE, _ALL), _ROWS)(leaf, rows)


def put_rows(leaf: Array, rows: Array, new: Array) -> Array:
  """Writes rows [U, R, ...] back; rows past the end are dropped."""
  if not divided():
    return leaf.at[rows].set(
        new, mode='drop', unique_indices=True, indices_are_sorted=True
    )

  def local(part: Array, rows: Array, new: Array) -> Array:
    return part.at[rows - _first(part)].set(
        new, mode='drop', unique_indices=True, indices_are_sorted=True,
        wrap_negative_indices=False,
    )

  return _mapped(local, (_TABLE, _ALL, _ROWS), _TABLE)(leaf, rows, new)


def look_up(leaf: Array, rows: Array) -> Array:
  """leaf[rows] for any rows [n] of the table, in any order."""
  if not divided():
    return leaf[rows]

  def local(part: Array, rows: Array) -> Array:
    found = part.at[rows - _first(part)].get(
        mode='fill', fill_value=0, wrap_negative_indices=False
    )
    return _added(found)

  return _mapped(local, (_TABLE, _ALL), _ROWS)(leaf, rows)


def past_the_end(rows: Array, num_rows: int, padded: int) -> Array:
  """Rows at or past `num_rows`, which are none, moved past `padded` too."""
  if padded == num_rows:
    return rows
  return rows + jnp.where(rows >= num_rows, padded - num_rows, 0)


def init_table(
    keys: Array, num_rows: int, padded: int, width: int, scale: float, part: int
) -> Array:
  """Normal embeddings [padded, R, width], drawn and written in parts.

  Drawn at once the random bits of a large table would need as much memory
  again as the table. A row's numbers do not depend on how rows are divided.

  Args:
    keys: Random keys [R].
    num_rows: V; the rows behind it are 0.
    padded: V', the rows of all parts.
    width: Of a row.
    scale: Standard deviation.
    part: Rows that are drawn at once.
  """
  part = min(num_rows, part)
  parts = -(-num_rows // part)

  def draw(key: Array, k: Array) -> Array:
    return jax.random.normal(jax.random.fold_in(key, k), (part, width))

  def fill(keys: Array, size: int, first: Any) -> Array:
    """Rows [first, first + size) of the table."""

    def body(k: Array, table: Array) -> Array:
      rows = scale * jax.vmap(draw, (0, None), 1)(keys, k)  # [part, R, width]
      start = jnp.minimum(k * part, num_rows - part)
      if size == num_rows:
        return jax.lax.dynamic_update_slice(table, rows, (start, 0, 0))
      at = start - first + jnp.arange(part)
      return table.at[at].set(
          rows, mode='drop', unique_indices=True, indices_are_sorted=True,
          wrap_negative_indices=False,
      )

    table = jnp.zeros((size, len(keys), width))
    if size == num_rows:
      return jax.lax.fori_loop(0, parts, body, table)
    table = jax.lax.pcast(table, ('rows', 'replica'), to='varying')
    last = jnp.minimum(-(-(first + size) // part), parts)
    # The last part begins before its place, so as to end with the table.
    last = jnp.where(first + size > num_rows - part, parts, last)
    early = jnp.minimum(first // part, parts - 1)
    return jax.lax.fori_loop(early, jnp.maximum(last, early), body, table)

  if not divided():
    return fill(keys, padded, 0)

  def local(keys: Array) -> Array:
    size = padded // _axis_size()
    return fill(keys, size, jax.lax.axis_index('rows') * size)

  return _mapped(local, (PartitionSpec('replica'),), _TABLE)(keys)


def divided() -> bool:
  """Whether the mesh that is active has devices along rows."""
  return _axis_size() > 1


def _axis_size() -> int:
  return jax.sharding.get_abstract_mesh().shape.get('rows', 1)


def _first(part: Array) -> Array:
  """Number of the first row of this device's part."""
  return jax.lax.axis_index('rows') * part.shape[0]


def _added(found: Array) -> Array:
  """The devices' rows together; each row is that of one and 0 of the others."""
  if found.dtype == jnp.uint16:  # Not every backend can add those.
    return jax.lax.psum(found.astype(jnp.uint32), 'rows').astype(jnp.uint16)
  return jax.lax.psum(found, 'rows')


def _mapped(
    local: Callable[..., Array], in_specs: Any, out_specs: Any
) -> Callable[..., Array]:
  return jax.shard_map(local, in_specs=in_specs, out_specs=out_specs)
