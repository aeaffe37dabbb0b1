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
          f'loss_weights.{term} {is_zero}, but'
          f' estimator={settings.objective.estimator!r} weights or labels rows'
          ' with the output that this term trains. Set a weight above 0, or use'
          ' the predictions of another run, with estimator_options.frozen_run'
          ' if the estimator has it.'
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
        f'sampling acts on the loss cvr_clicked, which estimator={name!r} does'
        ' not have for these tasks; leave sampling at its default.'
    )
  if estimator.needs_uniform:
    raise InputError(
        f'estimator={name!r} samples the clicked rows itself; leave sampling'
        ' at its default.'
    )
  if arrivals.EVENTUALLY in estimator.needs.truth_labels:
    raise InputError(f'estimator={name!r}: {arrivals.SAMPLED}')
