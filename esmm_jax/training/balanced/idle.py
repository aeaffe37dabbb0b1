"""Keys of balancing that the model or the length of a run makes idle."""

from collections.abc import Sequence
from typing import Any

from esmm_jax.balancing import BALANCERS, binding
from esmm_jax.balancing.options import BalancingOptions
from esmm_jax.embeddings.vectors import sizes_of, zeros
from esmm_jax.signatures import taken
from esmm_jax.training.gradients.objective import objective
from esmm_jax.training.gradients.parts import Wanted
from esmm_jax.training.gradients.shared import Shared, shared
from esmm_jax.training.program import Program
from esmm_jax.training.settings import Settings
from esmm_jax.training.state import TrainState
import jax
import jax.numpy as jnp


def warnings(
    program: Program, settings: Sequence[Settings], state: TrainState
) -> list[str]:
  """Returns a warning for each key that has no effect on these runs.

  Args:
    program: What the replicas run.
    settings: Of the replicas, as their configs have them.
    state: Before the first step.
  """
  towers, balancer = settings[0].balancing.towers, program.plan.balancer
  if balancer is None:
    return []
  late = [_late(s.balancing, program.total_steps) for s in settings]
  late = list(filter(None, late))
  if not towers or '' in structure(program, state).net:
    return late
  return [
      *late,
      f'balancing.towers is {towers!r}, which has no effect: every parameter of'
      ' the model is trained by at least two of the terms'
      f' {list(balancer.terms)}. Leave it unset.',
  ]


def _late(options: BalancingOptions, steps: int) -> str:
  """Returns a warning where a run ends before its method begins, or ''."""
  begins = BALANCERS[options.name].begins
  if begins is None:
    return ''
  first = begins(**taken(begins, binding.traced_options(options)))
  if first < steps:
    return ''
  return (
      f'balancing.name={options.name!r} gives all tasks the same weight for its'
      f' first {first:g} steps, and this run has {steps}; set a smaller'
      ' balancing.window.'
  )


def structure(program: Program, state: TrainState) -> Shared:
  """Finds the parameters that several tasks train.

  Args:
    program: With a balancer.
    state: For the shapes.
  """
  plan, results = program.plan, []
  batch = zeros(sizes_of(state.stats), program.batches(0))

  def look(net: Any, stats: Any, touched: Any, key: Any, hyper: Any) -> Any:
    loss = objective(plan, batch, jnp.int32(0), key, hyper)
    results.append(
        shared(
            Wanted(plan, loss.terms, {}),
            plan.balancer.terms,
            net,
            touched,
            stats,
            loss.whole,
            key,
        )
    )

  one = lambda tree: jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), tree
  )
  rows = batch.rows.shape[0], state.table.shape[-1]
  touched = jax.ShapeDtypeStruct(rows, state.table.dtype)
  jax.eval_shape(
      look,
      one(state.net),
      one(state.stats),
      touched,
      one(state.keys),
      one(program.hyper),
  )
  return results[0]
