"""Optimizers, and `lazily`: any of them on the touched rows of a table only.

A transformation here gives the direction of a step; the train step multiplies
it by the learning rate, of which each replica has its own. Transformations run
on the stacked replicas at once, so they must work element by element, as Adam,
Adagrad, RMSProp and momentum do.
"""

from collections.abc import Callable
import dataclasses
import math
from typing import Any, NamedTuple

from esmm_jax.embeddings.lookup import put_rows, take_rows
from esmm_jax.options import BELOW_ONE, COUNT_OR_NONE, NOT_NEGATIVE, number
from esmm_jax.options import one_of, Section, SHARE
from esmm_jax.types import Array, InputError
import jax
import jax.numpy as jnp
import optax

OPTIMIZERS = {
    'adam': lambda o: optax.scale_by_adam(b1=o.b1, b2=o.b2, eps=o.eps),
    'adagrad': lambda o: optax.scale_by_rss(
        initial_accumulator_value=o.initial_accumulator, eps=o.eps
    ),
    'sgd': lambda o: (
        optax.trace(decay=o.momentum) if o.momentum else optax.identity()
    ),
}


@dataclasses.dataclass(frozen=True)
class OptimizerOptions(Section, prefix='optimizer'):
  """The config's section `optimizer`.

  Attributes:
    name: adam, adagrad or sgd.
    b1: Adam's decay of the first moment.
    b2: Adam's decay of the second moment.
    eps: Added to the root of Adam and Adagrad.
    initial_accumulator: Adagrad's sum of squares before the first step.
    momentum: SGD's decay of the trace; 0 keeps none.
  """

  name: str = one_of(*OPTIMIZERS, default='adam')
  b1: float = number(0.9, BELOW_ONE)
  b2: float = number(0.999, BELOW_ONE)
  eps: float = number(1e-8, NOT_NEGATIVE)
  initial_accumulator: float = number(0.1, NOT_NEGATIVE)
  momentum: float = number(0.0, BELOW_ONE)


@dataclasses.dataclass(frozen=True)
class ScheduleOptions(Section, prefix='schedule'):
  """The config's section `schedule`: the learning rate by step.

  Attributes:
    name: constant, cosine (to `end_factor` at the last step) or exponential
      (down to `end_factor` at the last step).
    warmup_steps: Steps of linear rise before it.
    end_factor: Share of the learning rate at the end.
  """

  name: str = one_of('constant', 'cosine', 'exponential', default='constant')
  warmup_steps: int = number(0, COUNT_OR_NONE)
  end_factor: float = number(0.01, SHARE)

  def check(self) -> None:
    if self.name == 'exponential' and not self.end_factor > 0:
      raise InputError('schedule.end_factor must be > 0 for exponential decay.')


def optimizer(options: OptimizerOptions) -> optax.GradientTransformation:
  """Makes the optimizer's transformation; its directions lack the rate."""
  return OPTIMIZERS[options.name](options)


def network_optimizer(
    options: OptimizerOptions, weight_decay: float
) -> optax.GradientTransformation:
  """Makes the network's transformation, with decoupled decay of its kernels.

  The decay is added to the direction, so Adam does not rescale it (AdamW,
  Loshchilov and Hutter, arXiv 1711.05101).

  Args:
    options: The optimizer.
    weight_decay: Times the kernel, added to its direction; 0 for none.
  """
  tx = optimizer(options)
  if not weight_decay:
    return tx
  return optax.chain(tx, optax.add_decayed_weights(weight_decay, is_kernel))


def schedule(
    options: ScheduleOptions, total_steps: int
) -> Callable[[Array], Array]:
  """Makes the factor on the learning rate, a function of the step.

  Args:
    options: The form.
    total_steps: Steps of the whole run.
  """
  warmup, end = options.warmup_steps, options.end_factor
  rest = max(total_steps - warmup, 1)
  if options.name == 'constant':
    main = optax.constant_schedule(1.0)
  elif options.name == 'cosine':
    main = optax.cosine_decay_schedule(1.0, rest, alpha=end)
  else:
    main = lambda step: jnp.exp(math.log(end) * jnp.minimum(step / rest, 1.0))
  if not warmup:
    return main
  rise = optax.linear_schedule(1.0 / (warmup + 1), 1.0, warmup)
  return optax.join_schedules([rise, main], [warmup])


