"""The bound: CVR trained on conversions that no log holds."""

from esmm_jax.estimators.contract import Needs
from esmm_jax.estimators.funnel import outputs
from esmm_jax.estimators.losses import cross_entropy, sum_and_count
from esmm_jax.tasks import FUNNEL, spaces, Tasks
from esmm_jax.types import Array, InputError, Labels, Logits, LossTerms


def conversion_if_clicked(
    logits: Logits,
    labels: Labels,
    where: Array,
    *,
    tasks: Tasks = FUNNEL,
) -> LossTerms:
  """Trains CVR on all impressions, with the conversion each would have had.

      L = 1/n sum_i BCE(y_i, pCTR_i) + 1/n sum_i BCE(z_i(do(click)), pCVR_i)

  Only a simulator knows that label. The result is the most that any estimator
  can reach with the same network and the same rows. In a longer funnel CVR is
  the product of the steps after the click.

  Args:
    logits: Task -> output, float32 [B].
    labels: `click` and `conversion_if_clicked`, float32 [B].
    where: float32 [B], 0 for padding.
    tasks: The funnel.

  Returns:
    Term -> (sum, count), `ctr` and `cvr_entire`.
  """
  predicted = outputs(logits, tasks)
  ctr = cross_entropy(predicted['ctr'], labels['click'])
  cvr = cross_entropy(predicted['cvr'], labels['conversion_if_clicked'])
  return {
      'ctr': sum_and_count(ctr, where),
      'cvr_entire': sum_and_count(cvr, where),
  }


def needs() -> Needs:
  """Returns the label that only a simulator knows."""
  return Needs(truth_labels=('conversion_if_clicked',))


def default_weights(tasks: Tasks) -> dict[str, float]:
  """Returns weight 1 for both terms.

  Raises:
    InputError: The funnel has no CTR or no CVR.
  """
  names = {s.output for s in spaces(tasks)}
  if not {'ctr', 'cvr'} <= names:
    raise InputError(
        "estimator='conversion_if_clicked' needs the tasks ctr and cvr; there"
        f' are {sorted(names)}.'
    )
  return {'ctr': 1.0, 'cvr_entire': 1.0}
