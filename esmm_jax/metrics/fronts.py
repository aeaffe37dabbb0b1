"""Measures of two scores traded against each other; more of both is better.

A model trained with several weights of its tasks gives a point for each weight,
such as (CTR AUC, CVR AUC). `pareto` describes the points, `front_volume` and
`ellipse` also the seeds behind them, and `trade_off` tells if one score rises
where the other falls. `front_margin` compares another model with the points.

References:
  Zitzler, Thiele. Multiobjective evolutionary algorithms: a comparative case
    study and the strength Pareto approach. IEEE Transactions on Evolutionary
    Computation 3(4), 1999.
  Efron, Tibshirani. An introduction to the bootstrap. Chapman and Hall, 1993.
    Section 13.3, the percentile interval.
"""

import math
from typing import NamedTuple

from esmm_jax.metrics.score_pairs import checked, complete, complete_seeds
from esmm_jax.metrics.score_pairs import corner, resampled
from esmm_jax.types import Array
import numpy as np
import scipy  # Imports `stats` when it is asked for.

NAN = float('nan')


def pareto(points: Array) -> np.ndarray:
  """Marks the points that no other one dominates.

  q dominates p where q >= p in both scores and q > p in one, so equal points
  are marked together. By sorting, in O(n log n).

  >>> from esmm_jax.metrics.fronts import pareto
  >>> pareto([(1, 3), (2, 2), (1, 2), (3, 1)]).tolist()
  [True, True, False, True]

  Args:
    points: float [n, 2].

  Returns:
    bool [n]; False for a point with a nan, which dominates none either.

  Raises:
    InputError: The shape is another one.
  """
  points = checked('points', points, '[n, 2]')
  front = complete(points)
  # Ascending in x, then in y: what dominates a point comes after it.
  unique, inverse = np.unique(points[front], axis=0, return_inverse=True)
  y = unique[::-1, 1]
  highest = np.maximum.accumulate(y)
  undominated = np.ones(len(y), bool)
  undominated[1:] = y[1:] > highest[:-1]
  front[front] = undominated[::-1][inverse.reshape(-1)]
  return front


