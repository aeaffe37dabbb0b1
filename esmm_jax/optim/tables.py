"""Optimizers of large tables, whose moments take less memory.

Adam keeps two float32 numbers for each number of the table. Row-wise Adagrad
keeps one for each row; Adam's moments in bfloat16 are half as large.
"""

import dataclasses
from typing import Any, NamedTuple

from esmm_jax.embeddings.lookup import gather_rows, scatter_rows
from esmm_jax.optim import lazy, network
from esmm_jax.optim.lazy import RowTransformation, tree_where
from esmm_jax.optim.network import OptimizerOptions
from esmm_jax.options import NOT_NEGATIVE, number, one_of, Section
from esmm_jax.types import Array, InputError
import jax
import jax.numpy as jnp
import optax

ROWWISE = 'rowwise_adagrad'
DTYPES = ('float32', 'bfloat16')
_ROUNDING_KEY = 0xB16


@dataclasses.dataclass(frozen=True)
class TableOptions(Section):
  """The config's keys of the embedding table.

  Attributes:
    table_optimizer: adam, adagrad, sgd or rowwise_adagrad; '' takes that of the
      network. The settings are those of the section `optimizer`.
    table_moments: Type of Adam's moments, float32 or bfloat16.
    embed_init_scale: Standard deviation of the embeddings at the start.
    embedding_l2: Times the row, added to the gradient of each touched row.
  """

  table_optimizer: str = one_of('', *network.OPTIMIZERS, ROWWISE, default='')
  table_moments: str = one_of(*DTYPES, default='float32')
  embed_init_scale: float = number(0.01, NOT_NEGATIVE)
  embedding_l2: float = number(0.0, NOT_NEGATIVE)


def optimizer_name(table: TableOptions, options: OptimizerOptions) -> str:
  """Returns the name of the table's optimizer."""
  return table.table_optimizer or options.name


def table_optimizer(
    table: TableOptions, options: OptimizerOptions, num_tables: int
) -> RowTransformation:
  """Makes the optimizer of the touched rows.

  Args:
    table: Names the optimizer and the type of its moments.
    options: Its settings.
    num_tables: Embeddings side by side in a row.

  Raises:
    InputError: The type of the moments is not for this optimizer.
  """
  name = optimizer_name(table, options)
  in_bfloat16 = table.table_moments != 'float32'
  if in_bfloat16 and name != 'adam':
    raise InputError(
        f'table_moments is {table.table_moments!r}, which is for the optimizer'
        f" adam, but the table's is {name}. Use table_moments='float32'."
    )
  if name == ROWWISE:
    return rowwise_adagrad(options, num_tables)
  tx = network.optimizer(dataclasses.replace(options, name=name))
  return lazily_in_bfloat16(tx) if in_bfloat16 else lazy.lazily(tx)


def rowwise_adagrad(
    options: OptimizerOptions, num_tables: int, dense: bool = False
) -> RowTransformation:
  """Adagrad with one accumulator for each row: G += mean_d g_d^2.

  The direction is g / (sqrt(G) + eps), as in FBGEMM's EXACT_ROWWISE_ADAGRAD
  (Naumov et al., DLRM, arXiv 1906.00091, use it for tables). There is one G for
  each replica and for each of the embeddings side by side in a row.

  Args:
    options: `initial_accumulator` and `eps`.
    num_tables: Embeddings side by side in a row.
    dense: Updates all rows; those without gradient do not change.

  Returns:
    The optimizer; its state is float32 [V, R, num_tables].
  """
  first, eps = options.initial_accumulator, options.eps

  def init(table: Array) -> Array:
    return jnp.full((*table.shape[:2], num_tables), first, table.dtype)

  def update(grads, state, touched, rows, num_rows, good=None):
    del touched, num_rows
    parts = grads.reshape(*grads.shape[:2], num_tables, -1)
    before = state if dense else gather_rows(state, rows)
    after = before + jnp.mean(parts**2, axis=-1)
    directions = parts / (jnp.sqrt(after) + eps)[..., None]
    if good is not None:
      after = tree_where(good[None], after, before)
    state = after if dense else scatter_rows(state, rows, after)
    return directions.reshape(grads.shape), state

  return RowTransformation(init, update)


class Rounded(NamedTuple):
  """A state whose float leaves of the table are bfloat16.

  Attributes:
    inner: The state; bfloat16 is stored as its bits, uint16, because XLA's CPU
      backend gathers and scatters it in float32, which converts whole tables.
    steps: int32, the number of roundings, which seeds the next one.
  """

  inner: Any
  steps: Array


def lazily_in_bfloat16(tx: optax.GradientTransformation) -> RowTransformation:
  """Does what `lazy.lazily` does, with the moments stored as bfloat16.

  Moments are computed in float32 and rounded at random to one of the two
  neighbours, the nearer one more likely, so that they are right in the mean.
  Rounding to the nearest would lose changes below a 256th of a number: with b2
  = 0.999 the second moment could neither grow nor shrink
  (`tests/optim/test_tables.py`).

  Args:
    tx: Works element by element.

  Returns:
    The optimizer; its state is `Rounded`.
  """

  def halved(leaf: Array) -> Array:
    return jax.lax.bitcast_convert_type(leaf.astype(jnp.bfloat16), jnp.uint16)

  def init(table: Array) -> Rounded:
    by_row = lazy.has_row_axis(tx, table[:1], len(table))
    inner = jax.tree.map(
        lambda leaf, row: halved(leaf) if row else leaf, tx.init(table), by_row
    )
    return Rounded(inner, jnp.zeros((), jnp.int32))

  def update(grads, state, touched, rows, num_rows, good=None):
    by_row = lazy.has_row_axis(tx, touched, num_rows)
    gather = lambda leaf, row: (
        _float32(gather_rows(leaf, rows)) if row else leaf
    )
    row_state = jax.tree.map(gather, state.inner, by_row)
    directions, row_state = lazy.update_rows(
        tx, grads, row_state, by_row, touched, good
    )
    key = jax.random.fold_in(jax.random.key(_ROUNDING_KEY), state.steps)
    keys = iter(jax.random.split(key, len(jax.tree.leaves(by_row))))

    def scatter(leaf: Array, new: Array, row: bool) -> Array:
      key = next(keys)
      return scatter_rows(leaf, rows, rounded(new, key)) if row else new

    inner = jax.tree.map(scatter, state.inner, row_state, by_row)
    return directions, Rounded(inner, state.steps + 1)

  return RowTransformation(init, update)


def rounded(x: Array, key: Array) -> Array:
  """Rounds float32 to bfloat16, up or down at random, right in the mean.

  Args:
    x: float32, of any shape; [U, R, D] are rows of R replicas.
    key: A random key.

  Returns:
    The bits of the bfloat16, uint16, of the same shape.
  """
  bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
  # One draw for all replicas: each must round as it does alone, where R is 1.
  shape = (x.shape[0], 1, x.shape[2]) if x.ndim == 3 else x.shape
  noise = jax.random.bits(key, shape, jnp.uint16).astype(jnp.uint32)
  return ((bits + noise) >> 16).astype(jnp.uint16)


def _float32(bits: Array) -> Array:
  """Converts bits that `rounded` returned to float32."""
  return jax.lax.bitcast_convert_type(bits, jnp.bfloat16).astype(jnp.float32)
