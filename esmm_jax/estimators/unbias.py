"""UNBIAS: clicked impressions, resampled by the propensity to click."""

from typing import Annotated, get_args, Literal

from esmm_jax.estimators import click_space as _click_space
from esmm_jax.estimators.contract import Needs
from esmm_jax.estimators.losses import cross_entropy, sum_and_count
from esmm_jax.estimators.sampling import UNIFORM
from esmm_jax.options import check_choice, POSITIVE_SHARE
from esmm_jax.tasks import FUNNEL, spaces, Tasks
from esmm_jax.types import Array, InputError, Labels, Logits, LossTerms
import jax
import jax.numpy as jnp

Form = Literal['rejection', 'weighting']


def unbias(
    logits: Logits,
    labels: Labels,
    where: Array,
    *,
    tasks: Tasks = FUNNEL,
    form: Form = 'rejection',
    propensity_floor: Annotated[float | Array, POSITIVE_SHARE] = 0.02,
) -> LossTerms:
  """Computes the click-space loss on clicks resampled by 1 / pCTR.

  A clicked impression is in the CVR loss with probability (`rejection`), or
  with weight (`weighting`),

      a = min(1, floor / pCTR),

  so that clicks are distributed as impressions are, as far as pCTR is right and
  above the floor; below it nothing is corrected. The weight is the expected
  value of the rejection. pCTR is the current CTR output of the same network,
  without a gradient; in `single_task` that is a network of its own.

  The paper says only that "pCTR is taken as the rejection probability"; taken
  literally, accepting with 1 - pCTR, next to nothing would be rejected.

  Args:
    logits: Task -> output, float32 [B].
    labels: `click`, `conversion` and `uniform` (see `sampling.draw`), float32
      [B].
    where: float32 [B], 0 for padding.
    tasks: The funnel.
    form: `rejection` or `weighting`.
    propensity_floor: The highest pCTR at which every click is accepted.

  Returns:
    Term -> (sum, count), `ctr` and `cvr_clicked`, and for other tasks those of
    `click_space`.

  Raises:
    InputError: There is no such form.

  References:
    Ma et al., ESMM, SIGIR 2018, section 3.1 (UNBIAS), after Zhang et al.,
    Bid-aware Gradient Descent for Unbiased Learning with Censored Data in
    Display Advertising, KDD 2016.
  """
  check_choice('form', form, get_args(Form))
  terms = _click_space.click_space(logits, labels, where, tasks=tasks)
  accepted = _acceptance(logits['ctr'], propensity_floor)
  if form == 'rejection':
    accepted = (labels[UNIFORM] < accepted).astype(jnp.float32)
  (space,) = [s for s in spaces(tasks) if s.key == 'cvr_clicked']
  losses = cross_entropy(logits[space.output], labels[space.label])
  clicked = where * labels[space.given]
  total, _ = sum_and_count(losses * accepted, clicked)
  # Divided by all clicks, not by those accepted, so that the size of the step
  # does not depend on pCTR.
  return terms | {space.key: (total, jnp.sum(clicked))}


def _acceptance(ctr_logits: Array, propensity_floor: float | Array) -> Array:
  """Computes min(1, floor / pCTR), without a gradient."""
  propensity = jax.nn.sigmoid(jax.lax.stop_gradient(ctr_logits))
  return jnp.minimum(1.0, propensity_floor / propensity)


def needs() -> Needs:
  """Returns the term that trains the propensity."""
  return Needs(trained=('ctr',))


def default_weights(tasks: Tasks) -> dict[str, float]:
  """Returns weight 1 for every task.

  Raises:
    InputError: CVR is not the event after the click.
  """
  weights = _click_space.default_weights(tasks)
  if not {'ctr', 'cvr_clicked'} <= set(weights):
    raise InputError(
        "estimator='unbias' needs the tasks ctr and cvr, one after the other;"
        f' the terms are {sorted(weights)}.'
    )
  return weights
