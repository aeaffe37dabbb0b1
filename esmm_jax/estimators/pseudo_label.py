"""Pseudo-labels: a teacher's CVR as the label of unclicked impressions."""

from collections.abc import Mapping
from typing import Annotated, get_args, Literal

from esmm_jax.estimators import entire_space as _entire_space
from esmm_jax.estimators import propensity as _propensity
from esmm_jax.estimators.contract import Needs
from esmm_jax.estimators.losses import (
    cross_entropy,
    space_term,
    sum_and_count,
)
from esmm_jax.estimators.propensity import FLOOR, Floor, inverse
from esmm_jax.options import check_choice, NOT_NEGATIVE
from esmm_jax.tasks import FUNNEL, Head, Tasks
from esmm_jax.types import Array, InputError, Labels, Logits, LossTerms
import jax
import jax.numpy as jnp

TEACHER = 'teacher'
SECOND = 'second_student'
ENTIRE = 'cvr_entire'
DISAGREEMENT = 'disagreement'

Propensity = Literal['none', 'own', 'frozen', 'true']
UnclickedWeight = Literal['one', 'inverse', 'uncertainty']
Teacher = Literal['click_head', 'frozen', 'truth']
NonNegative = Annotated[float | Array, NOT_NEGATIVE]
# Teacher -> the column with its probabilities.
_COLUMNS = {'frozen': 'frozen_cvr', 'truth': 'p_cvr'}


def pseudo_label(
    logits: Logits,
    labels: Labels,
    where: Array,
    *,
    tasks: Tasks = FUNNEL,
    teacher: Teacher = 'click_head',
    unclicked_weight: UnclickedWeight = 'inverse',
    gamma: NonNegative = 1.0,
    uncertainty_ratio: NonNegative = 100.0,
    propensity: Propensity = 'own',
    propensity_floor: Floor = FLOOR,
) -> LossTerms:
  """Computes CVR's loss on clicked rows and on a teacher's labels elsewhere.

  With click o, conversion r, pCTR p, pCVR q and the teacher's CVR c,

      1/n sum_i [o a BCE(r, q) + gamma (1 - o) b BCE(c, q)]       cvr_entire

  beside `ctr` and `ctcvr` of ESMM. Neither c nor the weights have a gradient:

      a = 1 / p, or 1 where the propensity is `none`,
      b = 1 (`one`), 1 / (1 - p) (`inverse`), or exp(-k KL(q || q')) with k, the
          `uncertainty_ratio`, and a second student q' (`uncertainty`).

  The second student has the same loss with the two exchanged, the term
  `second_student`; `disagreement` is KL(q || q') + KL(q' || q) over all
  impressions. Predictions are those of the first.

  With a teacher that is right, q is right for any p. One that is wrong enters
  with the share B / (A + B), about a half for `inverse`; a free q becomes

      q = (A eta + B c) / (A + B),  A = P(o) a,  B = gamma (1 - P(o)) b,

  with the conversion rate eta of clicked rows.

  Settings of named methods; the loss weights are in their configs:

    DDPO           teacher click_head, unclicked_weight inverse, propensity own,
                   gamma 1. Without its attention between the towers.
    UKD            teacher frozen, unclicked_weight uncertainty, propensity
                   none, gamma .5, uncertainty_ratio 100, no ctcvr. WITHOUT the
                   adversary that makes the teacher's layers the same on clicked
                   and unclicked rows, so the teacher is a CVR of clicked rows;
                   and the second student is a tower, not an output layer.
    self-training  teacher frozen, unclicked_weight one, propensity none, gamma
                   1, no ctcvr.
    AMAN           teacher frozen with c = 0 everywhere, unclicked_weight one,
                   propensity none, gamma 1 (`sampling.unclicked_rate` = 1).

  Args:
    logits: `ctr` and `cvr`, float32 [B]; `teacher` for a click_head,
      `second_student` for uncertainty.
    labels: `click` and `conversion`, float32 [B]; `frozen_cvr` or `p_cvr` for
      another teacher, `frozen_ctr` or `p_ctr` for another propensity.
    where: float32 [B], 0 for padding.
    tasks: The funnel. Tasks beside CTR and CVR have the terms of
      `entire_space`.
    teacher: `click_head`, a head that the term `teacher` trains on clicked
      rows; `frozen`, the CVR of a finished run; `truth`, the simulator's.
    unclicked_weight: b.
    gamma: gamma. 0 is IPS.
    uncertainty_ratio: k, of `uncertainty` alone.
    propensity: See `propensity.propensities`; `none` weighs no clicked row.
    propensity_floor: Least p, and least 1 - p, that is divided by.

  Returns:
    Term -> (sum, count), those named above. A term that the options leave out
    is 0. The counts are those of the impressions.

  Raises:
    InputError: A choice is not known, or `inverse` has no propensity.

  References:
    DDPO (SIGIR 2024) and UKD (Xu et al., WWW 2022) after code of others,
    github.com/q1179897215/EVI at 3029e57, and self-training after a summary;
    the papers were not read. DDPO's code floors p at 1e-7. A note on UKD has
    the weight 1 / (1 + k KL) in place of the exponential.
  """
  _check(teacher, unclicked_weight, propensity)
  terms = dict(_entire_space.entire_space(logits, labels, where, tasks=tasks))
  space = _propensity.clicked_space(tasks)
  del terms[space.key]
  nothing = (jnp.zeros((), where.dtype), jnp.sum(where))
  terms |= dict.fromkeys((TEACHER, SECOND, DISAGREEMENT), nothing)
  if teacher == 'click_head':
    terms[TEACHER] = space_term(
        space._replace(output=TEACHER), logits, labels, where, 'impressions'
    )
  taught = _teacher_labels(logits, labels, teacher)
  clicked, unclicked = _weights(
      logits, labels, propensity, propensity_floor, unclicked_weight
  )

  def student(output: str, weights: Array) -> tuple[Array, Array]:
    seen = cross_entropy(logits[output], labels[space.label]) * clicked
    unseen = cross_entropy(logits[output], taught) * (gamma * weights)
    return sum_and_count(
        jnp.where(labels[space.given] > 0, seen, unseen), where
    )

  if unclicked_weight != 'uncertainty':
    return terms | {ENTIRE: student(space.output, unclicked)}
  q, other = logits[space.output], logits[SECOND]
  forward, backward = _divergence(q, other), _divergence(other, q)
  certainty = lambda d: jax.lax.stop_gradient(
      # Rounding may make a divergence of nothing less than 0.
      jnp.exp(-uncertainty_ratio * jnp.maximum(d, 0.0))
  )
  return terms | {
      ENTIRE: student(space.output, certainty(forward)),
      SECOND: student(SECOND, certainty(backward)),
      DISAGREEMENT: sum_and_count(forward + backward, where),
  }


