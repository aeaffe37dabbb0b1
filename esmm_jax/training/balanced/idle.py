"""Keys of balancing that the model makes idle, which a trace alone can tell."""

from collections.abc import Sequence
from typing import Any

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
  """Returns a warning for each key that has no effect on this model.

  Args:
    program: What the replicas run.
    settings: Of the replicas, as their configs have them.
    state: Before the first step.
  """
  towers, balancer = settings[0].balancing.towers, program.plan.balancer
  if not towers or balancer is None:
    return []
  if '' in structure(program, state).net:
    return []
  return [
      f'balancing.towers is {towers!r}, which has no effect: each parameter of'
      f' the model is trained by two of the terms {list(balancer.terms)} or'
      ' more.'
  ]


def structure(program: Program, state: TrainState) -> Shared:
  """Finds the parameters that several tasks train.

  Args:
    program: With a balancer.
    state: For the shapes.
  """
  plan, batch, results = program.plan, program.batches(0), []

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
