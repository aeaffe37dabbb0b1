r"""A row of a log as the events of a stream: masses of its arrival groups.

Streaming methods see a click more than once. A click i with features x converts
at last with probability P(x); c_i = 1 if it does, v_i = 1 if the log shows it
(so v_i <= c_i). Of the clicks are

    early positives   v = 1         share P (1 - s),  s the share of late ones
    late positives    v = 0, c = 1  share P s
    real negatives    c = 0         share 1 - P

and a stream delivers, for each click, this many positive and negative events:

    stream   what arrives                                positive   negative
    log      each click once, as the log shows it        v          1 - v
    elapsed  that, and late positives again when they    c          1 - v
             convert (ES-DFM)
    fake     each click as a negative, and all           c          1
             positives again when they convert (FNW)
    final    each click once, when all is over           c          1 - c

A batch of a static log has no order of arrival. But each method's loss is a sum
over events of a weight w+ or w-, which depends on features alone, times -log q
or -log(1 - q). The events of a row are in the log (v) and in the truth (c), so
the row's part of the expected loss of the stream is

    m+ w+ (-log q) + m- w- (-log(1 - q)),

with the masses m+ and m- of the table: one row is all of its events, at the
parameters of one step, not at those of the times of arrival. A late positive
is one negative and one positive event, as its two copies in a stream are.

With stopped weights the optimum is q = m+ w+ / (m+ w+ + m- w-), the expected
masses given x. Without weights, at P = .1 and s = .4: log .06, elapsed
.1 / 1.04 = .0962, fake .1 / 1.1 = .0909, final .1.

References: the streams after the code of ES-DFM (ThyrixYang/es_dfm at 50a4d54,
src/loss.py), where FNW and ES-DFM are losses of such events.
"""

from typing import Literal, NamedTuple

from esmm_jax.estimators import click_space as _click_space
from esmm_jax.estimators import propensity as _propensity
from esmm_jax.estimators.losses import cross_entropy, ROWS, sum_and_count
from esmm_jax.tasks import Tasks
from esmm_jax.types import Array, InputError, Labels, Logits, LossTerms
import jax.numpy as jnp

Stream = Literal['log', 'elapsed', 'fake', 'final']
STREAMS = ('log', 'elapsed', 'fake', 'final')
# The truth column with c; the label `conversion` of a training row is v.
EVENTUALLY = 'conversion_eventually'
TERM = 'cvr_clicked'
# A copy of a conversion would copy the negative that it was before as well.
SAMPLED = (
    'sampling copies the conversions that the log shows, and this estimator'
    ' takes those that came later too; leave sampling at its default.'
)


class Masses(NamedTuple):
  """Events of each clicked row, or their weights.

  Attributes:
    positive: float32 [B].
    negative: float32 [B].
  """

  positive: Array
  negative: Array


def masses(labels: Labels, stream: str) -> Masses:
  """Counts the events of each row in a stream.

  >>> import jax.numpy as jnp
  >>> late = {'conversion': jnp.array([0.0]),
  ...         'conversion_eventually': jnp.array([1.0])}
  >>> [m.item() for m in masses(late, 'elapsed')]
  [1.0, 1.0]

  Args:
    labels: `conversion` and, but for `log`, `conversion_eventually`, float32
      [B].
    stream: One of `STREAMS`.

  Raises:
    InputError: There is no such stream.
  """
  seen = labels['conversion']
  if stream == 'log':
    return Masses(seen, 1.0 - seen)
  at_last = labels[EVENTUALLY]
  if stream == 'elapsed':
    return Masses(at_last, 1.0 - seen)
  if stream == 'fake':
    return Masses(at_last, jnp.ones_like(at_last))
  if stream == 'final':
    return Masses(at_last, 1.0 - at_last)
  raise InputError(
      f'estimator_options.stream is {stream!r}; it must be one of {STREAMS}.'
  )


def late(labels: Labels) -> Array:
  """Returns 1 where a conversion came after the log was taken, [B]."""
  return labels[EVENTUALLY] - labels['conversion']


def events_loss(logits: Array, events: Masses) -> Array:
  """Computes m+ (-log q) + m- (-log(1 - q)) of each row, [B].

  With masses of 0 and 1 that add up to 1 it is the cross-entropy to the bit.

  Args:
    logits: Log-odds of q, [B].
    events: Masses or weighted masses, [B] each.
  """
  positive = events.positive * cross_entropy(logits, 1.0)
  return positive + events.negative * cross_entropy(logits, 0.0)


def terms(
    logits: Logits,
    labels: Labels,
    where: Array,
    tasks: Tasks,
    losses: Array,
) -> LossTerms:
  """Puts the losses of clicked rows in place of the naive ones.

  Args:
    logits: Task -> output, float32 [B].
    labels: Label -> float32 [B].
    where: float32 [B], 0 for padding, otherwise 1 or the weight of the row.
    tasks: The funnel.
    losses: CVR's, [B]; of rows that are not clicked anything finite.

  Returns:
    The terms of `click_space` with `cvr_clicked` the sum of these losses, and
    the number of clicks (of clicks, not of events: a stream has more of them,
    and where none is late all methods are the naive one, to the bit).

  Raises:
    InputError: Rows are sampled, and there are late conversions.
  """
  space = _propensity.clicked_space(tasks)
  clicked = sum_and_count(losses, where * rows(labels))
  others = _click_space.click_space(logits, labels, where, tasks=tasks)
  return others | {space.key: clicked}


def rows(labels: Labels) -> Array:
  """Returns how often each impression is in the loss of the clicks, [B].

  Raises:
    InputError: Rows are sampled, and there are late conversions.
  """
  sampled = f'{TERM}{ROWS}'
  if sampled not in labels:
    return labels['click']
  if EVENTUALLY in labels:
    raise InputError(SAMPLED)
  return labels[sampled]


def default_weights(name: str, tasks: Tasks) -> dict[str, float]:
  """Returns weight 1 for every task.

  Args:
    name: The estimator, for the message.
    tasks: The funnel.

  Raises:
    InputError: CVR is not the event after the click.
  """
  _propensity.check_tasks(name, tasks)
  return _click_space.default_weights(tasks)
