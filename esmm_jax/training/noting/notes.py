"""The learning rate and the gradient norm of the last step.

They are there while the loop runs, as `TrainState.noted`, and change no other
number. Checkpoints do not have them: they are those of earlier versions.
"""

from collections.abc import Mapping
from typing import Any

from esmm_jax.parallel.layout import Layout
from esmm_jax.training.state import TrainState
from esmm_jax.types import Array
import jax
import jax.numpy as jnp

RATE, NORM = 'learning_rate', 'gradient_norm'


def begun(state: TrainState, layout: Layout) -> TrainState:
  """Returns a state whose steps note something."""
  num = state.bad_step.shape[0]
  noted = {RATE: jnp.zeros(num), NORM: jnp.zeros(num)}
  return state.replace(**layout.put_state({'noted': noted}))


def without(state: TrainState) -> TrainState:
  """Returns the state as a checkpoint has it."""
  return state.replace(noted=None)


def left_out(metrics: Mapping[str, float]) -> dict[str, float]:
  """Returns the metrics of an evaluation that results.json has."""
  more = f'train/{RATE}', f'train/{NORM}'
  return {k: v for k, v in metrics.items() if k not in more}


def of_step(
    state: TrainState,
    rate: Array,
    net_grads: Any,
    row_grads: Array,
) -> dict[str, Array] | None:
  """Returns what a step notes; None where nothing is asked for.

  Args:
    state: The state before the step.
    rate: float32 [R], learning rate of the step.
    net_grads: Each leaf [R, ...], with L2 and before they are clipped.
    row_grads: float32 [U, R, D], the same.
  """
  if state.noted is None:
    return None
  return {RATE: rate, NORM: global_norm(net_grads, row_grads)}


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
