"""Counts of an estimator that depend on the logits."""

from collections.abc import Callable

from esmm_jax.types import Array, Labels, Logits, LossTerms
import jax


def logit_counts(
    terms: Callable[..., LossTerms],
    logits: Logits,
    labels: Labels,
    where: Array,
) -> list[str]:
  """Finds the terms whose count depends on the logits.

  It follows the values through the traced computation, so an estimator need not
  say it, and a count that is found by mistake costs a gradient of its own, no
  wrong number.

  >>> import jax.numpy as jnp
  >>> from esmm_jax.estimators.contract.dependence import logit_counts
  >>> def terms(logits, labels, where):
  ...   weights = where / jnp.exp(logits['ctr'])
  ...   losses = labels['click'] * logits['ctr']
  ...   return {
  ...       'mean': (jnp.sum(losses), jnp.sum(where)),
  ...       'weighted': (jnp.sum(weights * losses), jnp.sum(weights)),
  ...   }
  >>> x = jnp.ones(3)
  >>> logit_counts(terms, {'ctr': x}, {'click': x}, x)
  ['weighted']

  Args:
    terms: The estimator.
    logits: Output -> [B], for the shapes.
    labels: Label -> [B].
    where: [B].

  Returns:
    Names of terms, sorted.
  """

  def counts(logits: Logits) -> dict[str, Array]:
    return {k: c for k, (_, c) in terms(logits, labels, where).items()}

  traced, shapes = jax.make_jaxpr(counts, return_shape=True)(logits)
  jaxpr = traced.jaxpr
  dependent = {id(v) for v in jaxpr.invars}
  for equation in jaxpr.eqns:
    if any(id(v) in dependent for v in equation.invars):
      dependent.update(id(v) for v in equation.outvars)
  # A dictionary is flattened in the order of its sorted keys.
  names = sorted(shapes)
  return [k for k, v in zip(names, jaxpr.outvars) if id(v) in dependent]
