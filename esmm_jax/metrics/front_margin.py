"""Another model against the curve of models with several weights.

A method that weights the tasks during training is worth its cost where no
fixed weight does as well in both scores. `front_margin` says by how much.
"""

from typing import NamedTuple

from esmm_jax.metrics.score_pairs import complete_seeds, resampled
from esmm_jax.types import Array, InputError
import numpy as np


class FrontMargin(NamedTuple):
  """The distance of a mean point to the curve of others, in units of scores.

  Attributes:
    value: Positive: no point of the curve comes within it in both scores.
      Negative: a point of the curve is better by as much in both. nan without
      a complete seed.
    low: Lower end of the percentile interval; nan of fewer than two seeds.
    high: Upper end.
    n: Complete seeds, the ones that count.
    resamples: Draws behind the interval; 0 of fewer than two seeds.
  """

  value: float
  low: float
  high: float
  n: int
  resamples: int


def front_margin(
    values: Array,
    point: Array,
    resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> FrontMargin:
  """Computes how far a point lies beyond a curve, with a bootstrap interval.

    margin = min_q max(p_x - q_x, p_y - q_y)

  over all q on the straight lines that join the mean points of neighbouring
  weights: a weight between two of them is a model that could have been trained
  too. It is the additive epsilon indicator of one point (Zitzler et al., IEEE
  Transactions on Evolutionary Computation 7(2), 2003) with the sign turned.
  Whole seeds are resampled; curve and point see the same draw.

  The curve is the best of several noisy means, so the margin is pessimistic:
  a point of one of the curve's own models, trained once more, is expected to
  lie below 0 where noise is as large as the steps of the curve. Beyond the ends
  of the curve the margin is to the end: a model that weighs one task more than
  any point of the curve has a positive one.

  >>> from esmm_jax.metrics.front_margin import front_margin
  >>> curve = [[(1, 3), (3, 1)]]
  >>> front_margin(curve, [(2, 2)]).value, front_margin(curve, [(3, 2)]).value
  (0.0, 0.5)

  Args:
    values: float [S, P, 2], P >= 1: seed, point in the order of the weights,
      score; more is better. A seed with a nan anywhere, in `point` too, is left
      out whole.
    point: float [S, 2], of the same seeds.
    resamples: Number of draws.
    seed: Seed of the draws.
    confidence: Coverage of the interval.

  Raises:
    InputError: The shapes are other ones, the curve has no point, or the seeds
      of `values` and `point` differ in number.
  """
  values, point = complete_seeds(values, point, 'point')
  assert point is not None
  if not values.shape[1]:
    raise InputError('values must have a point; there is none to compare with.')

  def margin(shares):  # [..., n], the weight of each seed.
    ours = np.tensordot(shares, point, 1)
    return _margin(ours - np.tensordot(shares, values, 1))

  return FrontMargin(
      *resampled(margin, len(values), resamples, seed, confidence)
  )


def _margin(leads: np.ndarray) -> np.ndarray:
  """Computes min over the curve of the larger lead in a score.

  On a straight line the larger one of two linear functions is least at an end,
  or where both are equal.

  Args:
    leads: float [..., P, 2], the point less each one of the curve.
  """
  best = leads.max(-1).min(-1)
  gap = leads[..., 0] - leads[..., 1]
  a, b = gap[..., :-1], gap[..., 1:]
  crosses = a * b < 0
  share = np.where(crosses, a / np.where(crosses, a - b, 1.0), 0.0)
  x = leads[..., 0]
  equal = x[..., :-1] + share * (x[..., 1:] - x[..., :-1])
  inner = np.where(crosses, equal, np.inf).min(-1, initial=np.inf)
  return np.minimum(best, inner)
