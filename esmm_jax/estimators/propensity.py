"""Inverse propensities of clicks: the weights of the causal estimators.

Names of the terms that all weighted estimators share:

    cvr_clicked  a CVR loss that is a sum over the clicked rows alone, whatever
                 weights they have: it is the term whose rows `sampling` counts,
                 and `loss_weights.cvr_clicked` then means the same in the
                 naive loss, UNBIAS, IPS, ESCM2, DCMT and ChorusCVR, so that one
                 grid of weights serves all of them.
    cvr_entire   a CVR loss that is a sum over all impressions, of count the
                 number of impressions: the bound, doubly robust, pseudo-labels,
                 NISE.

The propensity is P(click | features). It never has a gradient: minimising
e(o, p) + o d / p over p would pay for a smaller loss of CVR with a higher p, a
CTR that is 1.5 times too high at p = .04 and a CVR of .005.
"""

from collections.abc import Mapping
from typing import Annotated, get_args, Literal

from esmm_jax.estimators.contract import Needs
from esmm_jax.estimators.losses import LOSSES, ROWS, sum_and_count
from esmm_jax.options import check_choice, POSITIVE_SHARE, Range
from esmm_jax.tasks import Space, spaces, Tasks
from esmm_jax.types import Array, InputError, Labels, Logits
import jax
import jax.numpy as jnp

# Names that estimators' signatures use; each means the same in all of them.
Propensity = Literal['own', 'frozen', 'true']
Normalization = Literal['impressions', 'clicks', 'self']
Floor = Annotated[float | Array, POSITIVE_SHARE]
Cap = Annotated[float | Array, Range(1, 1e38)]
Steps = Annotated[float | Array, Range(0, 1e9)]
FLOOR = 0.01
NO_CAP = 1e38
# Columns with the propensity of a row, beside the estimator's own.
COLUMNS = {'frozen': 'frozen_ctr', 'true': 'p_ctr'}


def propensities(
    logits: Logits, labels: Labels, propensity: str = 'own'
) -> Array:
  """Returns P(click) of each row, without a gradient.

  Args:
    logits: Has `ctr`, float32 [B].
    labels: Has `frozen_ctr` or `p_ctr` where the propensity is that column.
    propensity: `own`, the CTR output of the network that is trained; `frozen`,
      that of a finished run; `true`, the simulator's.

  Returns:
    float32 [B], neither floored nor capped.

  Raises:
    InputError: There is no such propensity.
  """
  ctr = jax.nn.sigmoid(jax.lax.stop_gradient(logits['ctr']))
  return from_probabilities({'ctr': ctr}, labels, propensity)


def from_probabilities(
    p: Mapping[str, Array], labels: Labels, propensity: str = 'own'
) -> Array:
  """Returns P(click) of each row where the outputs are probabilities.

  Args:
    p: Has `ctr`, [n].
    labels: As in `propensities`.
    propensity: As there.

  Returns:
    [n], neither floored nor capped, without a gradient.

  Raises:
    InputError: There is no such propensity.
  """
  choices = get_args(Propensity)
  check_choice('estimator_options.propensity', propensity, choices)
  if propensity == 'own':
    return jax.lax.stop_gradient(p['ctr'])
  return jax.lax.stop_gradient(labels[COLUMNS[propensity]])


def needs(propensity: str = 'own') -> Needs:
  """Returns the column that has the propensity, or the term that trains it.

  Args:
    propensity: As in `propensities`; any other text needs none.
  """
  return Needs(
      truth_labels=('p_ctr',) if propensity == 'true' else (),
      frozen=('ctr',) if propensity == 'frozen' else (),
      trained=('ctr',) if propensity == 'own' else (),
  )


