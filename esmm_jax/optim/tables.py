"""Optimizers of large tables, whose moments take less memory.

Adam keeps two float32 numbers for each number of the table. Row-wise Adagrad
keeps one for each row; Adam's moments in bfloat16 are half as large.
"""

import dataclasses
from typing import Any, NamedTuple

from esmm_jax.embeddings.lookup import put_rows, take_rows
from esmm_jax.optim import network as optim
from esmm_jax.optim.network import OptimizerOptions, RowTransformation
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

  table_optimizer: str = one_of(
      '', *optim.OPTIMIZERS, ROWWISE, default=''
  )
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
  tx = optim.optimizer(dataclasses.replace(options, name=name))
  return lazily_in_bfloat16(tx) if in_bfloat16 else optim.lazily(tx)


def rowwise_adagrad(
    options: OptimizerOptions, num_tables: int, dense: bool = False
) -> RowTransformation:
  """Adagrad with one accumulator for each row: G += mean_d g_d^2.

  The direction is g / (sqrt(G) + eps), as in FBGEMM's EXACT_ROWWISE_ADAGRAD
  (Naumov et al., DLRM, arXiv 1906.00091, use it for tables). G is kept for each
  replica and for each of the embeddings side by side in a row.

  Args:
    options: `initial_accumulator` and `eps`.
    num_tables: Embeddings that stand side by side in a row.
    dense: Whether all rows are updated; those without gradient stay.
  """
  first, eps = options.initial_accumulator, options.eps

  def init(table: Array) -> Array:
    return jnp.full((*table.shape[:2], num_tables), first, table.dtype)

  def update(grads, state, small, rows, num_rows, good=None):
    del small, num_rows
    parts = grads.reshape(*grads.shape[:2], num_tables, -1)
    before = state if dense else take_rows(state, rows)
    after = before + jnp.mean(parts**2, axis=-1)
    directions = parts / (jnp.sqrt(after) + eps)[..., None]
    if good is not None:
      after = optim.kept_where(good[:, None], after, before)
    state = after if dense else put_rows(state, rows, after)
    return directions.reshape(grads.shape), state

  return RowTransformation(init, update)


class Rounded(NamedTuple):
  """A state whose float leaves of the table are bfloat16.

  Attributes:
    inner: The state; bfloat16 is stored as its bits, uint16, because XLA's CPU
      backend gathers and scatters it in float32, which converts whole tables.
    steps: int32, how often it was rounded.
  """

  inner: Any
  steps: Array


def lazily_in_bfloat16(tx: optax.GradientTransformation) -> RowTransformation:
  """`optim.lazily` with the table's part of the state stored as bfloat16.

  It is computed in float32 and rounded at random to one of the two neighbours,
  the nearer one more likely, so that it is right in the mean. Rounded to the
  nearest, what is less than a 256th of a number is lost: with b2 = 0.999 the
  second moment could neither grow nor shrink (`tests/optim/test_tables.py`).
  """

  def halved(leaf: Array) -> Array:
    return jax.lax.bitcast_convert_type(leaf.astype(jnp.bfloat16), jnp.uint16)

  def init(table: Array) -> Rounded:
    by_row = optim.row_state(tx, table[:1], len(table))
    inner = jax.tree.map(
        lambda leaf, row: halved(leaf) if row else leaf, tx.init(table), by_row
    )
    return Rounded(inner, jnp.zeros((), jnp.int32))

  def update(grads, state, small, rows, num_rows, good=None):
    by_row = optim.row_state(tx, small, num_rows)
    take = lambda leaf, row: (
        _float32(take_rows(leaf, rows)) if row else leaf
    )
    touched = jax.tree.map(take, state.inner, by_row)
    directions, touched = optim.of_rows(
        tx, grads, touched, by_row, small, good
    )
    key = jax.random.fold_in(jax.random.key(_ROUNDING_KEY), state.steps)
    keys = iter(jax.random.split(key, len(jax.tree.leaves(by_row))))

    def put(leaf: Array, new: Array, row: bool) -> Array:
      key = next(keys)
      return put_rows(leaf, rows, rounded(new, key)) if row else new

    inner = jax.tree.map(put, state.inner, touched, by_row)
    return directions, Rounded(inner, state.steps + 1)

  return RowTransformation(init, update)


def rounded(x: Array, key: Array) -> Array:
  """float32 to bfloat16, up or down at random, right in the mean.

  Args:
    x: float32, of any shape; [U, R, D] are rows of R replicas.
    key: A random key.

  Returns:
    The bits, uint16, of the same shape.
  """
  bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
  # One draw for all replicas: each must round as it does alone, where R is 1.
  shape = (x.shape[0], 1, x.shape[2]) if x.ndim == 3 else x.shape
  noise = jax.random.bits(key, shape, jnp.uint16).astype(jnp.uint32)
  return ((bits + noise) >> 16).astype(jnp.uint16)


def _float32(bits: Array) -> Array:
  """The numbers of which `rounded` gave the bits."""
  return jax.lax.bitcast_convert_type(bits, jnp.bfloat16).astype(jnp.float32)
