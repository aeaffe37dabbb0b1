"""ESMM's objective: every event of the funnel over all impressions."""

from esmm_jax.estimators.funnel import outputs
from esmm_jax.estimators.losses import Normalization, space_term
from esmm_jax.tasks import FUNNEL, spaces, Tasks
from esmm_jax.types import Array, Labels, Logits, LossTerms


def entire_space(
    logits: Logits,
    labels: Labels,
    where: Array,
    *,
    tasks: Tasks = FUNNEL,
    cvr_normalization: Normalization = 'clicks',
) -> LossTerms:
  """Computes BCE(click, pCTR) + BCE(click and conversion, pCTR pCVR).

      L = 1/n sum_i BCE(y_i, pCTR_i) + 1/n sum_i BCE(y_i z_i, pCTR_i pCVR_i)

  Both terms are means over all impressions. CVR has no loss of its own: it
  learns as the factor that pCTR lacks. The paper sums over the data set where
  we take means, which only scales the learning rate.

  A third term, `cvr_clicked`, is the cross-entropy of pCVR on the clicked
  impressions. It is not in the paper and its default weight is 0.

  In a longer funnel every event has its joint term, the product of all steps to
  it: for click, cart and purchase `ctr`, `ctatr` and `ctcvr`, the simple chain
  of ESM2. A regression has the squared error between its label and pCTR times
  the value, over all impressions (EasyRec's ESMM with an L2 tower).

  >>> import jax.numpy as jnp
  >>> from esmm_jax.estimators.entire_space import entire_space
  >>> zeros, ones = jnp.zeros(2), jnp.ones(2)
  >>> labels = {'click': ones, 'conversion': ones}
  >>> terms = entire_space({'ctr': zeros, 'cvr': zeros}, labels, where=ones)
  >>> {k: (round(x.item(), 4), n.item()) for k, (x, n) in terms.items()}
  {'ctr': (1.3863, 2.0), 'cvr_clicked': (1.3863, 2.0), 'ctcvr': (2.7726, 2.0)}

  Args:
    logits: Task -> output, float32 [B].
    labels: Label -> float32 [B], joint events.
    where: float32 [B], 0 for padding.
    tasks: The funnel.
    cvr_normalization: Divisor of the terms on parts of the impressions; see
      `losses.space_term`.

  Returns:
    Term -> (sum, count), `ctr`, `cvr_clicked` and `ctcvr` for two tasks.

  Raises:
    InputError: There is no such normalization.

  References:
    Ma et al., ESMM, SIGIR 2018, section 2.3, equation 3; Wen et al., ESM2,
    SIGIR 2020, section 3.
  """
  predicted = outputs(logits, tasks)
  return {
      s.key: space_term(s, predicted, labels, where, cvr_normalization)
      for s in spaces(tasks)
  }


def default_weights(tasks: Tasks) -> dict[str, float]:
  """Returns weight 1 for terms over all impressions and 0 for the others."""
  return {s.key: 0.0 if s.given else 1.0 for s in spaces(tasks)}
