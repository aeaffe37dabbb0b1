"""ESMM's objective: CTR and CTCVR over all impressions."""

from esmm_jax.estimators.click_space import cvr_clicked_term
from esmm_jax.estimators.funnel import joint_logit
from esmm_jax.estimators.losses import cross_entropy, sum_and_count
from esmm_jax.types import Array, Labels, Logits, LossTerms


def entire_space(
    logits: Logits,
    labels: Labels,
    where: Array,
    *,
    cvr_normalization: str = 'clicks',
) -> LossTerms:
  """L = BCE(click, pCTR) + BCE(click and conversion, pCTR pCVR).

  Both terms are means over all impressions. CVR gets no loss of its own: it
  learns as the factor that pCTR lacks. The paper sums over the data set where
  we take means, which only scales the learning rate.

  A third term, `cvr_clicked`, is the cross-entropy of pCVR on the clicked
  impressions. It is not in the paper and its default weight is 0.

  Args:
    logits: `ctr` and `cvr`, float32 [B].
    labels: `click` and `conversion` (click and conversion), float32 [B].
    where: float32 [B], 0 for padding.
    cvr_normalization: Of `cvr_clicked`; see `click_space`.

  Returns:
    `ctr`, `ctcvr` and `cvr_clicked`.

  References:
    Ma et al., SIGIR 2018, section 2.3.
  """
  ctr = cross_entropy(logits['ctr'], labels['click'])
  joint = joint_logit(logits['ctr'], logits['cvr'])
  ctcvr = cross_entropy(joint, labels['conversion'])
  return {
      'ctr': sum_and_count(ctr, where),
      'ctcvr': sum_and_count(ctcvr, where),
      'cvr_clicked': cvr_clicked_term(
          logits, labels, where, cvr_normalization
      ),
  }
