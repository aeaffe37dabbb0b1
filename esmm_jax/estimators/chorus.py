"""ChorusCVR: CVR beside the rate of clicks that do not convert."""

from collections.abc import Mapping

from esmm_jax.estimators import entire_space as _entire_space
from esmm_jax.estimators import propensity as _propensity
from esmm_jax.estimators.contract import Needs
from esmm_jax.estimators.funnel import joint_logit
from esmm_jax.estimators.losses import cross_entropy, sum_and_count
from esmm_jax.estimators.propensity import FLOOR, Floor, inverse, Propensity
from esmm_jax.tasks import FUNNEL, Head, Tasks
from esmm_jax.types import Array, Labels, Logits, LossTerms
import jax
import jax.numpy as jnp

HEAD = 'no_conversion'
JOINT = 'ct_no_conversion'
CLICKED = 'no_conversion_clicked'
ALIGNMENT = 'alignment'


def chorus(
    logits: Logits,
    labels: Labels,
    where: Array,
    *,
    tasks: Tasks = FUNNEL,
    propensity: Propensity = 'own',
    propensity_floor: Floor = FLOOR,
) -> LossTerms:
  """Computes ChorusCVR's loss, CVR and its complement in agreement.

  With click o, conversion r, pCTR p, pCVR q and u, P(no conversion | click), a
  head of its own,

      BCE(o, p)                                                 ctr
      BCE(o r, p q)                                             ctcvr
      o BCE(r, q) / p                                           cvr_clicked
      BCE(o (1 - r), p u)                                       ct_no_conversion
      o BCE(1 - r, u) / p                                  no_conversion_clicked
      (o / p + (1 - o) / (1 - p)) [BCE(1 - u, q) + BCE(1 - q, u)]      alignment

  each a mean over the impressions. In the weights p and 1 - p have no gradient
  and are at least `propensity_floor`, and the labels 1 - u and 1 - q of the
  alignment have none either: with one, the gradient on the logit of u at the
  truth would be -.026 for a CVR of .005, where it is 0 for every term as it is.

  Args:
    logits: `ctr`, `cvr` and `no_conversion`, float32 [B].
    labels: `click` and `conversion`, float32 [B]; `frozen_ctr` or `p_ctr` for a
      propensity that is not the network's own.
    where: float32 [B], 0 for padding.
    tasks: The funnel. Tasks beside CTR and CVR have the terms of
      `entire_space`.
    propensity: See `propensity.propensities`.
    propensity_floor: Least p, and least 1 - p, that is divided by.

  Returns:
    Term -> (sum, count), those above. The counts are those of the impressions.

  References:
    Cheng et al., ChorusCVR, WSDM 2026 (arXiv 2502.08277), equations 3, 4, 7, 9
    and 10 in the order above, after an unofficial version of it; the paper was
    not read. That version clips p alone, to [.01, 1], divides by clicks, keeps
    the gradient of p and has no `ctr`; whether the paper has that term is not
    known here.
  """
  terms = dict(_entire_space.entire_space(logits, labels, where, tasks=tasks))
  p = _propensity.propensities(logits, labels, propensity)
  clicked = inverse(p, propensity_floor)
  space = _propensity.clicked_space(tasks)
  click = labels[space.given]
  q, u = logits[space.output], logits[HEAD]
  # Of clicked rows; a label of 0 elsewhere, as that of conversions.
  none = jnp.where(click > 0, 1 - labels[space.label], 0.0)
  joint = cross_entropy(joint_logit(logits['ctr'], u), none)
  complement = space._replace(key=CLICKED, output=HEAD, label=HEAD)
  weights = jnp.where(click > 0, clicked, inverse(1 - p, propensity_floor))
  return terms | {
      space.key: _propensity.clicked_term(
          space, logits, labels, where, clicked
      ),
      JOINT: sum_and_count(joint, where),
      CLICKED: _propensity.clicked_term(
          complement, logits, {**labels, HEAD: none}, where, clicked
      ),
      ALIGNMENT: sum_and_count(_disagreement(q, u) * weights, where),
  }


def _disagreement(q: Array, u: Array) -> Array:
  """Computes BCE(1 - u, q) + BCE(1 - q, u) of log-odds, labels stopped."""
  complement = lambda x: jax.nn.sigmoid(-jax.lax.stop_gradient(x))
  return cross_entropy(q, complement(u)) + cross_entropy(u, complement(q))


def needs(*, propensity: str = 'own') -> Needs:
  """Returns the head of u and the column of the propensity."""
  columns = _propensity.needs(propensity)
  return columns._replace(heads=(Head(HEAD, like='cvr'),))


def row_weights(
    p: Mapping[str, Array],
    labels: Labels,
    *,
    propensity: str = 'own',
    propensity_floor: float = FLOOR,
) -> dict[str, Array]:
  """Returns each clicked row's weight in the terms that have one; see `ips`."""
  weights = _propensity.row_weights(p, labels, propensity, propensity_floor)
  return dict.fromkeys(('cvr_clicked', CLICKED, ALIGNMENT), weights)


def default_weights(tasks: Tasks) -> dict[str, float]:
  """Returns weight 1 for every loss.

  Raises:
    InputError: CVR is not the event after the click.
  """
  _propensity.check_tasks('chorus', tasks)
  return _entire_space.default_weights(tasks) | dict.fromkeys(
      ('cvr_clicked', JOINT, CLICKED, ALIGNMENT), 1.0
  )
