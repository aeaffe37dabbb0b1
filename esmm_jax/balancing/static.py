"""How the losses of the tasks are combined.

Static weights for now. A balancer gives each term one coefficient; what is
differentiated is sum_k coefficient_k * sum_k, so that a batch can be worked
through in parts.
"""

from collections.abc import Mapping

from esmm_jax.types import Array, InputError
import jax.numpy as jnp


def static(
    counts: Mapping[str, Array], weights: Mapping[str, Array]
) -> dict[str, Array]:
  """Coefficients weight_k / count_k: a weighted sum of the terms' means.

  Args:
    counts: Term -> size of its sample space in the batch; 0 gives coefficient
      0, so that a batch without clicks leaves the CVR tower alone.
    weights: Term -> weight.

  Returns:
    Term -> coefficient of the term's sum.
  """
  return {
      name: jnp.where(count > 0, weights[name] / jnp.maximum(count, 1.0), 0.0)
      for name, count in counts.items()
  }


def loss_weights(
    given: Mapping[str, float | None], defaults: Mapping[str, float]
) -> dict[str, float]:
  """The weight of each term: what the config says, or else the default.

  Args:
    given: Term -> weight, None for the estimator's default.
    defaults: The estimator's terms and their default weights.

  Raises:
    InputError: A weight is given to a term that the estimator lacks, or is
      negative, or all are 0.
  """
  for name, weight in given.items():
    if weight is not None and name not in defaults:
      raise InputError(
          f'loss_weights.{name} is {weight}, but this estimator has no such'
          f' term; it has {sorted(defaults)}. Leave it unset.'
      )
    if weight is not None and not weight >= 0:
      raise InputError(f'loss_weights.{name} is {weight}; it must not be < 0.')
  weights = {
      name: default if given.get(name) is None else float(given[name])
      for name, default in defaults.items()
  }
  if not any(weights.values()):
    raise InputError('loss_weights are all 0; nothing would be trained.')
  return weights
