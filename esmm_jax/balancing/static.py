"""Fixed weights of the loss terms.

A balancer gives each term one coefficient. The loss is the sum of coefficient
times the term's sum, not of weighted means, so that a batch can be processed in
parts whose gradients add up.
"""

from collections.abc import Mapping, Sequence

from esmm_jax.types import Array, InputError
import jax.numpy as jnp


def static(
    counts: Mapping[str, Array], weights: Mapping[str, Array]
) -> dict[str, Array]:
  """Computes coefficients weight_k / count_k: a weighted sum of means.

  Args:
    counts: Term -> size of its sample space in the batch, a scalar; where rows
      have weights the sum of these.
    weights: Term -> weight, a scalar.

  Returns:
    Term -> coefficient of the term's sum; 0 for an empty sample space, so that
    a batch without clicks does not move the CVR tower.
  """
  return {
      name: jnp.where(count > 0, weights[name] / divisor(count), 0.0)
      for name, count in counts.items()
  }


def divisor(count: Array) -> Array:
  """Returns the count, or 1 where it is 0."""
  # Not max(count, 1): a sum of weights may lie between 0 and 1.
  return jnp.where(count > 0, count, 1.0)


def loss_weights(
    options: Mapping[str, float | None],
    defaults: Mapping[str, float],
    same: Sequence[str] = (),
) -> dict[str, float]:
  """Returns the weight of each term: the config's, or else the default.

  >>> loss_weights({'cvr_clicked': 0.5}, {'ctr': 1.0, 'cvr_clicked': 0.0})
  {'ctr': 1.0, 'cvr_clicked': 0.5}

  Args:
    options: Term -> weight, None for the estimator's default.
    defaults: The estimator's terms and their default weights.
    same: Terms that must have one weight.

  Raises:
    InputError: A weight is set for a term that the estimator lacks, or is
      negative, or all are 0; or those of `same` differ.
  """
  for name, weight in options.items():
    if weight is not None and name not in defaults:
      raise InputError(
          f'loss_weights.{name} is {weight}, but this estimator has no such'
          f' term; its terms are {sorted(defaults)}. Leave it unset.'
      )
    if weight is not None and not weight >= 0:
      raise InputError(f'loss_weights.{name} is {weight}; it must not be < 0.')
  weights = {
      name: default if options.get(name) is None else float(options[name])
      for name, default in defaults.items()
  }
  if len({weights[name] for name in same}) > 1:
    values = ', '.join(f'loss_weights.{k} is {weights[k]}' for k in same)
    raise InputError(
        f'{values}; they are parts of one loss, so give them the same weight.')
  if not any(weights.values()):
    raise InputError('loss_weights are all 0; nothing would be trained.')
  return weights
