"""FNW and FNC: each click a negative at first, positives again as they come."""

from esmm_jax.estimators.contract import Needs
from esmm_jax.estimators.delayed import arrivals
from esmm_jax.estimators.delayed.arrivals import Masses
from esmm_jax.tasks import FUNNEL, Tasks
from esmm_jax.types import Array, Labels, Logits, LossTerms
import jax


def delayed_fnw(
    logits: Logits,
    labels: Labels,
    where: Array,
    *,
    tasks: Tasks = FUNNEL,
) -> LossTerms:
  """Computes FNW: events of the `fake` stream, weighed by pCVR itself.

  The stream's share of positives is b = P / (1 + P), for each click comes as a
  negative and P of them again as positives. Importance weights back to the
  share P are

      w+ = P / b = 1 + P,   w- = (1 - P) / (1 - b) = (1 - P) (1 + P),

  with the output q, without a gradient, for P. Expected masses: positive
  P (1 + q), negative (1 - q) (1 + q). The gradient on the log-odds is
  (1 - q^2) (q - P), 0 at q = P alone. At P = .1: .11 and .99.

  All positives were negatives before, early ones too, so the loss of a row is
  not the naive one where none is late; its optimum is.

  Args:
    logits: Task -> output, float32 [B].
    labels: `click`, `conversion` and `conversion_eventually`, float32 [B].
    where: float32 [B], 0 for padding, otherwise 1 or the weight of the row.
    tasks: The funnel.

  Returns:
    Term -> (sum, count), `ctr` and `cvr_clicked`, and for other tasks those of
    `click_space`.

  Raises:
    InputError: Rows are sampled.

  References:
    Ktena et al., Addressing Delayed Feedback for Continuous Training with
    Neural Networks in CTR Prediction, RecSys 2019. The paper was not read; the
    loss is that of ThyrixYang/es_dfm at 50a4d54, src/loss.py
    (fake_negative_weighted_loss), which means over events, not over clicks.
  """
  p = jax.nn.sigmoid(jax.lax.stop_gradient(logits['cvr']))
  events = arrivals.masses(labels, 'fake')
  weighed = Masses(
      events.positive * (1.0 + p), events.negative * (1.0 - p) * (1.0 + p)
  )
  losses = arrivals.events_loss(logits['cvr'], weighed)
  return arrivals.terms(logits, labels, where, tasks, losses)


def delayed_fnc(
    logits: Logits,
    labels: Labels,
    where: Array,
    *,
    tasks: Tasks = FUNNEL,
) -> LossTerms:
  """Computes FNC: the naive loss of the `fake` stream, of calibrated outputs.

  A model of the stream predicts b = P / (1 + P), and P = b / (1 - b). The paper
  trains b and calibrates afterwards; here the output is P, and its
  b = P / (1 + P), whose log-odds are log P, is what the loss sees:

      m+ -log b + m- -log(1 - b) = m+ log((1 + P) / P) + m- log(1 + P).

  The optimum is the same where b is below 1/2, and P cannot exceed 1.

  Args:
    logits: Task -> output, float32 [B].
    labels: `click`, `conversion` and `conversion_eventually`, float32 [B].
    where: float32 [B], 0 for padding, otherwise 1 or the weight of the row.
    tasks: The funnel.

  Returns:
    Term -> (sum, count), `ctr` and `cvr_clicked`, and for other tasks those of
    `click_space`.

  Raises:
    InputError: Rows are sampled.

  References:
    Ktena et al., RecSys 2019. After a summary; the paper was not read.
  """
  events = arrivals.masses(labels, 'fake')
  biased = jax.nn.log_sigmoid(logits['cvr'])
  losses = arrivals.events_loss(biased, events)
  return arrivals.terms(logits, labels, where, tasks, losses)


def needs() -> Needs:
  """Returns the column of late conversions."""
  return Needs(truth_labels=(arrivals.EVENTUALLY,))


def fnw_weights(tasks: Tasks) -> dict[str, float]:
  """Returns weight 1 for every task.

  Raises:
    InputError: CVR is not the event after the click.
  """
  return arrivals.default_weights('delayed_fnw', tasks)


def fnc_weights(tasks: Tasks) -> dict[str, float]:
  """Returns weight 1 for every task; as `fnw_weights`."""
  return arrivals.default_weights('delayed_fnc', tasks)