def _area(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
  """Computes the area that points [..., n, 2] dominate above reference [2].

    |{z : r <= z <= p for a point p}|
      = sum_i (x_(i) - x_(i+1)) (max_{j <= i} y_(j) - r_y)

  with the points in descending order of x, x_(n+1) = r_x and all points raised
  to r where they lie below it.
  """
  points = np.maximum(points, reference)
  order = np.argsort(-points[..., 0], axis=-1)
  points = np.take_along_axis(points, order[..., None], axis=-2)
  x, y = points[..., 0], points[..., 1]
  ends = np.full((*x.shape[:-1], 1), reference[0])
  widths = x - np.concatenate([x[..., 1:], ends], axis=-1)[..., : x.shape[-1]]
  heights = np.maximum.accumulate(y, axis=-1) - reference[1]
  return (widths * heights).sum(-1)


class FrontVolume(NamedTuple):
  """The hypervolume of mean points and its spread over the seeds.

  Attributes:
    value: Hypervolume of the mean points, less that of the baseline's mean
      point where there is one; nan without a complete seed.
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


def front_volume(
    values: Array,
    reference: Array,
    baseline: Array | None = None,
    resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> FrontVolume:
  """Computes the hypervolume of means over seeds, with a bootstrap interval.

    value = HV({mean_s values[s, p]}_p) - HV({mean_s baseline[s]})

  Whole seeds are resampled with replacement, as many as there are; points and
  baseline see the same draw.

  The best of noisy points is optimistic: a front takes the largest means, and
  the more points it has, the further noise alone lifts it above the front of
  the true means, and above a baseline of one point. Resampling adds that lift
  once more and does not remove it. Few seeds give a crude interval: five have
  126 distinct draws, and the percentile interval is then too narrow.

  >>> from esmm_jax.metrics.fronts import front_volume
  >>> front_volume([[(1, 3), (3, 1)]], reference=(0, 0)).value
  5.0

  Args:
    values: float [S, P, 2]: seed, point, score. A seed with a nan anywhere,
      in `baseline` too, is left out whole.
    reference: float [2], the corner that counts as worst.
    baseline: float [S, 2], one point a seed, of the same seeds.
    resamples: Number of draws.
    seed: Seed of the draws.
    confidence: Coverage of the interval.

  Raises:
    InputError: The shapes are other ones, the seeds of `values` and `baseline`
      differ in number, or the reference is not finite.
  """
  reference = corner(reference)
  values, baseline = complete_seeds(values, baseline)
  n = len(values)

  def volume(shares):  # [..., n], the weight of each seed.
    area = _area(np.tensordot(shares, values, 1), reference)
    if baseline is not None:
      area = area - _area(np.tensordot(shares, baseline, 1), reference)
    return area

  return FrontVolume(*resampled(volume, n, resamples, seed, confidence))


class Ellipse(NamedTuple):
  """An ellipse in the plane of the two scores.

  Attributes:
    x: First score of the centre; nan without a complete seed.
    y: Second score of the centre.
    width: Length of the longer axis; 0 of fewer than two seeds.
    height: Length of the shorter axis.
    angle: Angle from the x axis to the longer axis in degrees, in (-90, 90].
  """

  x: float
  y: float
  width: float
  height: float
  angle: float


def ellipse(values: Array, deviations: float = 1.0) -> Ellipse:
  """Computes the ellipse of so many standard deviations around the mean.

    {z : (z - m)^T C^-1 (z - m) = deviations^2}

  with mean m and sample covariance C, over n - 1. Its half axes are deviations
  times the roots of C's eigenvalues, along the eigenvectors. It is the spread
  of single seeds, not that of their mean. One deviation contains 39 % of a
  normal distribution.

  >>> from esmm_jax.metrics.fronts import ellipse
  >>> spread = ellipse([(0, 0), (2, 0), (4, 0)])
  >>> spread.x, spread.y, spread.width, spread.height
  (2.0, 0.0, 4.0, 0.0)

  Args:
    values: float [S, 2]; seeds with a nan are left out.
    deviations: Number of standard deviations.

  Raises:
    InputError: The shape is another one.
  """
  values = checked('values', values, '[S, 2]')
  values = values[complete(values)]
  if not len(values):
    return Ellipse(NAN, NAN, 0.0, 0.0, 0.0)
  x, y = map(float, values.mean(0))
  if len(values) < 2:
    return Ellipse(x, y, 0.0, 0.0, 0.0)
  variances, axes = np.linalg.eigh(np.cov(values.T))
  height, width = 2 * deviations * np.sqrt(np.maximum(variances, 0))
  angle = math.degrees(math.atan2(axes[1, 1], axes[0, 1]))
  angle = 90 - (90 - angle) % 180
  return Ellipse(x, y, float(width), float(height), angle)


class TradeOff(NamedTuple):
  """Relation of the second score to the first.

  Attributes:
    slope: Change of the second per unit of the first, by least squares; nan of
      fewer than three points or where the first is constant.
    spearman: Rank correlation; nan of fewer than three points or where either
      is constant.
  """

  slope: float
  spearman: float


def trade_off(values: Array) -> TradeOff:
  """Computes slope and rank correlation of the second score on the first.

    slope = sum_p (x_p - mean x) (y_p - mean y) / sum_p (x_p - mean x)^2

  It is negative where one score is gained at the cost of the other. Points of
  neighbouring weights are not independent, so there is no p-value.

  >>> from esmm_jax.metrics.fronts import trade_off
  >>> trade = trade_off([(1, 6), (2, 4), (3, 2)])
  >>> trade.slope, round(trade.spearman, 12)
  (-2.0, -1.0)

  Args:
    values: float [P, 2]; points with a nan are left out.

  Raises:
    InputError: The shape is another one.
  """
  values = checked('values', values, '[P, 2]')
  x, y = values[complete(values)].T
  if len(x) < 3 or np.ptp(x) == 0:
    return TradeOff(NAN, NAN)
  slope = float(scipy.stats.linregress(x, y).slope)
  if np.ptp(y) == 0:  # Constant ranks have no correlation.
    return TradeOff(slope, NAN)
  return TradeOff(slope, float(scipy.stats.spearmanr(x, y).statistic))
