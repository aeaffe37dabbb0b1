"""The loss of one replica on a batch: its terms, their counts and weights."""

from collections.abc import Callable, Mapping
import functools
from typing import NamedTuple

from esmm_jax.balancing import static as balancing
from esmm_jax.estimators import sampling
from esmm_jax.estimators.contract.dependence import logit_counts
from esmm_jax.training.state import StepSpec, TracedHyperparameters
from esmm_jax.types import Array, Batch, LossTerms
import jax
import jax.numpy as jnp

# Sets the key of the sampling apart from that of dropout.
_DRAW = 0x5A3B1E


class Objective(NamedTuple):
  """The loss of one replica on a batch.

  Attributes:
    whole: The batch, with what is drawn for it, and the weights of its rows.
    terms: The estimator with its options.
    counts: Term -> count at logits of 0. These are of the labels alone but for
      the `late` ones, so they are known before any logits are.
    late: Terms whose counts depend on the logits.
    rescale: The means of the terms -> term -> factor.
    rescaled: The terms that it rescales.
    weights: Term -> static weight.
  """

  whole: tuple[Batch, Array | None]
  terms: Callable[..., LossTerms]
  counts: dict[str, Array]
  late: tuple[str, ...]
  rescale: Callable[..., Mapping[str, Array]]
  rescaled: tuple[str, ...]
  weights: Mapping[str, Array]

  @property
  def apart(self) -> tuple[str, ...]:
    """The terms whose coefficients are known after the batch."""
    return tuple(sorted({*self.late, *self.rescaled}))

  def static(self) -> dict[str, Array]:
    """Returns the coefficients by the counts at logits of 0."""
    return balancing.static(self.counts, self.weights)

  def known(self) -> dict[str, Array]:
    """Returns the coefficients of those that are known before the batch."""
    return {k: c for k, c in self.static().items() if k not in self.apart}

  def all_counts(self, counts: Mapping[str, Array]) -> dict[str, Array]:
    """Returns the counts of the whole batch, the late ones from `counts`."""
    return self.counts | {k: counts[k] for k in self.late}

  def coefficients(
      self, counts: Mapping[str, Array], sums: Mapping[str, Array]
  ) -> tuple[dict[str, Array], dict[str, Array]]:
    """Returns the coefficients after the batch, and means.

    Args:
      counts: Term -> count in the whole batch.
      sums: Term -> sum over it.

    Returns:
      Term -> coefficient; term -> mean, and `loss` of them all.
    """
    counts = self.all_counts(counts)
    coefficients = balancing.static(counts, self.weights)
    means = {k: sums[k] / balancing.divisor(counts[k]) for k in sums}
    for name, factor in self.rescale(means).items():
      coefficients[name] *= factor
    means['loss'] = sum(coefficients[k] * sums[k] for k in sums)
    return coefficients, means


def objective(
    plan: StepSpec,
    batch: Batch,
    step: Array,
    key: Array,
    hyper: TracedHyperparameters,
) -> Objective:
  """Prepares the loss of one replica; arguments lack the axis R."""
  if plan.needs_uniform:
    labels = sampling.draw(
        jax.random.fold_in(key, _DRAW), batch.labels, batch.where.shape[0]
    )
    if plan.sampled:
      labels[sampling.CVR_ROWS] = sampling.cvr_rows(
          labels, labels[sampling.UNIFORM], sampling.Sampling(**hyper.sampling)
      )
    batch = batch._replace(labels=labels)
  seen = {'step': step} if plan.sees_step else {}
  terms = functools.partial(plan.terms, **hyper.options, **seen)
  rows = _weighted(plan, batch)
  where = batch.where if rows is None else rows
  zeros = {name: jnp.zeros_like(batch.where) for name in plan.model.outputs}
  at_zero = terms(zeros, batch.labels, where)
  counts = {name: count for name, (_, count) in at_zero.items()}
  rescale = functools.partial(plan.rescale or _nothing, **hyper.options)
  return Objective(
      (batch, rows),
      terms,
      counts,
      tuple(logit_counts(terms, zeros, batch.labels, where)),
      rescale,
      tuple(jax.eval_shape(rescale, counts)),
      hyper.loss_weights,
  )


def _nothing(means: Mapping[str, Array], **options: Array) -> dict[str, Array]:
  """Rescales no term."""
  del means, options
  return {}


def _weighted(plan: StepSpec, batch: Batch) -> Array | None:
  """Returns what a row counts in the loss, float32 [B]; None without weights.

  It is no part of `batch.where`: batch norm is of unweighted rows.
  """
  weight = plan.model.schema.weight
  return batch.where * batch.labels[weight] if weight else None
