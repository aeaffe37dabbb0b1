"""The learning rate and, where it is asked for, the gradient norm of a step.

The norm is there while the loop runs, as `TrainState.noted`; no checkpoint has
it. Something that reads the gradients makes XLA fuse, and round, otherwise: a
run that does not ask for it has the step of before.
"""

from collections.abc import Mapping
from typing import Any

from esmm_jax.metric_names import NORM, RATE
from esmm_jax.tracking import choice
from esmm_jax.training.state import TrainState
from esmm_jax.types import Array
import jax
import jax.numpy as jnp
import numpy as np


def begun(state: TrainState, layout: Any) -> TrainState:
  """Returns a state whose steps note the norm, if that is asked for.

  Args:
    state: Of the training.
    layout: The `Layout` that puts it on the devices.
  """
  if not choice.in_use().gradient_norm:
    return state
  noted = {NORM: np.zeros(state.bad_step.shape[0], np.float32)}
  return state.replace(**layout.put_state({'noted': noted}))


def without(state: TrainState) -> TrainState:
  """Returns the state as a checkpoint has it."""
  return state.replace(noted=None)


def left_out(metrics: Mapping[str, float]) -> dict[str, float]:
  """Returns the metrics of an evaluation that results.json has."""
  more = f'train/{RATE}', f'train/{NORM}'
  return {k: v for k, v in metrics.items() if k not in more}


def of_report(program: Any, state: TrainState) -> dict[str, np.ndarray]:
  """Returns what the last step notes, each [R]; {} before the first one.

  Args:
    program: The `Program`; has schedule and learning rates.
    state: After the step.
  """
  last = int(state.step) - 1
  if last < 0:
    return {}
  rates = np.asarray(program.hyper.learning_rate)
  noted = {k: np.asarray(v) for k, v in (state.noted or {}).items()}
  return {**noted, RATE: rates * np.float32(program.plan.schedule(last))}


def of_step(
    state: TrainState, net_grads: Any, row_grads: Array
) -> dict[str, Array] | None:
  """Returns what a step notes; None where nothing is asked for.

  Args:
    state: The state before the step.
    net_grads: Each leaf [R, ...], before L2 terms are added.
    row_grads: float32 [U, R, D], the same.
  """
  if state.noted is None:
    return None
  return {NORM: global_norm(net_grads, row_grads)}


def global_norm(net_grads: Any, row_grads: Array) -> Array:
  """Returns the norm of each replica's gradient, network and rows, [R].

  Args:
    net_grads: Each leaf [R, ...].
    row_grads: float32 [U, R, D].
  """
  squares = [
      jnp.sum(jnp.square(g), axis=tuple(range(1, g.ndim)))
      for g in jax.tree.leaves(net_grads)
  ]
  total = sum(squares) + jnp.sum(jnp.square(row_grads), axis=(0, 2))
  return jnp.sqrt(total)
