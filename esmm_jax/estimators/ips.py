"""IPS: the CVR loss of clicks, each weighed by its inverse propensity."""

from collections.abc import Mapping

from esmm_jax.estimators import click_space as _click_space
from esmm_jax.estimators import propensity as _propensity
from esmm_jax.estimators.contract import Needs
from esmm_jax.estimators.propensity import (
    Cap,
    Floor,
    Normalization,
    Propensity,
    Steps,
)
from esmm_jax.tasks import FUNNEL, Tasks
from esmm_jax.types import Array, Labels, Logits, LossTerms


def ips(
    logits: Logits,
    labels: Labels,
    where: Array,
    *,
    tasks: Tasks = FUNNEL,
    propensity: Propensity = 'own',
    propensity_floor: Floor = _propensity.FLOOR,
    weight_cap: Cap = _propensity.NO_CAP,
    warmup_steps: Steps = 0.0,
    normalization: Normalization = 'impressions',
    step: Array | None = None,
) -> LossTerms:
  """Computes BCE(click, pCTR) + clicks' BCE(conversion, pCVR) / propensity.

      L = 1/n sum_i BCE(y_i, pCTR_i) + 1/n sum_{i: y_i = 1} w_i BCE(z_i, pCVR_i)
      w_i = 1 / max(p_i, propensity_floor, 1 / weight_cap)

  Where p is P(click | features), and click and conversion are independent given
  the features, the second term's expected value is the loss over all
  impressions if all were clicked. No weight repairs a cause of both that the
  features lack. If p is the same for all rows, `impressions` is the naive loss
  times 1 / p, and `self` the naive loss per click, batch by batch: weights
  matter only where p varies and the model cannot fit.

  It is Multi-IPW, and with `self` the self-normalised SNIPS. Two departures of
  public code from the formula are here to compare with: `clicks` divides by the
  clicks, 1 / CTR times more; a propensity with a gradient is not an option.

  >>> import jax.numpy as jnp
  >>> from esmm_jax.estimators.ips import ips
  >>> x = {'ctr': jnp.zeros(2), 'cvr': jnp.zeros(2)}  # Of p = 1/2.
  >>> labels = {'click': jnp.array([1.0, 0]), 'conversion': jnp.zeros(2)}
  >>> terms = ips(x, labels, jnp.ones(2))
  >>> {k: (round(v.item(), 4), n.item()) for k, (v, n) in terms.items()}
  {'ctr': (1.3863, 2.0), 'cvr_clicked': (1.3863, 2.0)}

  Args:
    logits: Task -> output, float32 [B].
    labels: Label -> float32 [B], joint events; `p_ctr` or `frozen_ctr`, a
      probability, where the propensity is that.
    where: float32 [B], 0 for padding, otherwise 1 or the weight of the row.
    tasks: The funnel.
    propensity: p: `own`, the CTR output; `frozen`, that of the finished run
      `frozen_run`; `true`, the simulator's. None has a gradient.
    propensity_floor: The least p that is divided by.
    weight_cap: The greatest weight. The floor acts beside it: a cap above 100
      needs a lower floor.
    warmup_steps: Steps in which weights go from 1 to theirs, in a line.
    normalization: Divisor of the weighted sum: `impressions`, `clicks`, or
      `self`, the sum of the weights.
    step: Steps done, a scalar; None is after the warm-up.

  Returns:
    Term -> (sum, count), `ctr` and `cvr_clicked`, and for other tasks those of
    `click_space`.

  Raises:
    InputError: There is no such propensity or normalization.

  References:
    Zhang et al., Large-scale Causal Approaches to Debiasing Post-click
    Conversion Rate Estimation with Multi-task Learning, WWW 2020 (Multi-IPW);
    Swaminathan and Joachims, The Self-Normalized Estimator for Counterfactual
    Learning, NeurIPS 2015. Both after summaries; the papers were not read. A
    cap of 15 and the division by clicks are PaddleRec's, models/multitask/escm2
    at 656326a.
  """
  terms = _click_space.click_space(logits, labels, where, tasks=tasks)
  weights = _propensity.inverse(
      _propensity.propensities(logits, labels, propensity),
      propensity_floor,
      weight_cap,
      warmup_steps,
      step,
  )
  space = _propensity.clicked_space(tasks)
  return terms | {
      space.key: _propensity.clicked_term(
          space, logits, labels, where, weights, normalization
      )
  }


def row_weights(
    p: Mapping[str, Array],
    labels: Labels,
    *,
    propensity: str = 'own',
    propensity_floor: float = _propensity.FLOOR,
    weight_cap: float = _propensity.NO_CAP,
) -> dict[str, Array]:
  """Returns each clicked row's weight in `cvr_clicked`, after the warm-up.

  Args:
    p: Task -> probability, [n].
    labels: Label -> [n], with the column of the propensity.
    propensity: As `ips` has it, as the next two.
    propensity_floor: The least p that is divided by.
    weight_cap: The greatest weight.

  Returns:
    Term -> [n]; of a row that is not clicked what it would have.
  """
  weights = _propensity.row_weights(
      p, labels, propensity, propensity_floor, weight_cap
  )
  return {'cvr_clicked': weights}


def needs(*, propensity: str = 'own') -> Needs:
  """Returns the column of a propensity that is not the network's own."""
  return _propensity.needs(propensity)


def default_weights(tasks: Tasks) -> dict[str, float]:
  """Returns weight 1 for every task.

  Raises:
    InputError: CVR is not the event after the click.
  """
  _propensity.check_tasks('ips', tasks)
  return _click_space.default_weights(tasks)
