"""Config keys of the options and terms of estimators."""

from collections.abc import Callable, Mapping
import functools
import itertools

from esmm_jax import signatures
from esmm_jax.estimators.contract.estimator import Estimator, FROZEN_RUN
from esmm_jax.estimators.contract.estimator import options
from esmm_jax.tasks import CART_FUNNEL, CLICK, CLICKED, CONVERSION, FUNNEL, Task
from esmm_jax.types import InputError

# Tasks of the data sets here. The terms of other tasks, those of labels of
# one's own, are keys as well (`sweeps.config_keys.is_term`).
_TASKS = (
    FUNNEL,
    CART_FUNNEL,
    CLICKED,
    (CLICK, CONVERSION, Task('play_time', 'play_time', 'ctr', 'regression')),
)


def option_types(estimators: Mapping[str, Estimator]) -> dict[str, type]:
  """Returns the keys of the section `estimator_options` and their types.

  Args:
    estimators: Those of `ESTIMATORS`.
  """
  every = (options(e.terms) for e in estimators.values())
  return {**signatures.types(every), FROZEN_RUN: str}


def terms(estimators: Mapping[str, Estimator]) -> list[str]:
  """Returns the keys of the section `loss_weights`.

  Args:
    estimators: Those of `ESTIMATORS`.
  """
  every = (_terms(estimator.weights) for estimator in estimators.values())
  return list(dict.fromkeys(itertools.chain.from_iterable(every)))


@functools.cache  # A sweep asks all estimators for each of its configs.
def _terms(weights: Callable[..., Mapping[str, float]]) -> tuple[str, ...]:
  """Returns the terms of an estimator over all kinds of tasks."""
  names: dict[str, None] = {}
  for tasks in _TASKS:
    try:
      names |= dict.fromkeys(weights(tasks))
    except InputError:  # It cannot have these tasks.
      continue
  return tuple(names)
