"""ES-DFM and DEFUSE: late positives again, weighed by two auxiliary models."""

from typing import Literal, NamedTuple

from esmm_jax.estimators.contract import Needs
from esmm_jax.estimators.delayed import arrivals
from esmm_jax.estimators.delayed.arrivals import Masses
from esmm_jax.estimators.losses import cross_entropy, sum_and_count
from esmm_jax.tasks import FUNNEL, Head, Tasks
from esmm_jax.types import Array, InputError, Labels, Logits, LossTerms
import jax

Auxiliaries = Literal['own', 'true']
# Heads, and the terms that train them.
LATE, REAL = 'delayed_positive', 'real_negative'
_TRUE = ('p_cvr_clicked', 'p_cvr_observed')


class Probabilities(NamedTuple):
  """Parts of the weights, without a gradient, [B] each.

  Attributes:
    late: p_dp, P(late positive | clicked, features).
    real: p_rn, P(real negative | clicked, the log shows none, features).
  """

  late: Array
  real: Array


def delayed_es_dfm(
    logits: Logits,
    labels: Labels,
    where: Array,
    *,
    tasks: Tasks = FUNNEL,
    auxiliaries: Auxiliaries = 'own',
) -> LossTerms:
  """Computes ES-DFM: events of the `elapsed` stream with importance weights.

  A click comes when the log is taken, at its age, with the label that the log
  shows; a late positive (share s of the conversion rate P) comes again. With
  p_dp = P s, the stream has 1 + p_dp events a click, positive with probability
  P / (1 + p_dp), negative with (1 - P + p_dp) / (1 + p_dp), of which
  p_rn = (1 - P) / (1 - P + p_dp) are real. Importance weights back to P:

      w+ = 1 + p_dp,   w- = (1 + p_dp) p_rn.

  Expected masses a click: positive P (1 + p_dp), negative (1 - P) (1 + p_dp).
  At P = .1, s = .4: p_dp = .04, p_rn = .9 / .94, and masses .104 and .936.

  The auxiliary probabilities are heads with terms of their own: p_dp is trained
  on all clicks, p_rn on those where the log shows no conversion; the weights do
  not train them. The paper trains them before, on older data.

  Args:
    logits: Task or head -> output, float32 [B].
    labels: `click`, `conversion` and `conversion_eventually`, and for `true`
      `p_cvr_clicked` and `p_cvr_observed`, float32 [B].
    where: float32 [B], 0 for padding, otherwise 1 or the weight of the row.
    tasks: The funnel.
    auxiliaries: Probabilities in the weights: `own`, the heads; `true`, the
      simulator's. The heads are trained in both, so that the two differ in the
      weights alone.

  Returns:
    Term -> (sum, count), `ctr`, `cvr_clicked`, `delayed_positive` and
    `real_negative`, and for other tasks those of `click_space`.

  Raises:
    InputError: There are no such auxiliaries, or rows are sampled.

  References:
    Yang et al., Capturing Delayed Feedback in Conversion Rate Prediction via
    Elapsed-Time Sampling, AAAI 2021. The paper was not read; the loss is that
    of ThyrixYang/es_dfm at 50a4d54, src/loss.py
    (delay_tn_importance_weight_loss, delay_tn_dp_loss), which means over
    events, not over clicks.
  """
  p = _probabilities(logits, labels, auxiliaries)
  events = arrivals.masses(labels, 'elapsed')
  weighed = Masses(
      events.positive * (1.0 + p.late),
      events.negative * ((1.0 + p.late) * p.real),
  )
  losses = arrivals.events_loss(logits['cvr'], weighed)
  terms = arrivals.terms(logits, labels, where, tasks, losses)
  return terms | _auxiliary_terms(logits, labels, where)


