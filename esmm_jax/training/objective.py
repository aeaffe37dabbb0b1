"""The weights of a run's loss terms, and the rows that they are of."""

from esmm_jax.balancing import static as balancing
from esmm_jax.estimators.contract import Bound
from esmm_jax.estimators.delayed import arrivals
from esmm_jax.tasks import spaces, Tasks
from esmm_jax.training.settings import Settings
from esmm_jax.types import InputError


def weights(settings: Settings, estimator: Bound) -> dict[str, float]:
  """Returns the weight of each term in the loss.

  Raises:
    InputError: Nothing would train the propensity or the teacher, or see
      `static.loss_weights`.
  """
  chosen = balancing.loss_weights(
      settings.objective.loss_weights,
      estimator.weights,
      estimator.needs.same_weight,
  )
  for term in estimator.needs.trained:
    # A run that begins with another one's parameters has a trained one.
    if not chosen.get(term) and not settings.init.init_from:
      is_zero = 'is 0' if term in chosen else 'is no term of it'
      raise InputError(
          f'loss_weights.{term} {is_zero}, but estimator='
          f'{settings.objective.estimator!r} weighs or labels rows by the'
          ' output that this term trains. Give it a weight, or take the'
          ' predictions of another run, estimator_options.frozen_run, where'
          ' there is that option.'
      )
  return chosen


def check_sampled(name: str, estimator: Bound, tasks: Tasks) -> None:
  """Refuses sampling where it would do nothing.

  Raises:
    InputError: The estimator has no CVR loss, or thins its rows itself.
  """
  clicked = [s.key for s in spaces(tasks) if s.given == 'click']
  if 'cvr_clicked' not in {*estimator.weights} & {*clicked}:
    raise InputError(
        'sampling is of the rows of the loss cvr_clicked, which'
        f' estimator={name!r} does not have for these tasks.'
    )
  if estimator.needs_uniform:
    raise InputError(
        f'estimator={name!r} samples the clicked rows itself; leave sampling'
        ' at its default.'
    )
  if arrivals.EVENTUALLY in estimator.needs.truth_labels:
    raise InputError(f'estimator={name!r}: {arrivals.SAMPLED}')
