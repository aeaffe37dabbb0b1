"""The state before the first step of a run."""

from collections.abc import Sequence
import functools
from typing import Any

from esmm_jax.embeddings.vectors import zeros
from esmm_jax.pretrained import beginning as vectors
from esmm_jax.training.gradients import gradients, weighing
from esmm_jax.training.program import Program
from esmm_jax.training.settings import Settings
from esmm_jax.training.state import init_state, StepSpec
from esmm_jax.training.state import TracedHyperparameters, TrainState
from esmm_jax.types import Batch, InputError
from esmm_jax.warm_start.base import Base
from esmm_jax.warm_start.takeover import take_over
import jax
import jax.numpy as jnp


def initial(program: Program, settings: Sequence[Settings]) -> TrainState:
  """Makes the state of all replicas where training begins.

  Args:
    program: What they run.
    settings: One for each replica.

  Raises:
    InputError: The model has nothing to balance.
  """
  example, common = program.batches(0), settings[0]
  sizes = vectors.sizes(common.model.options, program.schema)
  state = init_state(
      program.plan,
      num_rows=program.schema.num_rows,
      embed_dim=common.model.embed_dim,
      seeds=[s.training.first_seed for s in settings],
      example=example,
      term_names=list(program.hyper.loss_weights),
      embed_scale=common.table.embed_init_scale,
      layout=program.layout,
      sizes=sizes,
  )
  example = zeros(sizes, example)
  return with_balance(state, program.plan, program.hyper, example)


def placed(state: TrainState, program: Program) -> TrainState:
  """Moves the result of `initial` to the devices."""
  layout = program.layout
  if layout.num_devices > 1 and program.plan.balancer is not None:
    more = {'balance': state.balance, 'sums': state.sums}
    state = state.replace(**layout.put_state(more))
  return layout.placed(state)


def begun(
    state: TrainState, program: Program, common: Settings
) -> tuple[TrainState, list[str], list[str]]:
  """Puts in what a run begins with: vectors of files, parameters of a run.

  Args:
    state: As `placed` returns it; consumed.
    program: What the replicas run.
    common: The settings that they share.

  Returns:
    The state; lines that say what was put in, and warnings.

  Raises:
    InputError: A file or the run that `init_from` names does not fit, or that
      is another one than at the start.
  """
  schema, builder = program.schema, program.builder
  state, lines, warnings = vectors.put(
      state,
      common.model.options,
      schema,
      builder,
      common.dataset.train_split,
      program.plan.model.num_tables,
  )
  init = common.init
  if not init.init_from:
    return state, lines, warnings
  base = Base.open(init.init_from)
  if base.sha256 != init.init_sha256:
    raise InputError(
        f'init_from={base.run} was trained anew since this run began. Use'
        ' another --workdir.'
    )
  state, line = take_over(state, base, schema, builder)
  return state, [*lines, line], warnings


def with_balance(
    state: TrainState,
    plan: StepSpec,
    hyper: TracedHyperparameters,
    batch: Batch,
) -> TrainState:
  """Adds the state of the method and the sums of its records.

  Args:
    state: As `init_state` makes it.
    plan: The step it is for.
    hyper: Options of each replica.
    batch: Any, for the shapes.

  Raises:
    InputError: The model has nothing to balance.
  """
  if plan.balancer is None:
    return state
  num = state.keys.shape[0]
  balance = weighing.initial_state(plan.balancer, hyper.balancing, num)
  means = jax.eval_shape(
      functools.partial(_means, plan), state, batch, hyper, balance
  )
  sums = {name: jnp.zeros(num) for name in means}
  return state.replace(balance=balance, sums=sums | state.sums)


def _means(
    plan: StepSpec,
    state: TrainState,
    batch: Batch,
    hyper: TracedHyperparameters,
    balance: Any,
) -> dict[str, jax.Array]:
  """Returns the means that a step adds to the sums."""
  rows = state.table.shape[0] if plan.dense else batch.rows.shape[0]
  touched = jnp.zeros((rows, *state.table.shape[1:]))
  return gradients(
      plan, state.net, touched, state.stats, batch, state.keys, hyper,
      state.step, balance,
  ).means