class RowTransformation(NamedTuple):
  """An optimizer of the touched rows of a table.

  Attributes:
    init: table [V, R, D] -> state.
    update: (gradients [U, R, D], state, small table [U, R, D], rows [U], V,
      good) -> (directions [U, R, D], state). Rows at or past V are padding.
      `good` is bool [R], the replicas whose state changes, or None: all.
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
  moment, lazy Adam leaves it and its moments as they are. For SGD, and for Adam
  when every row is touched, both are the same (`tests/optim/test_network.py`).
  """

  def init(table: Array) -> Any:
    return tx.init(table)

  def update(grads, state, small, rows, num_rows, good=None):
    by_row = row_state(tx, small, num_rows)
    take = lambda leaf, row: take_rows(leaf, rows) if row else leaf
    put = lambda leaf, new, row: put_rows(leaf, rows, new) if row else new
    touched = jax.tree.map(take, state, by_row)
    directions, touched = of_rows(tx, grads, touched, by_row, small, good)
    return directions, jax.tree.map(put, state, touched, by_row)

  return RowTransformation(init, update)


def of_rows(
    tx: optax.GradientTransformation,
    grads: Array,
    touched: Any,
    by_row: Any,
    small: Array,
    good: Array | None,
) -> tuple[Array, Any]:
  """`tx.update` of rows, as flat vectors.

  XLA's CPU backend is slow along a last axis of 18.

  Args:
    tx: Works element by element.
    grads: [U, R, D].
    touched: The rows' state; leaves [U, R, D], or those that all rows share.
    by_row: Tree of bools, which are which.
    small: [U, R, D].
    good: bool [R], the replicas whose state changes; None: all.

  Returns:
    Directions [U, R, D] and the new state of the rows.
  """
  flat = lambda leaf, row: leaf.reshape(-1) if row else leaf
  before = jax.tree.map(flat, touched, by_row)
  directions, after = tx.update(grads.reshape(-1), before, small.reshape(-1))
  if good is not None:
    every = jnp.broadcast_to(good[:, None], grads.shape).reshape(-1)
    after = kept_where(every, after, before)
  shaped = lambda leaf, row: leaf.reshape(grads.shape) if row else leaf
  return directions.reshape(grads.shape), jax.tree.map(shaped, after, by_row)


def densely(tx: optax.GradientTransformation) -> RowTransformation:
  """The ordinary update of every row; the reference that tests compare with."""

  def update(grads, state, small, rows, num_rows, good=None):
    del rows, num_rows
    directions, new = tx.update(grads, state, small)
    if good is not None:
      new = kept_where(good[:, None], new, state)
    return directions, new

  return RowTransformation(tx.init, update)


def kept_where(good: Array, new: Any, old: Any) -> Any:
  """new where `good` holds, else old; what all replicas share if any does.

  Args:
    good: bool, broadcast against the leaves that are not scalars.
    new: Tree of arrays.
    old: The same tree.
  """
  choose = lambda a, b: jnp.where(good if a.ndim else good.any(), a, b)
  return jax.tree.map(choose, new, old)


def is_kernel(net: Any) -> Any:
  """Tree of bools: the weight matrices of a network, for weight decay."""
  return jax.tree_util.tree_map_with_path(
      lambda path, _: path[-1].key == 'kernel', net
  )


def row_state(
    tx: optax.GradientTransformation, small: Array, num_rows: int
) -> Any:
  """Tree of bools: the leaves of the state that grow with the table."""
  shapes = [
      jax.eval_shape(
          tx.init, jax.ShapeDtypeStruct((n, *small.shape[1:]), small.dtype)
      )
      for n in (num_rows, num_rows + 1)
  ]
  return jax.tree.map(lambda a, b: a.shape != b.shape, *shapes)
