"""A method of balancing and what it needs."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from esmm_jax import signatures
from esmm_jax.types import Array

_SKIP = 5  # gram, losses, counts, state, key


class Method(NamedTuple):
  """A method of balancing: it weighs the tasks in every step.

  T tasks are terms of the estimator. The functions after `weights` get those of
  its options that they name.

  Attributes:
    weights: `(gram, losses, counts, state, key, **options)` -> weights, state.
      `gram` [T, T] are the products of the tasks' gradients, `losses` [T] their
      means, `counts` [T] the sizes of their sample spaces in the batch: a task
      is there where its count is not 0. `key` is a random key. The weights [T]
      are nan where the method has no solution. Its options are described by
      its signature (`signatures.options`); a keyword `terms` is given the names
      of the tasks, and `step` the number of steps done, int32.
    init: Number of tasks -> the state at the start, arrays; None has none.
    after: (losses before the step, losses of the same batch after it, counts,
      state) -> the state, for a method that looks at what a step changed.
    towers: What the parameters of a single task get, where the config does not
      say: their `own` gradient, or the `weighted` one.
    largest: Most tasks that it can weigh.
  """

  weights: Callable[..., tuple[Array, Any]]
  init: Callable[..., Any] | None = None
  after: Callable[..., Any] | None = None
  towers: str = 'own'
  largest: int = 8


def options(method: Method) -> dict[str, signatures.Option]:
  """Reads the options of a method.

  Raises:
    InputError: See `signatures.options`.
  """
  return signatures.options(method.weights, _SKIP)


def option_types(methods: Mapping[str, Method]) -> dict[str, type]:
  """Returns the options of all methods and their types."""
  return signatures.types(options(m) for m in methods.values())