def _teacher_labels(logits: Logits, labels: Labels, teacher: str) -> Array:
  """Returns the teacher's CVR of each row, [B], without a gradient."""
  if teacher == 'click_head':
    return jax.nn.sigmoid(jax.lax.stop_gradient(logits[TEACHER]))
  return jax.lax.stop_gradient(labels[_COLUMNS[teacher]])


def _weights(
    logits: Logits,
    labels: Labels,
    propensity: str,
    floor: float | Array,
    unclicked_weight: str,
) -> tuple[Array, Array]:
  """Returns a and b of each row, [B], those of `inverse` and `one`."""
  ones = jnp.ones_like(logits['ctr'])
  if propensity == 'none':
    return ones, ones
  p = _propensity.propensities(logits, labels, propensity)
  unclicked = ones
  if unclicked_weight == 'inverse':
    unclicked = inverse(1 - p, floor)
  return inverse(p, floor), unclicked


def _divergence(logits: Array, others: Array) -> Array:
  """Computes KL(q || q') in nats of Bernoulli variables with these log-odds."""
  q = jax.nn.sigmoid(logits)
  return cross_entropy(others, q) - cross_entropy(logits, q)


def _check(teacher: str, unclicked_weight: str, propensity: str) -> None:
  """Refuses options that are not known, and 1 / (1 - p) without a p.

  Raises:
    InputError: So it is.
  """
  section = 'estimator_options'
  check_choice(f'{section}.teacher', teacher, get_args(Teacher))
  check_choice(
      f'{section}.unclicked_weight', unclicked_weight, get_args(UnclickedWeight)
  )
  if propensity == 'none' and unclicked_weight == 'inverse':
    raise InputError(
        f"{section}.unclicked_weight is 'inverse', 1 / (1 - pCTR), but"
        f" {section}.propensity is 'none'; set it to own, frozen or true, or"
        ' unclicked_weight to one or uncertainty.'
    )


def needs(
    *,
    teacher: str = 'click_head',
    unclicked_weight: str = 'inverse',
    propensity: str = 'own',
) -> Needs:
  """Returns the heads, columns and trained terms that the options read.

  Raises:
    InputError: See `pseudo_label`.
  """
  _check(teacher, unclicked_weight, propensity)
  columns = _propensity.needs(propensity)
  chosen = {
      TEACHER: teacher == 'click_head',
      SECOND: unclicked_weight == 'uncertainty',
  }
  if teacher == 'frozen':
    columns = columns._replace(frozen=('cvr', *columns.frozen))
  if teacher == 'truth':
    columns = columns._replace(truth_labels=('p_cvr', *columns.truth_labels))
  if teacher == 'click_head':
    columns = columns._replace(trained=(*columns.trained, TEACHER))
  return columns._replace(
      heads=tuple(Head(n, like='cvr') for n, used in chosen.items() if used)
  )


def row_weights(
    p: Mapping[str, Array],
    labels: Labels,
    *,
    propensity: str = 'own',
    propensity_floor: float = FLOOR,
) -> dict[str, Array]:
  """Returns each clicked row's weight in `cvr_entire`; see `ips`."""
  if propensity == 'none':
    return {ENTIRE: jnp.ones_like(p['ctr'])}
  weights = _propensity.row_weights(p, labels, propensity, propensity_floor)
  return {ENTIRE: weights}


def default_weights(tasks: Tasks) -> dict[str, float]:
  """Returns weight 1 for every loss.

  Raises:
    InputError: CVR is not the event after the click.
  """
  _propensity.check_tasks('pseudo_label', tasks)
  weights = _entire_space.default_weights(tasks)
  del weights['cvr_clicked']
  names = (ENTIRE, TEACHER, SECOND, DISAGREEMENT)
  return weights | dict.fromkeys(names, 1.0)
