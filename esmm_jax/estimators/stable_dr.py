"""Stable-DR: SNIPS, with a propensity that balances guesses of the loss."""

from collections.abc import Mapping

from esmm_jax.estimators import click_space as _click_space
from esmm_jax.estimators import propensity as _propensity
from esmm_jax.estimators.contract import Needs
from esmm_jax.estimators.imputation import (
    Gamma,
    GAMMA,
    guessed_loss,
    HEAD,
    Imputation,
    imputation_term,
    imputation_weight,
    ImputationNormalization,
)
from esmm_jax.estimators.losses import cross_entropy, sum_and_count
from esmm_jax.estimators.propensity import Cap, Floor
from esmm_jax.tasks import FUNNEL, Head, Tasks
from esmm_jax.types import Array, Labels, Logits, LossTerms
import jax
import jax.numpy as jnp

PROPENSITY = 'propensity'
# Terms of Stable-DR's constraint: sum_clicked e / p, sum_clicked 1 / p, sum e.
_CLICKED_GUESSES = 'balance_guesses'
_CLICKED_WEIGHTS = 'balance_weights'
_GUESSES = 'mean_guess'


def stable_dr(
    logits: Logits,
    labels: Labels,
    where: Array,
    *,
    tasks: Tasks = FUNNEL,
    imputation: Imputation = 'dr_jl',
    imputation_normalization: ImputationNormalization = 'self',
    dr_mse_gamma: Gamma = GAMMA,
    propensity_floor: Floor = _propensity.FLOOR,
    weight_cap: Cap = _propensity.NO_CAP,
) -> LossTerms:
  """Computes SNIPS, with a propensity that balances guesses of the loss.

  A head p = `propensity`, like CTR, and a head s = `imputation`, like CVR. With
  clicks o, conversions r, e = BCE(s, q) and W = sum_O 1 / p, over n impressions

      L = 1/n sum_i BCE(o_i, pCTR_i) + 1/n sum_i BCE(o_i, p_i)
          + 1/W sum_O BCE(r_i, q_i) / p_i + eta M^2 + the imputation loss,
      M = 1/n sum_i o_i / p_i (e_i - mean e)

  The weights 1 / p are stopped but in M, which only p learns from. Where M = 0
  the self-normalised mean of the guesses over clicks is that over impressions,
  so that SNIPS is right where s is, whatever p: doubly robust, and no row's
  share is above 1. For free outputs any weights have the same optimum.

  M of a batch is noisy, and M^2 has the variance of that noise, which a higher
  p lowers: eta belongs to the size of the batch.

  M^2 is no sum of rows. Its gradient is 2 M dM, which `rescale` forms from the
  batch's means of the terms `balance_guesses` and `balance_weights`; eta is the
  weight of both, which must be the same. The reported `loss` has 2 M^2.

  Args:
    logits: Task -> output, and those of the heads, float32 [B].
    labels: `click` and `conversion`, float32 [B].
    where: float32 [B], 0 for padding.
    tasks: The funnel.
    imputation: See `doubly_robust`, as for the next four.
    imputation_normalization: See there.
    dr_mse_gamma: See there.
    propensity_floor: See there.
    weight_cap: See there.

  Returns:
    Term -> (sum, count): `ctr`, `propensity`, `cvr_clicked` (of count W),
    `imputation`, the two of M, and `mean_guess`, which trains nothing; for
    other tasks those of `click_space`.

  Raises:
    InputError: There is no such imputation or normalization.

  References:
    Li et al., StableDR: Stabilized Doubly Robust Learning for Recommendation on
    Data Missing Not at Random, ICLR 2023; of the paper the abstract alone was
    read. After the authors' code, haoxuanli-pku/ICDE24-MNAR at 7348f0d, SDR.py,
    which takes sums where we take means (eta of 100 to 1000 is of a square of
    sums), a propensity of one parameter, e = BCE(q, s), and (d - e)^2 / p as
    the imputation loss; it updates the three models in turn, we at once.
  """
  space = _propensity.clicked_space(tasks)
  clicked = labels[space.given] > 0
  p = jax.nn.sigmoid(logits[PROPENSITY])
  inverse = _propensity.inverse(p, propensity_floor, weight_cap)
  floor = jnp.maximum(propensity_floor, 1.0 / jnp.asarray(weight_cap))
  # The same numbers, but with the gradient, which is 0 below the floor.
  ratio = jnp.where(clicked, 1.0 / jnp.maximum(p, floor), 0.0)
  guess = jax.lax.stop_gradient(guessed_loss(logits, space, error_head=False))
  weights = imputation_weight(imputation, inverse, dr_mse_gamma)
  terms = dict(_click_space.click_space(logits, labels, where, tasks=tasks))
  cvr = _propensity.clicked_term(space, logits, labels, where, inverse, 'self')
  propensity = cross_entropy(logits[PROPENSITY], labels[space.given])
  return terms | {
      PROPENSITY: sum_and_count(propensity, where),
      space.key: cvr,
      HEAD: imputation_term(
          logits,
          labels,
          where,
          space,
          weights,
          False,
          imputation_normalization,
      ),
      _CLICKED_GUESSES: sum_and_count(ratio * guess, where),
      _CLICKED_WEIGHTS: sum_and_count(ratio, where),
      _GUESSES: sum_and_count(guess, where),
  }


def default_weights(tasks: Tasks) -> dict[str, float]:
  """Returns weight 1 for all terms but `mean_guess`, which trains nothing.

  Raises:
    InputError: CVR is not the event after the click.
  """
  _propensity.check_tasks('stable_dr', tasks)
  names = (PROPENSITY, HEAD, _CLICKED_GUESSES, _CLICKED_WEIGHTS)
  weights = _click_space.default_weights(tasks)
  return weights | dict.fromkeys(names, 1.0) | {_GUESSES: 0.0}


def needs() -> Needs:
  """Returns the two heads; eta is the weight of both terms of M."""
  return Needs(
      heads=(Head(HEAD, like='cvr'), Head(PROPENSITY, like='ctr')),
      same_weight=(_CLICKED_GUESSES, _CLICKED_WEIGHTS),
  )


def rescale(means: Mapping[str, Array]) -> dict[str, Array]:
  """Returns 2 M and -2 M mean(e), which make the gradient of M^2 of the terms'.

  Args:
    means: Term -> mean in the batch.
  """
  guess = means[_GUESSES]
  moment = means[_CLICKED_GUESSES] - guess * means[_CLICKED_WEIGHTS]
  return {
      _CLICKED_GUESSES: 2.0 * moment,
      _CLICKED_WEIGHTS: -2.0 * moment * guess,
  }
