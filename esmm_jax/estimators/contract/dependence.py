"""Counts of an estimator that depend on the logits."""

from collections.abc import Callable
from typing import Any

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

  shapes = jax.eval_shape(counts, logits)
  # A dictionary is flattened in the order of its sorted keys.
  return [k for k, is_late in zip(sorted(shapes), dependent(counts, logits))
          if is_late]


def dependent(function: Callable[[Any], Any], argument: Any) -> list[bool]:
  """Returns for each leaf of the result whether it depends on the argument.

  It follows the values through the traced computation: one that is said to
  depend may be constant, never the other way round.

  >>> from esmm_jax.estimators.contract.dependence import dependent
  >>> dependent(lambda x: {'a': x + 1, 'b': 2.0, 'c': -x}, 1.0)
  [True, False, True]

  Args:
    function: Of the argument, a tree of arrays.
    argument: A tree of arrays, for the shapes.
  """
  jaxpr = jax.make_jaxpr(function)(argument).jaxpr
  dependents = {id(v) for v in jaxpr.invars}
  for equation in jaxpr.eqns:
    if any(id(v) in dependents for v in equation.invars):
      dependents.update(id(v) for v in equation.outvars)
  return [id(v) in dependents for v in jaxpr.outvars]
