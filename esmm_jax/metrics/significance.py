"""Tests of differences against the noise of seeds, and of the test rows.

There are two kinds of noise. Training again with another seed gives another
model: `summarize`, `paired`, `holm` and `minimum_detectable_difference` are for
that. Another draw of test rows gives another score to the same model: `delong`
is for that.

References:
  DeLong, DeLong, Clarke-Pearson. Comparing the areas under two or more
    correlated receiver operating characteristic curves. Biometrics 44, 1988.
  Sun, Xu. Fast implementation of DeLong's algorithm for comparing the areas
    under correlated receiver operating characteristic curves. IEEE Signal
    Processing Letters 21(11), 2014.
  Holm. A simple sequentially rejective multiple test procedure. Scandinavian
    Journal of Statistics 6, 1979.
  Wilcoxon. Individual comparisons by ranking methods. Biometrics Bulletin 1,
    1945.
"""

from collections.abc import Iterable, Mapping
import math
from typing import Any, NamedTuple
import warnings

from esmm_jax.metrics.checks import is_one
from esmm_jax.metrics.ranking import auc
from esmm_jax.types import Array
import numpy as np
import scipy  # Imports `stats` when it is asked for.

NAN = float('nan')
# Differences are rounded to these decimals before they are ranked, so that
# equal ones tie although float64 subtraction tells them apart.
_RANKED_DECIMALS = 12


class Summary(NamedTuple):
  """Mean and spread of a set of values.

  Attributes:
    mean: Mean; nan of no values.
    std: Sample standard deviation, over n - 1; nan of fewer than two.
    n: Number of values; nan values are left out and not counted.
  """

  mean: float
  std: float
  n: int


def summarize(values: Iterable[float]) -> Summary:
  """Computes mean, sample standard deviation and number of the values.

  >>> from esmm_jax.metrics.significance import summarize
  >>> summarize([1.0, 2.0, 3.0, float('nan')])
  Summary(mean=2.0, std=1.0, n=3)
  """
  x = np.asarray(list(values), np.float64)
  x = x[~np.isnan(x)]
  n = len(x)
  mean = float(x.mean()) if n else NAN
  return Summary(mean, float(x.std(ddof=1)) if n > 1 else NAN, n)


class Paired(NamedTuple):
  """Differences of pairs, one for each seed.

  Attributes:
    n: Pairs without nan.
    mean: Mean difference; nan without pairs.
    std: Sample standard deviation of the differences; nan of fewer than two.
    low: Lower end of the t interval of the mean; nan of fewer than two.
    high: Upper end.
    p_t: Two-sided p-value of the paired t test; nan of fewer than two.
    p_wilcoxon: Two-sided p-value of the signed-rank test; nan without pairs.
  """

  n: int
  mean: float
  std: float
  low: float
  high: float
  p_t: float
  p_wilcoxon: float


def paired(
    ours: Mapping[Any, float],
    theirs: Mapping[Any, float],
    confidence: float = 0.95,
) -> Paired:
  """Tests the difference of values of the same seeds.

    d = ours - theirs of one seed,  t = mean(d) / (std(d) / sqrt(n))

  with n - 1 degrees of freedom; the interval is mean(d) +- t_crit std(d) /
  sqrt(n). The signed-rank test leaves out differences of 0. It is exact up to
  50 differences, with ties up to 13, and approximate beyond. Where all
  differences are 0, both p-values are 1.

  >>> from esmm_jax.metrics.significance import paired
  >>> test = paired({0: 2.0, 1: 4.0, 2: 6.0}, {0: 1.0, 1: 2.0, 2: 3.0})
  >>> test.n, test.mean, test.std, round(test.p_t, 4)
  (3, 2.0, 1.0, 0.0742)

  Args:
    ours: Seed -> value.
    theirs: Seed -> value. Seeds that only one side has, or whose value is nan
      on a side, make no pair.
    confidence: Coverage of the interval.

  Returns:
    The differences' number, mean, spread, interval and p-values.
  """
  d = np.asarray([ours[s] - theirs[s] for s in ours if s in theirs], np.float64)
  mean, std, n = summarize(d)
  d = d[~np.isnan(d)]
  p_wilcoxon = _signed_rank(d) if n else NAN
  if n < 2:
    return Paired(n, mean, std, NAN, NAN, NAN, p_wilcoxon)
  with warnings.catch_warnings():
    # Equal differences have no variance; t is then infinite, or 0 / 0.
    warnings.simplefilter('ignore', RuntimeWarning)
    test = scipy.stats.ttest_1samp(d, 0.0)
    low, high = map(float, test.confidence_interval(confidence))
  p_t = float(test.pvalue) if d.any() else 1.0
  return Paired(n, mean, std, low, high, p_t, p_wilcoxon)


def _signed_rank(d: np.ndarray) -> float:
  d = np.round(d, _RANKED_DECIMALS)
  d = d[d != 0]
  return float(scipy.stats.wilcoxon(d).pvalue) if len(d) else 1.0


