"""DCMT: a factual and a counterfactual CVR, of inverse propensities."""

from collections.abc import Mapping

from esmm_jax.estimators import entire_space as _entire_space
from esmm_jax.estimators import propensity as _propensity
from esmm_jax.estimators.contract import Needs
from esmm_jax.estimators.losses import cross_entropy, sum_and_count
from esmm_jax.estimators.propensity import FLOOR, Floor, inverse, Propensity
from esmm_jax.tasks import FUNNEL, Head, Tasks
from esmm_jax.types import Array, Labels, Logits, LossTerms
import jax
import jax.numpy as jnp

HEAD = 'counterfactual'
COUNTERFACTUAL = 'cvr_counterfactual'
PRIOR = 'counterfactual_prior'


def dcmt(
    logits: Logits,
    labels: Labels,
    where: Array,
    *,
    tasks: Tasks = FUNNEL,
    propensity: Propensity = 'own',
    propensity_floor: Floor = FLOOR,
) -> LossTerms:
  """Computes DCMT's loss, with a second CVR that unclicked impressions train.

  With click o, conversion r, pCTR p, pCVR q and the counterfactual CVR q*, a
  head of its own, the loss is ESMM's, BCE(o, p) + BCE(o r, p q), and

      1/n [sum_{o = 1} BCE(r, q) / p + sum_{o = 0} BCE(1, q*) / (1 - p)]
        + lambda / n sum_i |1 - q - q*|,

  where p and 1 - p in the weights have no gradient and are at least
  `propensity_floor`. lambda is the weight of `counterfactual_prior`.

  The counterfactual label is 1 on every unclicked row, so a free q* becomes 1
  and what is left for q is IPS with a push. Where p is right and the other
  terms are left out, q then solves q - eta + lambda q (1 - q) = 0, with the
  conversion rate eta of clicked rows: 0.004995 for 0.005 at lambda = 1e-3. Any
  larger effect is one of the layers that the towers share.

  Args:
    logits: `ctr`, `cvr` and `counterfactual`, float32 [B].
    labels: `click` and `conversion`, float32 [B]; `frozen_ctr` or `p_ctr` for a
      propensity that is not the network's own.
    where: float32 [B], 0 for padding.
    tasks: The funnel. Tasks beside CTR and CVR have the terms of
      `entire_space`.
    propensity: See `propensity.propensities`.
    propensity_floor: Least p, and least 1 - p, that is divided by.

  Returns:
    Term -> (sum, count): `ctr`, `ctcvr`, `cvr_clicked` (the factual one),
    `cvr_counterfactual` and `counterfactual_prior`. The counts are those of
    the impressions.

  References:
    Zhu et al., DCMT, ICDE 2023, after equation 6 of Huang et al., NISE, RecSys
    2024; the paper was not read. It has no floor. Two public versions are
    other losses: one trains q* to 0, and one divides the weights by their sum
    over all rows and then takes the mean over all rows.
  """
  terms = dict(_entire_space.entire_space(logits, labels, where, tasks=tasks))
  p = _propensity.propensities(logits, labels, propensity)
  space = _propensity.clicked_space(tasks)
  terms[space.key] = _propensity.clicked_term(
      space, logits, labels, where, inverse(p, propensity_floor)
  )
  other = logits[HEAD]
  losses = cross_entropy(other, jnp.ones_like(other))
  losses *= inverse(1 - p, propensity_floor)
  unclicked = where * (1 - labels[space.given])
  # |1 - q - q*|, in which 1 - q* keeps its digits near q* = 1.
  gaps = jnp.abs(jax.nn.sigmoid(-other) - jax.nn.sigmoid(logits[space.output]))
  return terms | {
      COUNTERFACTUAL: (sum_and_count(losses, unclicked)[0], jnp.sum(where)),
      PRIOR: sum_and_count(gaps, where),
  }


def needs(*, propensity: str = 'own') -> Needs:
  """Returns the counterfactual head and the column of the propensity."""
  columns = _propensity.needs(propensity)
  return columns._replace(heads=(Head(HEAD, like='cvr'),))


def row_weights(
    p: Mapping[str, Array],
    labels: Labels,
    *,
    propensity: str = 'own',
    propensity_floor: float = FLOOR,
) -> dict[str, Array]:
  """Returns each clicked row's weight in `cvr_clicked`; see `ips`."""
  weights = _propensity.row_weights(p, labels, propensity, propensity_floor)
  return {'cvr_clicked': weights}


def default_weights(tasks: Tasks) -> dict[str, float]:
  """Returns weight 1 for the losses and lambda, 1e-3, for the prior.

  Raises:
    InputError: CVR is not the event after the click.
  """
  _propensity.check_tasks('dcmt', tasks)
  return _entire_space.default_weights(tasks) | {
      'cvr_clicked': 1.0,
      COUNTERFACTUAL: 1.0,
      PRIOR: 1e-3,
  }
