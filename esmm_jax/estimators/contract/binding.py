"""Binds an estimator to the options and the tasks of a run."""

from collections.abc import Callable, Mapping
import functools
import inspect
from typing import Any, NamedTuple

from esmm_jax.estimators.contract import clashes
from esmm_jax.estimators.contract import estimator as contract
from esmm_jax.estimators.contract.estimator import Estimator, FROZEN_RUN, Needs
from esmm_jax.signatures import taken
from esmm_jax.tasks import Tasks
from esmm_jax.types import Array, InputError, LossTerms


class Bound(NamedTuple):
  """An estimator with its fixed options and its tasks.

  Attributes:
    terms: `(logits, labels, where, **traced)`, and `step` if it `sees_step`.
    weights: Term -> its default weight in the loss.
    needs: Heads, truth columns and predictions of a frozen run.
    traced: Traced option -> value.
    rescale: `(means, **traced)` -> term -> factor, or None.
    row_weights: `(probabilities, labels)` -> term -> weights of the clicked
      rows, with all options of this run; or None.
    sees_step: Whether `terms` takes the number of steps done.
    frozen_run: Folder of the run whose predictions `needs.frozen` names.
    output_interpretation: See `Estimator`.
    needs_uniform: See `Estimator`.
  """

  terms: Callable[..., LossTerms]
  weights: Mapping[str, float]
  needs: Needs
  traced: Mapping[str, float]
  rescale: Callable[..., Mapping[str, Array]] | None
  row_weights: Callable[..., Mapping[str, Any]] | None
  sees_step: bool
  frozen_run: str
  output_interpretation: str
  needs_uniform: bool


def bind(
    name: str, estimator: Estimator, values: Mapping[str, Any], tasks: Tasks
) -> Bound:
  """Binds options and tasks to an estimator.

  Args:
    name: Its name, for messages.
    estimator: The estimator.
    values: Option -> value; None is unset.
    tasks: The tasks of the data.

  Raises:
    InputError: It has no such option, a value is not allowed, the tasks do not
      suit it or have the name of one of its own terms, or `frozen_run` is set
      without need, or needed and not set.
  """
  values = {k: v for k, v in values.items() if v is not None}
  options = contract.options(estimator.terms)
  contract.check(values, estimator.terms, name)
  frozen_run = values.pop(FROZEN_RUN, '')
  every = {k: o.default for k, o in options.items()} | values
  traced = {k: float(every[k]) for k, o in options.items() if o.traced}
  fixed = {k: v for k, v in every.items() if k not in traced}
  needs = Needs()
  if estimator.needs:
    needs = _with_options(estimator.needs, fixed)()
  _check_frozen(name, needs, frozen_run)
  row_weights = estimator.row_weights
  weights = _with_options(estimator.weights, fixed)
  clashes.check_terms(name, weights, tasks)
  return Bound(
      terms=functools.partial(estimator.terms, tasks=tasks, **fixed),
      weights=dict(weights(tasks)),
      needs=needs,
      traced=traced,
      rescale=_rescale(estimator, fixed),
      row_weights=row_weights and _with_options(row_weights, every),
      sees_step='step' in inspect.signature(estimator.terms).parameters,
      frozen_run=frozen_run,
      output_interpretation=estimator.output_interpretation,
      needs_uniform=estimator.needs_uniform,
  )


def traced_options(estimator: Estimator) -> list[str]:
  """Returns the names of the options in which replicas may differ."""
  options = contract.options(estimator.terms)
  return [name for name, option in options.items() if option.traced]


def _with_options(
    function: Callable[..., Any], values: Mapping[str, Any]
) -> Callable[..., Any]:
  """Binds those of the values that a function names."""
  return functools.partial(function, **taken(function, values))


def _rescale(
    estimator: Estimator, fixed: Mapping[str, Any]
) -> Callable[..., Mapping[str, Array]] | None:
  """Returns `rescale` as a function of means and of all traced options."""
  if estimator.rescale is None:
    return None
  bound = _with_options(estimator.rescale, fixed)

  def rescale(means, **traced):
    return bound(means, **taken(estimator.rescale, traced))

  return rescale


def _check_frozen(name: str, needs: Needs, run: str) -> None:
  """Refuses a frozen run that nothing reads, or one that is needed and unset.

  Raises:
    InputError: So it is.
  """
  if needs.frozen and not run:
    raise InputError(
        f'estimator={name!r} with these estimator_options reads what a finished'
        f' run predicts for {", ".join(needs.frozen)}; set'
        f' estimator_options.{FROZEN_RUN} to its folder.'
    )
  if run and not needs.frozen:
    raise InputError(
        f'estimator_options.{FROZEN_RUN} is {run!r}, but'
        f' estimator={name!r} with these options reads no predictions; leave'
        ' it unset.'
    )
