"""Losses of single examples, and their sums over a sample space."""

from collections.abc import Mapping
from typing import get_args, Literal

from esmm_jax.options import check_choice
from esmm_jax.tasks import Space
from esmm_jax.types import Array, Labels
import jax
import jax.numpy as jnp

Normalization = Literal['clicks', 'impressions']
# Suffix of the label that counts how often each impression is in a space.
ROWS = '_rows'


def cross_entropy(logits: Array, labels: Array) -> Array:
  """Computes the binary cross-entropy in nats, element by element.

  softplus(x) - x y, which is -y log sigmoid(x) - (1 - y) log(1 - sigmoid(x)).

  Args:
    logits: x, log-odds, any shape.
    labels: y, 0 or 1, the same shape.

  Returns:
    The losses, the same shape.
  """
  return jax.nn.softplus(logits) - logits * labels


def squared_error(values: Array, labels: Array) -> Array:
  """Computes (value - label)^2, element by element."""
  return jnp.square(values - labels)


LOSSES = {'binary': cross_entropy, 'regression': squared_error}


def sum_and_count(losses: Array, where: Array) -> tuple[Array, Array]:
  """Computes the sum of the losses times `where`, and the sum of `where`.

  Args:
    losses: float32 [B].
    where: float32 [B], 0 for padding, otherwise 1 or the weight of the row.
      Losses where it is 0 may hold anything; the gradient needs them finite.

  Returns:
    Two scalars.
  """
  # 0 times inf is nan, so a product alone would not leave them out.
  masked = jnp.where(where > 0, losses * where, 0.0)
  return jnp.sum(masked), jnp.sum(where)


def space_term(
    space: Space,
    outputs: Mapping[str, Array],
    labels: Labels,
    where: Array,
    normalization: Normalization = 'clicks',
) -> tuple[Array, Array]:
  """Computes the loss of an output over its sample space, as (sum, count).

  A label `KEY_rows`, for example `cvr_clicked_rows`, replaces the rows of the
  space `KEY`: it is the number of times that each impression counts
  (`sampling.py`).

  Args:
    space: The output, its label and its rows.
    outputs: Output name -> float32 [B]: log-odds, or values of a regression.
    labels: Label name -> float32 [B].
    where: float32 [B], 0 for padding.
    normalization: The count of a space that is a part of the impressions:
      `clicks` divides by the size of that space (PLE, RecSys 2020, equation 9),
      `impressions` by the number of impressions; on clicked rows they differ by
      the CTR, a factor of 25 at 4 %.

  Returns:
    Two scalars: the sum of the losses, and the number to divide it by.

  Raises:
    InputError: There is no such normalization.
  """
  check_choice('cvr_normalization', normalization, get_args(Normalization))
  losses = LOSSES[space.kind](outputs[space.output], labels[space.label])
  if not space.given:
    return sum_and_count(losses, where)
  rows = labels.get(f'{space.key}{ROWS}', labels[space.given])
  total, size = sum_and_count(losses, where * rows)
  return total, size if normalization == 'clicks' else where.sum()
