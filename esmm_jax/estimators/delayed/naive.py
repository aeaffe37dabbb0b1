"""The CVR loss of clicked rows on a stream of late conversions, uncorrected."""

from esmm_jax.estimators.contract import Needs
from esmm_jax.estimators.delayed import arrivals
from esmm_jax.estimators.delayed.arrivals import Stream
from esmm_jax.tasks import FUNNEL, Tasks
from esmm_jax.types import Array, Labels, Logits, LossTerms


def delayed_naive(
    logits: Logits,
    labels: Labels,
    where: Array,
    *,
    tasks: Tasks = FUNNEL,
    stream: Stream = 'log',
) -> LossTerms:
  """Computes BCE(click, pCTR) + the log loss of the events of a stream.

      L = 1/n sum_i BCE(y_i, pCTR_i)
          + 1/|clicks| sum_{i: y_i = 1} (m+_i -log q_i + m-_i -log(1 - q_i))

  The masses m are those of `arrivals`. `log` is `click_space`: what training on
  today's log gives, too low by the share of conversions that are still to come.
  `elapsed` and `fake` see these and are still too low, P / (1 + P s) and
  P / (1 + P) for a conversion rate P of which the share s is late. `final` is
  the bound: the labels when all is over.

  Args:
    logits: Task -> output, float32 [B].
    labels: `click`, `conversion` as the log shows it and, but for `log`,
      `conversion_eventually`, float32 [B].
    where: float32 [B], 0 for padding, otherwise 1 or the weight of the row.
    tasks: The funnel.
    stream: `log`, `elapsed`, `fake` or `final`.

  Returns:
    Term -> (sum, count), `ctr` and `cvr_clicked`, and for other tasks those of
    `click_space`.

  Raises:
    InputError: There is no such stream, or rows of one other than `log` are
      sampled.
  """
  events = arrivals.masses(labels, stream)
  losses = arrivals.events_loss(logits['cvr'], events)
  return arrivals.terms(logits, labels, where, tasks, losses)


def needs(*, stream: str = 'log') -> Needs:
  """Returns the column of late conversions where the stream has them."""
  return Needs(
      truth_labels=() if stream == 'log' else (arrivals.EVENTUALLY,)
  )


def default_weights(tasks: Tasks) -> dict[str, float]:
  """Returns weight 1 for every task.

  Raises:
    InputError: CVR is not the event after the click.
  """
  return arrivals.default_weights('delayed_naive', tasks)