def holm(p_values: Iterable[float]) -> np.ndarray:
  """Adjusts a family of p-values after Holm, in their order.

    p_(i) -> max_{j <= i} min(1, (m - j + 1) p_(j))    p_(1) <= ... <= p_(m)

  Rejecting where the adjusted value is below a level keeps the chance of any
  false rejection in the family below that level, whatever their dependence.

  >>> from esmm_jax.metrics.significance import holm
  >>> holm([0.25, 0.5, 0.125]).tolist()
  [0.5, 0.5, 0.375]

  Args:
    p_values: [k]; nan stays nan and is not counted in m.

  Returns:
    float64 [k], the adjusted p-values.
  """
  p = np.asarray(list(p_values), np.float64)
  adjusted = np.full(p.shape, NAN)
  ranked = np.flatnonzero(~np.isnan(p))
  order = ranked[np.argsort(p[ranked], kind='stable')]
  factors = len(order) - np.arange(len(order))
  adjusted[order] = np.maximum.accumulate(np.minimum(1, factors * p[order]))
  return adjusted


def minimum_detectable_difference(
    std: float, n: int, power: float = 0.8, level: float = 0.05
) -> float:
  """Computes the true mean difference that a paired t test finds that often.

  The delta with P(T > t_crit) = power, where T is noncentral t with n - 1
  degrees of freedom and noncentrality delta sqrt(n) / std, and t_crit the
  two-sided critical value. A rejection on the wrong side does not count.

  >>> from esmm_jax.metrics.significance import minimum_detectable_difference
  >>> round(minimum_detectable_difference(std=1.0, n=5), 3)
  1.682

  Args:
    std: Standard deviation of the differences.
    n: Pairs.
    power: Chance that the test rejects, with the right sign.
    level: Level of the two-sided test.

  Returns:
    The difference, in the unit of `std`; nan of fewer than two pairs.
  """
  if n < 2 or math.isnan(std):
    return NAN
  critical = scipy.stats.t.ppf(1 - level / 2, n - 1)

  def missing(shift: float) -> float:
    return float(scipy.stats.nct.sf(critical, n - 1, shift) - power)

  high = 1.0
  while missing(high) < 0:
    high *= 2
  return float(scipy.optimize.brentq(missing, 0, high) * std / math.sqrt(n))


class DeLong(NamedTuple):
  """Difference of two AUCs on the same rows.

  Attributes:
    auc_a: AUC of the first scores; nan where a class is absent.
    auc_b: AUC of the second.
    difference: auc_a - auc_b.
    error: Standard error of the difference; nan where a class has fewer than
      two rows.
    z: difference / error.
    p: Two-sided normal p-value.
  """

  auc_a: float
  auc_b: float
  difference: float
  error: float
  z: float
  p: float


def delong(
    scores_a: Array,
    scores_b: Array,
    labels: Array,
    where: Array | None = None,
) -> DeLong:
  """Tests the difference of two correlated AUCs after DeLong, in O(n log n).

  With kernel psi(x, y) = [x > y] + [x = y] / 2, m positives x and n negatives y

    V10_i = mean_j psi(x_i, y_j),   V01_j = mean_i psi(x_i, y_j)
    error^2 = var(V10_a - V10_b) / m + var(V01_a - V01_b) / n

  (DeLong et al., eq. 5 and 6, with the contrast (1, -1)). The V are differences
  of mid-ranks (Sun and Xu, eq. 9 to 12), so pairs are not enumerated. Rows
  count as independent; where users have many rows, the error is too small.

  >>> from esmm_jax.metrics.significance import delong
  >>> test = delong([4.0, 2.0, 3.0, 1.0], [4.0, 3.0, 2.0, 1.0], [1, 1, 0, 0])
  >>> test.auc_a, test.auc_b, test.difference, test.error
  (0.75, 1.0, -0.25, 0.3535533905932738)

  Args:
    scores_a: float [n], as for `ranking.auc`.
    scores_b: float [n].
    labels: 0 or 1 [n].
    where: 0 or 1 [n], the rows that count; default all.

  Raises:
    InputError: as for `ranking.auc`.
  """
  auc_a, auc_b = auc(scores_a, labels, where), auc(scores_b, labels, where)
  positive = is_one('labels', np.asarray(labels))
  keep: slice | np.ndarray = slice(None)
  if where is not None:
    keep = is_one('where', np.asarray(where))
  positive = positive[keep]
  difference = auc_a - auc_b
  m, n = int(positive.sum()), int((~positive).sum())
  if min(m, n) < 2:
    return DeLong(auc_a, auc_b, difference, NAN, NAN, NAN)
  v10_a, v01_a = _placements(np.asarray(scores_a)[keep], positive)
  v10_b, v01_b = _placements(np.asarray(scores_b)[keep], positive)
  variance = np.var(v10_a - v10_b, ddof=1) / m
  variance += np.var(v01_a - v01_b, ddof=1) / n
  error = float(np.sqrt(variance))
  if error > 0:
    z = difference / error
  else:
    z = math.copysign(math.inf, difference) if difference else 0.0
  p = float(2 * scipy.stats.norm.sf(abs(z)))
  return DeLong(auc_a, auc_b, difference, error, z, p)


def _placements(
    scores: np.ndarray, positive: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Computes V10 [m] and V01 [n], each row's share of the class it beats."""
  x, y = scores[positive], scores[~positive]
  ranks = scipy.stats.rankdata(scores)
  v10 = (ranks[positive] - scipy.stats.rankdata(x)) / len(y)
  v01 = 1 - (ranks[~positive] - scipy.stats.rankdata(y)) / len(x)
  return v10, v01
