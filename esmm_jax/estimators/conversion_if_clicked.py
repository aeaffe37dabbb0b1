"""The bound: CVR trained on what no log holds."""

from esmm_jax.estimators.losses import cross_entropy, sum_and_count
from esmm_jax.types import Array, Labels, Logits, LossTerms


def conversion_if_clicked(
    logits: Logits, labels: Labels, where: Array
) -> LossTerms:
  """CVR on all impressions, with the conversion each would have had.

  Only a simulator knows that label. What a network reaches with it is the most
  that any estimator can get out of the same network and the same rows.

  Args:
    logits: `ctr` and `cvr`, float32 [B].
    labels: `click` and `conversion_if_clicked`, float32 [B].
    where: float32 [B], 0 for padding.

  Returns:
    `ctr` and `cvr_entire`.
  """
  ctr = cross_entropy(logits['ctr'], labels['click'])
  cvr = cross_entropy(logits['cvr'], labels['conversion_if_clicked'])
  return {
      'ctr': sum_and_count(ctr, where),
      'cvr_entire': sum_and_count(cvr, where),
  }
