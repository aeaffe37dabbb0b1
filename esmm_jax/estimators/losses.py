"""Losses of single rows, and sums of them over a sample space."""

from collections.abc import Mapping

from esmm_jax.tasks import Space
from esmm_jax.types import Array, InputError, Labels
import jax
import jax.numpy as jnp

NORMALIZATIONS = ('clicks', 'impressions')
# Ends the label that says how often each impression counts in a space.
ROWS = '_rows'


def cross_entropy(logits: Array, labels: Array) -> Array:
  """Binary cross-entropy in nats, element by element.

  softplus(x) - x y, which is -y log sigmoid(x) - (1 - y) log(1 - sigmoid(x)).
  """
  return jax.nn.softplus(logits) - logits * labels


def squared_error(values: Array, labels: Array) -> Array:
  """(value - label)^2, element by element."""
  return jnp.square(values - labels)


LOSSES = {'binary': cross_entropy, 'regression': squared_error}


def sum_and_count(losses: Array, where: Array) -> tuple[Array, Array]:
  """Sum of the losses times `where`, and the sum of `where`.

  Entries where it is 0 take no part, whatever they hold, nor in the gradient if
  what they hold is finite.
  """
  kept = jnp.where(where > 0, losses * where, 0.0)
  return jnp.sum(kept), jnp.sum(where)


def space_term(
    space: Space,
    outputs: Mapping[str, Array],
    labels: Labels,
    where: Array,
    normalization: str = 'clicks',
) -> tuple[Array, Array]:
  """Loss of an output over its sample space, as (sum, count).

  The label `KEY_rows`, `cvr_clicked_rows` say, takes the place of the space's
  rows where there is one: how often each impression counts (`sampling.py`).

  Args:
    space: Which output, label and rows.
    outputs: Output name -> float32 [B]: log-odds, or values of a regression.
    labels: Label name -> float32 [B].
    where: float32 [B], 0 for padding.
    normalization: Of a space that is a part of the impressions: `clicks`
      divides by the size of that space (PLE equation 9), `impressions` by the
      number of impressions; on clicked rows they differ by the CTR, a factor of
      25 at 4 %.

  Raises:
    InputError: There is no such normalization.
  """
  if normalization not in NORMALIZATIONS:
    raise InputError(
        f'cvr_normalization is {normalization!r}; it must be one of'
        f' {NORMALIZATIONS}.'
    )
  losses = LOSSES[space.kind](outputs[space.output], labels[space.label])
  if not space.given:
    return sum_and_count(losses, where)
  rows = labels.get(f'{space.key}{ROWS}', labels[space.given])
  total, size = sum_and_count(losses, where * rows)
  return total, size if normalization == 'clicks' else where.sum()
