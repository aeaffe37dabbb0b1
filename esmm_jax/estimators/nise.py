"""NISE: CVR over all impressions, with its own output as the missing label."""

from collections.abc import Mapping
from typing import Annotated

from esmm_jax.estimators import click_space as _click_space
from esmm_jax.estimators import propensity as _propensity
from esmm_jax.estimators.losses import cross_entropy, sum_and_count
from esmm_jax.options import NOT_NEGATIVE
from esmm_jax.tasks import FUNNEL, Tasks
from esmm_jax.types import Array, Labels, Logits, LossTerms
import jax
import jax.numpy as jnp


def nise(
    logits: Logits,
    labels: Labels,
    where: Array,
    *,
    tasks: Tasks = FUNNEL,
    stop_label: bool = False,
    alpha: Annotated[float | Array, NOT_NEGATIVE] = 1.0,
    beta: Annotated[float | Array, NOT_NEGATIVE] = 50.0,
) -> LossTerms:
  """Computes BCE(click, pCTR) and CVR's loss, of un-clicked rows its entropy.

      L = L_ctr + w / n [sum_{i: y_i = 1} BCE(z_i, pCVR_i) + sum_{i: y_i = 0}
          H(pCVR_i)],   H(q) = -q log q - (1 - q) log(1 - q)
      w = alpha min(L_ctr / L_cvr, beta)

  It is a diagnostic, not advice. The label of an un-clicked impression is pCVR
  itself, with a gradient through both sides, so that the loss drives pCVR to 0
  or 1 there: where a head is free, a CVR of .005 at a CTR of .04 is predicted
  as 1.9e-5. Compared with the label "clicked and converted" over all
  impressions that looks good; compared with the truth it is worse. An output
  that starts above 1/2 may end at .991 instead, as two of four seeds of
  `configs/nise.py:smoke` do.

  With `stop_label` the label has no gradient: self-distillation, whose gradient
  on un-clicked rows is 0, and the loss that of clicks.

  Args:
    logits: Task -> output, float32 [B].
    labels: Label -> float32 [B], joint events.
    where: float32 [B], 0 for padding, otherwise 1 or the weight of the row.
    tasks: The funnel.
    stop_label: Stops the gradient through the label.
    alpha: Factor of `rescale`.
    beta: Largest ratio of `rescale`.

  Returns:
    Term -> (sum, count), `ctr` and `cvr_entire`, the bracket, and for other
    tasks those of `click_space`.

  References:
    Huang et al., Utilizing Non-click Samples via Semi-supervised Learning for
    Conversion Rate Prediction, RecSys 2024, equations 9 and 11, and its code,
    Hjh233/NISE at 55d7fab.
  """
  del alpha, beta  # `rescale` takes them.
  terms = dict(_click_space.click_space(logits, labels, where, tasks=tasks))
  space = _propensity.clicked_space(tasks)
  del terms[space.key]
  observed = cross_entropy(logits[space.output], labels[space.label])
  guessed = entropy(logits[space.output])
  if stop_label:
    # The gradient of BCE(q, q) through its prediction is q - q. Without any,
    # no rounding of the two is left of it.
    guessed = jax.lax.stop_gradient(guessed)
  losses = jnp.where(labels[space.given] > 0, observed, guessed)
  return terms | {'cvr_entire': sum_and_count(losses, where)}


def entropy(logits: Array) -> Array:
  """Computes the entropy of probabilities in nats, element by element.

  >>> [round(entropy(jnp.array(x)).item(), 4) for x in (0.0, 5.0, -5.0)]
  [0.6931, 0.0402, 0.0402]

  Args:
    logits: Log-odds x, any shape. The gradient is -x q (1 - q).

  Returns:
    -q log q - (1 - q) log(1 - q), the same shape.
  """
  # It is even in x. softplus(x) - x q would lose all digits where x is large.
  size = jnp.abs(logits)
  return jax.nn.softplus(-size) + size * jax.nn.sigmoid(-size)


def rescale(
    means: Mapping[str, Array],
    *,
    alpha: float | Array = 1.0,
    beta: float | Array = 50.0,
) -> dict[str, Array]:
  """Computes w = alpha min(L_ctr / L_cvr, beta), without a gradient.

  Args:
    means: Term -> its mean over the batch, a scalar.
    alpha: Factor.
    beta: Largest ratio; the ratio to a loss of 0 is that.

  Returns:
    `cvr_entire` -> w, a scalar.
  """
  means = jax.lax.stop_gradient(dict(means))
  ctr, cvr = means['ctr'], means['cvr_entire']
  ratio = ctr / jnp.where(cvr > 0, cvr, 1.0)
  ratio = jnp.where(cvr > 0, jnp.minimum(ratio, beta), beta)
  return {'cvr_entire': alpha * ratio}


def default_weights(tasks: Tasks) -> dict[str, float]:
  """Returns weight 1 for every term.

  Raises:
    InputError: CVR is not the event after the click.
  """
  _propensity.check_tasks('nise', tasks)
  weights = _click_space.default_weights(tasks)
  del weights['cvr_clicked']
  return weights | {'cvr_entire': 1.0}
