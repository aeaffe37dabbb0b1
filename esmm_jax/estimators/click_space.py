"""The naive multi-task objective: each event where its parent happened."""

from esmm_jax.estimators.losses import Normalization, space_term
from esmm_jax.tasks import FUNNEL, Space, spaces, Tasks
from esmm_jax.types import Array, Labels, Logits, LossTerms


def click_space(
    logits: Logits,
    labels: Labels,
    where: Array,
    *,
    tasks: Tasks = FUNNEL,
    cvr_normalization: Normalization = 'clicks',
) -> LossTerms:
  """Computes BCE(click, pCTR) over all + BCE(conversion, pCVR) over clicks.

      L = 1/n sum_i BCE(y_i, pCTR_i) + 1/|clicks| sum_{i: y_i = 1}
          BCE(z_i, pCVR_i)

  On one network this is the naive multi-task loss, the maximum of the joint
  likelihood of click and conversion. With weight 0 on `ctr` it is the BASE
  model of the ESMM paper. In a longer funnel each event is trained where its
  parent happened; a regression with the squared error.

  Args:
    logits: Task -> output, float32 [B].
    labels: Label -> float32 [B], joint events.
    where: float32 [B], 0 for padding.
    tasks: The funnel.
    cvr_normalization: `clicks` (default) divides the CVR sum by the number of
      clicks, `impressions` by that of all impressions.

  Returns:
    Term -> (sum, count), `ctr` and `cvr_clicked` for two tasks.

  Raises:
    InputError: There is no such normalization.

  References:
    Ma et al., ESMM, SIGIR 2018, section 3.1 (BASE); Tang et al., Progressive
    Layered Extraction, RecSys 2020, equation 9 (the loss of a task on its own
    space).
  """
  return {
      s.key: space_term(s, logits, labels, where, cvr_normalization)
      for s in _own_spaces(tasks)
  }


def default_weights(tasks: Tasks) -> dict[str, float]:
  """Returns weight 1 for every task."""
  return {s.key: 1.0 for s in _own_spaces(tasks)}


def _own_spaces(tasks: Tasks) -> list[Space]:
  """Returns each task's space where its parent's event happened."""
  parents = {t.name: t.parent for t in tasks}
  labels = {t.name: t.label for t in tasks} | {'': ''}
  return [
      s
      for s in spaces(tasks)
      if s.output in parents and s.given == labels[parents[s.output]]
  ]
