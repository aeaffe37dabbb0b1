"""ESCM2: ESMM and a CVR loss of clicks, weighed by inverse propensities."""

from collections.abc import Mapping
from typing import Literal

from esmm_jax.estimators import entire_space as _entire_space
from esmm_jax.estimators import propensity as _propensity
from esmm_jax.estimators.contract import Needs
from esmm_jax.estimators.propensity import Cap, Floor, Normalization, Steps
from esmm_jax.tasks import FUNNEL, Tasks
from esmm_jax.types import Array, Labels, Logits, LossTerms
import jax.numpy as jnp


def escm2(
    logits: Logits,
    labels: Labels,
    where: Array,
    *,
    tasks: Tasks = FUNNEL,
    propensity: Literal['none', 'own', 'frozen', 'true'] = 'own',
    propensity_floor: Floor = _propensity.FLOOR,
    weight_cap: Cap = _propensity.NO_CAP,
    warmup_steps: Steps = 0.0,
    normalization: Normalization = 'impressions',
    step: Array | None = None,
) -> LossTerms:
  """Computes ESMM's terms and clicks' BCE(conversion, pCVR) / propensity.

      L = L_ctr + lambda_c R + lambda_g L_ctcvr,
      R = 1/n sum_{i: y_i = 1} w_i BCE(z_i, pCVR_i)

  R is the second term of `ips`, lambda_c is `loss_weights.cvr_clicked` and
  lambda_g `loss_weights.ctcvr`. With lambda_c = 0 it is ESMM, with lambda_g = 0
  it is `ips`. ESCM2-DR is `doubly_robust` with the term `ctcvr`.

  With `propensity='none'` all weights are 1: ESMM and the plain loss of clicks,
  the competitor that shows what the weights add beyond a larger weight of CVR.

  Args:
    logits: Task -> output, float32 [B].
    labels: As `ips` has them.
    where: float32 [B], 0 for padding, otherwise 1 or the weight of the row.
    tasks: The funnel.
    propensity: As `ips` has it, or `none`. The others as `ips` has them.
    propensity_floor: The least p that is divided by. The paper's is .1.
    weight_cap: The greatest weight.
    warmup_steps: Steps in which weights go from 1 to theirs, in a line.
    normalization: Divisor of the weighted sum.
    step: Steps done, a scalar; None is after the warm-up.

  Returns:
    Term -> (sum, count), those of `entire_space`: `ctr`, `cvr_clicked` and
    `ctcvr` for two tasks.

  Raises:
    InputError: There is no such propensity or normalization.

  References:
    Wang et al., ESCM2: Entire Space Counterfactual Multi-Task Model, SIGIR 2022
    (ESCM2-IPS). After three summaries, which agree on a stopped propensity of
    at least .1, lambda_c in [.1, 1] and MMoE; the paper was not read.
  """
  terms = _entire_space.entire_space(logits, labels, where, tasks=tasks)
  if propensity == 'none':
    weights = jnp.ones_like(where)
  else:
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
  """Returns each clicked row's weight in `cvr_clicked`; see `ips`."""
  if propensity == 'none':
    return {'cvr_clicked': jnp.ones_like(p['ctr'])}
  weights = _propensity.row_weights(
      p, labels, propensity, propensity_floor, weight_cap
  )
  return {'cvr_clicked': weights}


def needs(*, propensity: str = 'own') -> Needs:
  """Returns the column of a propensity that is not the network's own."""
  return _propensity.needs(propensity)


def default_weights(tasks: Tasks) -> dict[str, float]:
  """Returns ESMM's weights and lambda_c = .1.

  Raises:
    InputError: CVR is not the event after the click.
  """
  _propensity.check_tasks('escm2', tasks)
  return _entire_space.default_weights(tasks) | {'cvr_clicked': 0.1}
