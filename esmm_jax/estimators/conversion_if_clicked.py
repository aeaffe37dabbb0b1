"""The bound: CVR trained on what no log holds."""

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
  """CVR on all impressions, with the conversion each would have had.

  Only a simulator knows that label. What a network reaches with it is the most
  that any estimator can get out of the same network and the same rows. In a
  longer funnel CVR is the product of the steps after the click.

  Args:
    logits: Task -> output, float32 [B].
    labels: `click` and `conversion_if_clicked`, float32 [B].
    where: float32 [B], 0 for padding.
    tasks: The funnel.

  Returns:
    `ctr` and `cvr_entire`.
  """
  made = outputs(logits, tasks)
  ctr = cross_entropy(made['ctr'], labels['click'])
  cvr = cross_entropy(made['cvr'], labels['conversion_if_clicked'])
  return {
      'ctr': sum_and_count(ctr, where),
      'cvr_entire': sum_and_count(cvr, where),
  }


def default_weights(tasks: Tasks) -> dict[str, float]:
  """1 for both terms.

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
