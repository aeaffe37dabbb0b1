"""DFM: conversion and exponential delay together, from one log."""

from typing import Annotated

from esmm_jax.estimators.contract import Needs
from esmm_jax.estimators.delayed import arrivals
from esmm_jax.estimators.losses import cross_entropy, sum_and_count
from esmm_jax.options import Range
from esmm_jax.tasks import FUNNEL, Head, Tasks
from esmm_jax.types import Array, Labels, Logits, LossTerms
import jax
import jax.numpy as jnp

# The head with the rate of the delay, and the term of observed delays.
RATE, DELAY = 'delay_rate', 'delay'
AGE, TIME = 'click_age', 'conversion_delay'
Unit = Annotated[float | Array, Range(0, 1e9, open_low=True)]
_LINEAR = -20.0  # Below it log softplus(x) is x, to 1e-9.


def delayed_dfm(
    logits: Logits,
    labels: Labels,
    where: Array,
    *,
    tasks: Tasks = FUNNEL,
    delay_unit: Unit = 1.0,
) -> LossTerms:
  """Computes the likelihood of a log with exponential delays.

  A click converts with probability P and, if so, after a delay with density
  rate * exp(-rate t); both are outputs, rate = softplus(head). A log that was
  taken at age e of the click shows (v = 1, with its delay t) or does not show
  (v = 0) the conversion:

      v = 1:  -log P - log rate + rate t
      v = 0:  -log(1 - P + P exp(-rate e))

  Their sum over clicks is two terms, `cvr_clicked` with -log P and the second
  line, and `delay` with the rest of the first; with equal weights it is the
  paper's likelihood. Nothing that came after the log was taken is used.

  With x the log-odds of P the second line is softplus(x) - softplus(x - rate e)
  (so computed), and for rate e -> infinity all is the naive loss, to the bit.

  P and the rate are right only if the delay is exponential given the features:
  with Weibull delays of shape below 1 the tail is underestimated, and P is too
  low; above 1 too high.

  Args:
    logits: Task or head -> output, float32 [B].
    labels: `click` and `conversion`; `click_age` e and `conversion_delay` t in
      days (t counts where the conversion is seen alone), float32 [B].
    where: float32 [B], 0 for padding, otherwise 1 or the weight of the row.
    tasks: The funnel.
    delay_unit: Days that count as 1 for the rate. About the mean delay, so that
      the head begins near the truth.

  Returns:
    Term -> (sum, count), `ctr`, `cvr_clicked` and `delay`, the last two over
    clicks, and for other tasks those of `click_space`.

  References:
    Chapelle, Modeling Delayed Feedback in Display Advertising, KDD 2014. The
    paper was not read; the loss is that of ThyrixYang/es_dfm at 50a4d54,
    src/loss.py (exp_delay_loss), whose rate is softplus of an output too.
  """
  x, head, seen = logits['cvr'], logits[RATE], labels['conversion']
  rate = jax.nn.softplus(head)
  age, time = labels[AGE] / delay_unit, labels[TIME] / delay_unit
  # The naive loss, less what the log could not show yet.
  losses = cross_entropy(x, seen)
  losses -= (1.0 - seen) * jax.nn.softplus(x - rate * age)
  terms = arrivals.terms(logits, labels, where, tasks, losses)
  # The delay of a conversion that is not seen must not count, whatever it is.
  time = jnp.where(seen > 0, time, 0.0)
  delays = seen * (rate * time - _log_softplus(head))
  return terms | {DELAY: sum_and_count(delays, where * arrivals.rows(labels))}


def needs() -> Needs:
  """Returns the head of the rate, and the times of the log."""
  return Needs(heads=(Head(RATE, like='cvr'),), truth_labels=(AGE, TIME))


def default_weights(tasks: Tasks) -> dict[str, float]:
  """Returns weight 1 for every task and for the delays.

  Raises:
    InputError: CVR is not the event after the click.
  """
  return arrivals.default_weights('delayed_dfm', tasks) | {DELAY: 1.0}


def _log_softplus(x: Array) -> Array:
  """Computes log log(1 + e^x), finite where softplus(x) rounds to 0."""
  return jnp.where(
      x < _LINEAR, x, jnp.log(jax.nn.softplus(jnp.maximum(x, _LINEAR)))
  )
