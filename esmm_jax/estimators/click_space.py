"""The naive multi-task objective: CTR on all impressions, CVR on clicks."""

from esmm_jax.estimators.losses import cross_entropy, sum_and_count
from esmm_jax.types import Array, InputError, Labels, Logits, LossTerms

NORMALIZATIONS = ('clicks', 'impressions')


def cvr_clicked_term(
    logits: Logits, labels: Labels, where: Array, normalization: str
) -> tuple[Array, Array]:
  """Cross-entropy of pCVR over the clicked impressions, as (sum, count).

  Args:
    logits: `cvr`, float32 [B].
    labels: `click` and `conversion`, float32 [B].
    where: float32 [B].
    normalization: `clicks` divides by the clicks of the batch (PLE equation
      9), `impressions` by its impressions; they differ by the CTR, a factor of
      25 at 4 %.
  """
  if normalization not in NORMALIZATIONS:
    raise InputError(
        f'cvr_normalization is {normalization!r}; it must be one of'
        f' {NORMALIZATIONS}.'
    )
  losses = cross_entropy(logits['cvr'], labels['conversion'])
  total, clicks = sum_and_count(losses, where * labels['click'])
  return total, clicks if normalization == 'clicks' else where.sum()


def click_space(
    logits: Logits,
    labels: Labels,
    where: Array,
    *,
    cvr_normalization: str = 'clicks',
) -> LossTerms:
  """L = BCE(click, pCTR) over all + BCE(conversion, pCVR) over the clicked.

  On one network this is the naive multi-task loss, the maximum of the joint
  likelihood of click and conversion. With weight 0 on `ctr` it is the BASE
  model of the ESMM paper.

  Args:
    logits: `ctr` and `cvr`, float32 [B].
    labels: `click` and `conversion` (click and conversion), float32 [B].
    where: float32 [B], 0 for padding.
    cvr_normalization: `clicks` (default) divides the CVR sum by the number of
      clicks, `impressions` by that of all impressions.

  Returns:
    `ctr` and `cvr_clicked`.

  References:
    Ma et al., SIGIR 2018, section 3.1 (BASE); Tang et al., Progressive Layered
    Extraction, RecSys 2020, equation 9 (the loss of a task on its own space).
  """
  ctr = cross_entropy(logits['ctr'], labels['click'])
  return {
      'ctr': sum_and_count(ctr, where),
      'cvr_clicked': cvr_clicked_term(
          logits, labels, where, cvr_normalization
      ),
  }
