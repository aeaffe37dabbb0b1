"""Row-wise optimizers: any element-wise one on the touched rows of a table.

A batch touches U of the V rows of a table. Gathering those rows and their
optimizer state, updating them and scattering them back makes the cost of a step
independent of V.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from esmm_jax.embeddings.lookup import gather_rows, scatter_rows
from esmm_jax.types import Array
import jax
import jax.numpy as jnp
import optax


class RowTransformation(NamedTuple):
  """An optimizer of the touched rows of a table.

  Attributes:
    init: table [V, R, D] -> state.
    update: (gradients [U, R, D], state, touched rows of the table [U, R, D],
      row ids [U], V, good) -> (directions [U, R, D], state). Ids at or past V
      are padding. `good` is bool [R], the replicas whose state changes, or
      None: all.
  """

  init: Callable[[Array], Any]
  update: Callable[
      [Array, Any, Array, Array, int, Array | None], tuple[Array, Any]
  ]


def lazily(tx: optax.GradientTransformation) -> RowTransformation:
  """Makes `tx` run on the rows that a batch touches, and on their state.

  Leaves of the state whose leading axis is the table's are gathered, updated
  and scattered back in place; others (Adam's step count) are shared. Where
  dense Adam also moves a row that has no gradient, by its decaying first
  moment, lazy Adam leaves it and its moments unchanged. For SGD, and for Adam
  when every row is touched, both are the same (`tests/optim/test_lazy.py`).

  Args:
    tx: Works element by element.

  Returns:
    The optimizer of the touched rows.
  """

  def update(grads, state, touched, rows, num_rows, good=None):
    by_row = has_row_axis(tx, touched, num_rows)
    gather = lambda leaf, row: gather_rows(leaf, rows) if row else leaf
    scatter = lambda leaf, new, row: (
        scatter_rows(leaf, rows, new) if row else new
    )
    row_state = jax.tree.map(gather, state, by_row)
    directions, row_state = update_rows(
        tx, grads, row_state, by_row, touched, good
    )
    return directions, jax.tree.map(scatter, state, row_state, by_row)

  return RowTransformation(tx.init, update)


def densely(tx: optax.GradientTransformation) -> RowTransformation:
  """Updates every row; the reference that tests compare `lazily` with."""

  def update(grads, state, touched, rows, num_rows, good=None):
    del rows, num_rows
    directions, new = tx.update(grads, state, touched)
    if good is not None:
      new = tree_where(good[None], new, state)
    return directions, new

  return RowTransformation(tx.init, update)


def update_rows(
    tx: optax.GradientTransformation,
    grads: Array,
    row_state: Any,
    by_row: Any,
    touched: Array,
    good: Array | None,
) -> tuple[Array, Any]:
  """Runs `tx.update` on rows as flat vectors.

  Args:
    tx: Works element by element.
    grads: [U, R, D].
    row_state: The rows' state; leaves [U, R, D], or those that all rows share.
    by_row: Tree of bools, True for the leaves [U, R, D].
    touched: The rows of the table, [U, R, D].
    good: bool [R], the replicas whose state changes; None: all.

  Returns:
    Directions [U, R, D] and the new state of the rows.
  """
  # Flat, because XLA's CPU backend is slow along a last axis of 18.
  flat = lambda leaf, row: leaf.reshape(-1) if row else leaf
  before = jax.tree.map(flat, row_state, by_row)
  directions, after = tx.update(grads.reshape(-1), before, touched.reshape(-1))
  if good is not None:
    elements = jnp.broadcast_to(good[:, None], grads.shape).reshape(-1)
    after = tree_where(elements, after, before)
  unflatten = lambda leaf, row: leaf.reshape(grads.shape) if row else leaf
  return directions.reshape(grads.shape), jax.tree.map(unflatten, after, by_row)


def has_row_axis(
    tx: optax.GradientTransformation, touched: Array, num_rows: int
) -> Any:
  """Marks the leaves of the optimizer state that grow with the table.

  Args:
    tx: The optimizer.
    touched: Rows of the table, [U, R, D], for their shape and dtype.
    num_rows: V.

  Returns:
    Tree of bools in the structure of the state.
  """
  # No leaf is told by its name or rank: one more row changes its shape or not.
  shapes = [
      jax.eval_shape(
          tx.init, jax.ShapeDtypeStruct((n, *touched.shape[1:]), touched.dtype)
      )
      for n in (num_rows, num_rows + 1)
  ]
  return jax.tree.map(lambda a, b: a.shape != b.shape, *shapes)


def tree_where(condition: Array, new: Any, old: Any) -> Any:
  """Selects new where the condition holds and old elsewhere, leaf by leaf.

  Scalar leaves are shared by all replicas (Adam's step count); they are new if
  the condition holds anywhere.

  Args:
    condition: bool; its axes are the first ones of the leaves, or of length 1.
    new: Tree of arrays.
    old: The same tree.

  Returns:
    The selected tree.
  """

  def select(a: Array, b: Array) -> Array:
    if not a.ndim:
      return jnp.where(condition.any(), a, b)
    extra = (1,) * (a.ndim - condition.ndim)
    return jnp.where(condition.reshape(condition.shape + extra), a, b)

  return jax.tree.map(select, new, old)
