"""Means over the past steps, one of each task, with bias correction."""

from typing import NamedTuple

from esmm_jax.types import Array, InputError, suggest
import jax.numpy as jnp
import numpy as np


class Memory(NamedTuple):
  """An exponential moving average of a number of each task.

  Attributes:
    total: [T], sum of the numbers, with weights that decay.
    mass: [T], sum of the weights, 1 - beta^t after t steps of the task.
  """

  total: Array
  mass: Array


def empty(num_tasks: int) -> Memory:
  """Returns the memory before the first step."""
  return Memory(jnp.zeros(num_tasks), jnp.zeros(num_tasks))


def remember(
    memory: Memory, values: Array, there: Array, beta: float | Array
) -> tuple[Array, Memory]:
  """Adds the numbers of a step.

  Args:
    memory: That of the steps before.
    values: [T].
    there: bool [T]; the memory of other tasks does not move.
    beta: Share of the old mean that is kept.

  Returns:
    The means with the step's values, [T], 0 of a task that was never there; and
    the memory. After the first step of a task its mean is its number.
  """
  old = Memory(*(jnp.asarray(x, values.dtype) for x in memory))
  total = jnp.where(there, beta * old.total + (1 - beta) * values, old.total)
  mass = jnp.where(there, beta * old.mass + (1 - beta), old.mass)
  means = jnp.where(mass > 0, total / jnp.where(mass > 0, mass, 1), 0)
  dtypes = [jnp.asarray(x).dtype for x in memory]
  return means, Memory(total.astype(dtypes[0]), mass.astype(dtypes[1]))


def primary_task(primary: str, terms: tuple[str, ...], able: Array) -> Array:
  """Returns the task that the others stand behind, as bool [T].

  It is the one with the name. Where that cannot lead, because it has no rows or
  its gradient is 0, and where no name is set, it is the last that can: the
  deepest of a funnel, whose terms are in its order.

  Args:
    primary: A name, or ''.
    terms: The names of the tasks.
    able: bool [T], those that can lead.

  Raises:
    InputError: The name is none of them.
  """
  num = able.shape[0]
  last = num - 1 - jnp.argmax(able[::-1])
  chosen = (np.arange(num) == last) & able
  if not primary:
    return chosen
  if primary not in terms:
    raise InputError(
        f'balancing.primary is {primary!r}, which is none of the balanced'
        f' terms. {suggest(primary, terms)}'
    )
  named = np.arange(num) == terms.index(primary)
  return jnp.where((able & named).any(), named & able, chosen)
