"""DWA: weights from how fast each loss falls, window by window."""

from collections.abc import Mapping
from typing import Annotated

from esmm_jax.balancing.by_losses import per_task
from esmm_jax.options import POSITIVE
from esmm_jax.types import Array
import jax.numpy as jnp

_LARGEST = 1e30


def init(num_tasks: int) -> dict[str, Array]:
  """Returns the sums of the running window and the means of the last two."""
  return dict(
      newer=jnp.zeros(num_tasks),
      older=jnp.zeros(num_tasks),
      windows=jnp.zeros(num_tasks, jnp.int32),
      **per_task.no_sums(num_tasks),
  )


def dwa(
    gram: Array,
    losses: Array,
    counts: Array,
    state: Mapping[str, Array],
    key: Array,
    *,
    window: Annotated[float | Array, per_task.STEPS] = 100,
    temperature: Annotated[float | Array, POSITIVE] = 2.0,
) -> tuple[Array, dict[str, Array]]:
  """Computes w = T softmax(r / temperature), r_i = L_i(k - 1) / L_i(k - 2).

  L_i(k) is the mean of the loss over the k-th window; the weights of a window
  are constant, and all 1 in the first two (equation 7 of the paper). A task
  whose loss falls more slowly than the others' gets more weight.

  A window of the paper is an epoch. In a training of one epoch its weights are
  1 to the end, so a window is a number of steps here. With the temperature of 2
  the weights hardly differ: a fall of 10 % against none makes .975 : 1.025.

  The tasks have windows of their own: `window` steps in which the task is
  present. Weights are 1 until all tasks that are present have two windows. r is
  1, as if the loss stood still, where L_i(k - 2) is 0 or less, and 0 where
  L_i(k - 1) is less than 0.

  Args:
    gram: Float [T, T]; not read, but for its type.
    losses: Float [T]; moves the state, the weights do not depend on it.
    counts: Float [T]; a task is present where its count is not 0.
    state: As of `init`.
    key: Not read.
    window: Steps of a window.
    temperature: The larger, the more alike the weights.

  Returns:
    The weights, float [T], and the state. They sum to the number of tasks that
    are present.

  References:
    Liu, Johns and Davison, End-to-end multi-task learning with attention, CVPR
    2019. LibMTL and TorchJD (`DWA`) have the same weights of epochs; in TorchJD
    the user says when one ends.
  """
  present = counts > 0
  num_present = jnp.sum(present)
  ratios = jnp.where(
      state['older'] > 0, jnp.maximum(state['newer'], 0) / state['older'], 1.0
  )
  # Not inf: their differences would be nan.
  ratios = jnp.minimum(ratios, _LARGEST)
  weights = num_present * per_task.softmax(ratios, temperature, present)
  is_ready = jnp.all((state['windows'] >= 2) | ~present)
  weights = jnp.where(is_ready, weights, jnp.where(present, 1.0, 0.0))
  moves = present & jnp.isfinite(losses)
  return weights.astype(gram.dtype), _roll(state, losses, moves, window)


def _roll(
    state: Mapping[str, Array],
    losses: Array,
    moves: Array,
    window: float | Array,
) -> dict[str, Array]:
  """Adds losses to the windows, and closes those that are full."""
  sums = per_task.add_first(state, losses, moves, window)
  means, ends = per_task.first_means(sums, window)
  return dict(
      newer=jnp.where(ends, means, state['newer']),
      older=jnp.where(ends, state['newer'], state['older']),
      windows=jnp.minimum(state['windows'] + ends, 2),
      total=jnp.where(ends, 0.0, sums['total']),
      added=jnp.where(ends, 0, sums['added']),
  )