def inverse(
    p: Array,
    floor: float | Array = FLOOR,
    cap: float | Array = NO_CAP,
    warmup_steps: float | Array = 0.0,
    step: Array | None = None,
) -> Array:
  """Computes 1 / max(p, floor, 1 / cap), reached over a warm-up.

  A floor and a cap of its inverse are the same: the larger of floor and 1 / cap
  acts, and 1 / p is biased on purpose below it, E[weight] = p / floor. After t
  of k steps of a warm-up the weight is (1 - t / k) + (t / k) / p: from 1, the
  loss of clicked rows as they are, in a line to the inverse.

  >>> inverse(jnp.array([0.5, 0.001]), floor=0.01).tolist()
  [2.0, 100.0]
  >>> inverse(jnp.array([0.5, 0.001]), cap=16.0).tolist()
  [2.0, 16.0]
  >>> inverse(jnp.array([0.5, 0.1]), warmup_steps=4, step=1).tolist()
  [1.25, 3.25]

  Args:
    p: The propensity of each row, any shape; of the rows that are not clicked,
      1 - P(click) where the estimator weighs those.
    floor: The least propensity that is divided by, in (0, 1].
    cap: The greatest weight, at least 1.
    warmup_steps: k; 0 has no warm-up.
    step: t, the steps done; None, outside of training, is after the warm-up.

  Returns:
    The weights, of the shape of `p`, without a gradient.
  """
  floor = jnp.maximum(floor, 1.0 / jnp.asarray(cap))
  weights = 1.0 / jnp.maximum(jax.lax.stop_gradient(p), floor)
  if step is None:
    return weights
  # Options are traced, so the warm-up of 0 steps is no branch of Python.
  length = jnp.where(jnp.asarray(warmup_steps) > 0, warmup_steps, 1.0)
  done = jnp.where(
      jnp.asarray(warmup_steps) > 0, jnp.minimum(step / length, 1.0), 1.0
  )
  # To the bit 1 at the start and the inverse at the end.
  return (1.0 - done) + done * weights


def row_weights(
    p: Mapping[str, Array],
    labels: Labels,
    propensity: str = 'own',
    floor: float | Array = FLOOR,
    cap: float | Array = NO_CAP,
) -> Array:
  """Returns the weight of each row after a warm-up, from probabilities.

  Args:
    p: Has `ctr`, [n].
    labels: As in `propensities`.
    propensity: As there.
    floor: As in `inverse`.
    cap: As there.

  Returns:
    [n]; of a row that is not clicked what it would have.

  Raises:
    InputError: There is no such propensity.
  """
  return inverse(from_probabilities(p, labels, propensity), floor, cap)


def clicked_space(tasks: Tasks) -> Space:
  """Returns the space of CVR on the clicked rows, `cvr_clicked`."""
  (space,) = [s for s in spaces(tasks) if s.key == 'cvr_clicked']
  return space


def check_tasks(name: str, tasks: Tasks) -> None:
  """Refuses tasks without a CTR over all impressions and a CVR after it.

  Args:
    name: The estimator, for the message.
    tasks: The funnel.

  Raises:
    InputError: CVR is not the event after the click, or not an event.
  """
  by_name = {t.name: t for t in tasks}
  ctr, cvr = by_name.get('ctr'), by_name.get('cvr')
  suits = (
      ctr is not None
      and cvr is not None
      and (ctr.parent, ctr.kind) == ('', 'binary')
      and (cvr.parent, cvr.kind) == ('ctr', 'binary')
      # Another label than the click makes another key.
      and 'cvr_clicked' in {s.key for s in spaces(tasks)}
  )
  if not suits:
    raise InputError(
        f'estimator={name!r} needs the tasks ctr, of clicks, and cvr, an event'
        f' right after it; the tasks are {[t.name for t in tasks]}.'
    )


def clicked_term(
    space: Space,
    outputs: Mapping[str, Array],
    labels: Labels,
    where: Array,
    weights: Array,
    normalization: str = 'impressions',
) -> tuple[Array, Array]:
  """Computes the loss of the clicked rows times their weights.

      sum_clicked w e(r, q) / n,  n = impressions | clicks | sum_clicked w

  A row that `sampling` counts k times has the weight k w, and an un-clicked row
  that it takes as a negative has no inverse propensity: it counts once.

  Args:
    space: `clicked_space`.
    outputs: Output -> log-odds, [B].
    labels: Label -> [B].
    where: [B], 0 for padding, otherwise 1 or the weight of the row.
    weights: [B], those of `inverse`; of rows that are not clicked anything.
    normalization: The count. `impressions` is the estimator of the papers,
      `clicks` the one that public code often has instead, larger by 1 / CTR;
      `self` is SNIPS, the self-normalised one.

  Returns:
    (sum, count), two scalars. The count has no gradient.

  Raises:
    InputError: There is no such normalization.
  """
  choices = get_args(Normalization)
  check_choice('estimator_options.normalization', normalization, choices)
  losses = LOSSES[space.kind](outputs[space.output], labels[space.label])
  clicks = labels[space.given]
  rows = labels.get(f'{space.key}{ROWS}', clicks)
  # Before the product, so that the weight of a row outside of the loss may be
  # anything.
  weights = jax.lax.stop_gradient(jnp.where(clicks > 0, weights, 1.0))
  total, size = sum_and_count(losses * weights, where * rows)
  if normalization == 'impressions':
    return total, jnp.sum(where)
  if normalization == 'clicks':
    return total, size
  size, _ = sum_and_count(weights, where * rows)
  return total, jax.lax.stop_gradient(size)
