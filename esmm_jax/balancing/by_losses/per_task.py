"""Softmax, means of first steps and Adam over tasks, of which some are absent.

Each task has state of its own, which moves in the steps that have rows of the
task. Tasks that are present then get what they get where no others exist.
"""

from collections.abc import Mapping
import math

from esmm_jax.options import Range
from esmm_jax.types import Array
import jax
import jax.numpy as jnp

# Steps of a window. A traced number, so that replicas may differ in it.
STEPS = Range(1, 2**24)  # float32 counts so far.

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


def softmax(values: Array, temperature: float | Array, present: Array) -> Array:
  """Computes softmax(values / temperature) over the tasks that are present.

  Args:
    values: Float [T], finite.
    temperature: Above 0, as small as one likes.
    present: Bool [T].

  Returns:
    Float [T], 0 for absent tasks.
  """
  top = jnp.max(values, where=present, initial=-jnp.inf)
  # Before the division, which may overflow. XLA takes a number that is too
  # small to have all its digits for 0.
  divisor = jnp.maximum(temperature, jnp.finfo(values.dtype).tiny)
  logits = jnp.where(present, values - top, 0.0) / divisor
  return jax.nn.softmax(logits, where=present)


def no_sums(num_tasks: int) -> dict[str, Array]:
  """Returns the state of `add_first` before the first step."""
  return dict(
      total=jnp.zeros(num_tasks), added=jnp.zeros(num_tasks, jnp.int32)
  )


def add_first(
    state: Mapping[str, Array],
    losses: Array,
    moves: Array,
    window: float | Array,
) -> dict[str, Array]:
  """Adds losses to the sums of the first `window` steps of each task.

  Args:
    state: As of `no_sums`.
    losses: Float [T].
    moves: Bool [T], the tasks whose losses count.
    window: Steps.

  Returns:
    The state; that of tasks that have had their first steps is the same.
  """
  adds = moves & (state['added'] < window)
  return dict(
      total=state['total'] + jnp.where(adds, losses, 0.0),
      added=state['added'] + adds,
  )


def first_means(
    state: Mapping[str, Array], window: float | Array
) -> tuple[Array, Array]:
  """Returns the means [T] of first steps, and the tasks [T] that have them."""
  means = state['total'] / jnp.maximum(state['added'], 1)
  return means, state['added'] >= window


def no_moments(num_tasks: int) -> dict[str, Array]:
  """Returns Adam's state before the first step."""
  return dict(
      mean=jnp.zeros(num_tasks),
      square=jnp.zeros(num_tasks),
      updates=jnp.zeros(num_tasks, jnp.int32),
  )


def adam(
    gradient: Array, state: Mapping[str, Array], moves: Array
) -> tuple[Array, dict[str, Array]]:
  """Computes a step of Adam, with decays .9 and .999 and epsilon 1e-8.

  A number for each task, with a count of updates of its own: a task that is
  absent does not move, and its moments do not decay.

  Args:
    gradient: Float [T].
    state: As of `no_moments`.
    moves: Bool [T].

  Returns:
    direction: Float [T], to be multiplied by the rate and subtracted; 0 where
      the task does not move.
    state: The new state.
  """
  gradient = jnp.where(moves, gradient, 0.0)
  updates = state['updates'] + moves
  mean = _BETA1 * state['mean'] + (1 - _BETA1) * gradient
  square = _BETA2 * state['square'] + (1 - _BETA2) * gradient**2
  count = jnp.maximum(updates, 1)
  # 1 - decay^count, which float32 would round at the first steps.
  left1, left2 = (-jnp.expm1(count * math.log(b)) for b in (_BETA1, _BETA2))
  direction = mean / left1 / (jnp.sqrt(square / left2) + _EPSILON)
  return jnp.where(moves, direction, 0.0), dict(
      mean=jnp.where(moves, mean, state['mean']),
      square=jnp.where(moves, square, state['square']),
      updates=updates,
  )
