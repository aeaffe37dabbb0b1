"""Each event predicted directly over all impressions, as AITM does."""

from esmm_jax.estimators.losses import space_term, sum_and_count
from esmm_jax.tasks import FUNNEL, spaces, Tasks
from esmm_jax.types import Array, Labels, Logits, LossTerms
import jax
import jax.numpy as jnp

CALIBRATOR = 'calibrator'


def end_to_end(
    logits: Logits,
    labels: Labels,
    where: Array,
    *,
    tasks: Tasks = FUNNEL,
) -> LossTerms:
  """Computes BCE(click, y_1) + BCE(click and conversion, y_2) + calibrator.

  The second output is the log-odds of CTCVR itself, not of CVR; pCVR is then
  pCTCVR / pCTR (`funnel.ratio_logit`). The outputs do not by themselves make a
  later event less likely than an earlier one, so the calibrator

      1/n sum_i sum_k max(p_k,i - p_(k-1),i, 0)

  penalises the opposite. Its default weight is 0.6, the paper's for Ali-CCP.
  With weight 0 and networks that share nothing this is the DIVISION baseline of
  the ESMM paper.

  Args:
    logits: Task -> output, float32 [B], of joint events.
    labels: Label -> float32 [B], joint events.
    where: float32 [B], 0 for padding.
    tasks: The funnel.

  Returns:
    Term -> (sum, count), `ctr`, `ctcvr` and `calibrator` for two tasks.

  References:
    Xi et al., AITM, KDD 2021 (the behavioral expectation calibrator); Ma et
    al., ESMM, SIGIR 2018, section 3.1 (DIVISION).
  """
  joint = {t.joint if t.parent else t.name: logits[t.name] for t in tasks}
  terms = {
      s.key: space_term(s, joint, labels, where)
      for s in spaces(tasks)
      if not s.given
  }
  rise = jnp.zeros_like(where)
  for task in tasks:
    if task.parent and task.kind == 'binary':
      p = jax.nn.sigmoid(logits[task.name])
      p_parent = jax.nn.sigmoid(logits[task.parent])
      rise += jnp.maximum(p - p_parent, 0.0)
  return terms | {CALIBRATOR: sum_and_count(rise, where)}


def default_weights(tasks: Tasks) -> dict[str, float]:
  """Returns weight 1 for every event and 0.6 for the calibrator."""
  return {s.key: 1.0 for s in spaces(tasks) if not s.given} | {CALIBRATOR: 0.6}