def delayed_defuse(
    logits: Logits,
    labels: Labels,
    where: Array,
    *,
    tasks: Tasks = FUNNEL,
    auxiliaries: Auxiliaries = 'own',
) -> LossTerms:
  """Computes DEFUSE: ES-DFM's stream, a weight for each arrival group.

  An event that the log shows as a negative is a late positive with probability
  z = 1 - p_rn, and gets that share of a positive label:

      early positive   (1 + p_dp) (-log q)
      late positive    -log q, when it comes again
      negative         z p_dp (-log q) + (1 - z) (1 + p_dp) (-log(1 - q))

  Expected masses at the truth: positive P (1 - s) (1 + p_dp) + P s + P s p_dp,
  the sum P (1 + p_dp); negative (1 - P) (1 + p_dp): those of ES-DFM, .104 and
  .936 at P = .1, s = .4. The two differ where p_dp and p_rn are wrong.

  Args:
    logits: Task or head -> output, float32 [B].
    labels: As `delayed_es_dfm` has them.
    where: float32 [B], 0 for padding, otherwise 1 or the weight of the row.
    tasks: The funnel.
    auxiliaries: As `delayed_es_dfm` has it.

  Returns:
    Term -> (sum, count), those of `delayed_es_dfm`.

  Raises:
    InputError: There are no such auxiliaries, or rows are sampled.

  References:
    Chen et al., Asymptotically Unbiased Estimation for Delayed Feedback
    Modeling via Label Correction, WWW 2022 (DEFUSE). After a summary; the paper
    was not read. Code at ychen216/DEFUSE, src/loss.py at 0e8b849
    (unbiased_defuse_loss), gives every positive event the early and the late
    weight together, 2 + p_dp; here each has that of its group.
  """
  p = _probabilities(logits, labels, auxiliaries)
  seen, late = labels['conversion'], arrivals.late(labels)
  unseen = 1.0 - seen
  weighed = Masses(
      seen * (1.0 + p.late) + late + unseen * ((1.0 - p.real) * p.late),
      unseen * (p.real * (1.0 + p.late)),
  )
  losses = arrivals.events_loss(logits['cvr'], weighed)
  terms = arrivals.terms(logits, labels, where, tasks, losses)
  return terms | _auxiliary_terms(logits, labels, where)


def needs(*, auxiliaries: str = 'own') -> Needs:
  """Returns the two heads, and the columns of the labels and the weights."""
  columns = (arrivals.EVENTUALLY,)
  if auxiliaries == 'true':
    columns += _TRUE
  heads = (Head(LATE, like='cvr'), Head(REAL, like='cvr'))
  return Needs(heads=heads, truth_labels=columns)


def es_dfm_weights(tasks: Tasks) -> dict[str, float]:
  """Returns weight 1 for every task and for both heads.

  Raises:
    InputError: CVR is not the event after the click.
  """
  weights = arrivals.default_weights('delayed_es_dfm', tasks)
  return weights | {LATE: 1.0, REAL: 1.0}


def defuse_weights(tasks: Tasks) -> dict[str, float]:
  """Returns weight 1 for every task and for both heads; as ES-DFM's."""
  weights = arrivals.default_weights('delayed_defuse', tasks)
  return weights | {LATE: 1.0, REAL: 1.0}


def _probabilities(
    logits: Logits, labels: Labels, auxiliaries: str
) -> Probabilities:
  """Returns p_dp and p_rn, without a gradient.

  Raises:
    InputError: There are no such auxiliaries.
  """
  if auxiliaries == 'own':
    heads = jax.lax.stop_gradient((logits[LATE], logits[REAL]))
    return Probabilities(*map(jax.nn.sigmoid, heads))
  if auxiliaries == 'true':
    at_last, shown = (jax.lax.stop_gradient(labels[name]) for name in _TRUE)
    return Probabilities(at_last - shown, (1.0 - at_last) / (1.0 - shown))
  raise InputError(
      f'estimator_options.auxiliaries is {auxiliaries!r}; it must be one of'
      " ('own', 'true')."
  )


def _auxiliary_terms(
    logits: Logits, labels: Labels, where: Array
) -> LossTerms:
  """Computes the log losses of both heads: on clicks, on unseen ones."""
  clicked = where * labels['click']
  late = arrivals.late(labels)
  unseen = clicked * (1.0 - labels['conversion'])
  return {
      LATE: sum_and_count(cross_entropy(logits[LATE], late), clicked),
      REAL: sum_and_count(cross_entropy(logits[REAL], 1.0 - late), unseen),
  }
