"""Replay: the constant weights that another run had in the mean.

A method of balancing moves the weights of the tasks from step to step, and it
has a mean. A run with constant weights at that mean is the control: what the
method gains beyond it comes of the changes, and the rest is a static weight
that could have been set.
"""

from typing import Any

from esmm_jax.types import Array
import jax.numpy as jnp


def replay(
    gram: Array, losses: Array, counts: Array, state: Array, key: Array
) -> tuple[Array, Array]:
  """Weighs every task that is there with its constant weight.

  Args:
    gram: Not read.
    losses: [T], not read.
    counts: [T], sizes of the tasks' sample spaces in the batch.
    state: The weights [T], which training sets before the first step.
    key: Not read.

  Returns:
    Weights [T], 0 for a task without rows, and the state as it was.
  """
  del gram, losses, key
  return jnp.where(counts > 0, state, 0.0).astype(counts.dtype), state


def init(num_tasks: int) -> Any:
  """Returns weights of 1, float32 [T]."""
  return jnp.ones(num_tasks)
