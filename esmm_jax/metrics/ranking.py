"""Exact ranking metrics: AUC, soft AUC, grouped AUC.

AUC is the probability that a positive example scores above a negative one, a
tie counting one half. It is counted in integers over the whole split: no
thresholds, no bins, no mean over batches. Linear thresholds on the probability,
a common default, cannot rank rare events: nearly all of their probabilities
fall into the first bin.

Only the order of the scores matters: log-odds and probabilities give the same
AUC, as long as rounding to probabilities makes no new ties. Prefer log-odds.

References:
  Hanley, McNeil. The meaning and use of the area under a receiver operating
    characteristic (ROC) curve. Radiology 143, 1982. (AUC as the Wilcoxon
    statistic, ties one half.)
"""

from typing import NamedTuple

import numpy as np

from esmm_jax.metrics import packing
from esmm_jax.metrics.checks import same_length
from esmm_jax.metrics.classes import checked_scores, Classes, run_starts
from esmm_jax.metrics.classes import scored_rows
from esmm_jax.types import Array, InputError


def auc(scores: Array, labels: Array, where: Array | None = None) -> float:
  """Computes the exact AUC over all rows, ties one half.

    (#{positive above negative} + #{tied} / 2) / (#positives * #negatives)

  43 million float32 rows need about 0.3 GB besides the input where few are
  positive, and 1 GB where half are.

  >>> from esmm_jax.metrics.ranking import auc
  >>> auc([3.0, 2.0, 1.0, 1.0], [1, 0, 1, 0])  # 2 + 1/2 of 4 pairs
  0.625

  Args:
    scores: float32 or float64 [n], log-odds or probabilities, infinities
      allowed. Any other number type is converted to float64.
    labels: 0 or 1 [n], any number type or bool.
    where: 0 or 1 [n], the rows that count; default all. The other rows may
      hold anything, nan too.

  Returns:
    The AUC, in [0, 1]; nan where a class is absent.

  Raises:
    InputError: a score is nan, a label or `where` is neither 0 nor 1, or the
      arrays are not one-dimensional of one length.
  """
  return Classes.of(scores, labels, where).auc()


def weighted_auc(
    scores: Array, positive_weight: Array, negative_weight: Array
) -> float:
  """Computes the AUC where each example is partly positive, partly negative.

    sum_{i != j} p_i n_j ([s_i > s_j] + [s_i = s_j] / 2) / sum_{i != j} p_i n_j

  With p = r, the true probability of each example, and n = 1 - r, this is the
  AUC against the true probabilities: numerator and denominator are the
  expectations of those of `auc` over independent labels drawn from r. The
  pairs i = j are excluded because no example is compared with itself. The
  weights 0 and 0 exclude a row.

  >>> from esmm_jax.metrics.ranking import weighted_auc
  >>> weighted_auc([1.0, 0.0], [0.75, 0.25], [0.25, 0.75])
  0.9

  Args:
    scores: See `auc`.
    positive_weight: float [n], p, finite and not negative.
    negative_weight: float [n], n, finite and not negative.

  Returns:
    The weighted AUC, in [0, 1]; nan where no pair has weight.

  Raises:
    InputError: a score is nan, a weight is negative or not finite, or the
      arrays are not one-dimensional of one length.
  """
  scores, p, n = same_length(
      scores=scores,
      positive_weight=positive_weight,
      negative_weight=negative_weight,
  )
  scores = checked_scores(scores)
  p, n = p.astype(np.float64), n.astype(np.float64)
  for name, weight in (('positive_weight', p), ('negative_weight', n)):
    if not np.all((weight >= 0) & (weight < np.inf)):
      raise InputError(f'{name} must be finite and not negative.')
  order = np.argsort(scores)
  scores, p, n = scores[order], p[order], n[order]
  starts = run_starts(scores)
  ties = np.diff(starts, append=len(scores))
  # Each pair is met once, at its later row: earlier rows score lower or tie.
  p_before, n_before = _sums_before(p), _sums_before(n)
  p_below = np.repeat(p_before[starts], ties)
  n_below = np.repeat(n_before[starts], ties)
  total = np.sum(p * n_before + n * p_before)
  # Rows below: p n_below. Ties: half of p (n_before - n_below), and the other
  # way around n (p_before - p_below).
  wins = np.sum(p * (n_before + n_below) + n * (p_before - p_below)) / 2
  return float(wins / total) if total > 0 else float('nan')


class GroupedAuc(NamedTuple):
  """Result of `grouped_auc`.

  Attributes:
    value: Mean AUC of the groups that hold both classes, each weighted by its
      rows; nan where there is no such group.
    coverage: Share of the rows that lie in those groups, in [0, 1]; 0 where
      there are no rows.
    num_groups: Number of those groups.
  """

  value: float
  coverage: float
  num_groups: int


def grouped_auc(
    scores: Array, labels: Array, groups: Array, where: Array | None = None
) -> GroupedAuc:
  """Computes the mean AUC of the groups, weighted by impressions (GAUC).

  Groups are users or sessions, whose rows are ranked against each other when
  served. A group of one class has no AUC and is skipped. Read the value
  together with its coverage: conversions are so rare that few groups hold both
  classes.

  >>> from esmm_jax.metrics.ranking import grouped_auc
  >>> scores, labels = [2.0, 1.0, 5.0, 4.0, 9.0], [1, 0, 0, 1, 1]
  >>> grouped_auc(scores, labels, groups=[7, 7, 8, 8, 9])
  GroupedAuc(value=0.5, coverage=0.8, num_groups=2)

  Args:
    scores: See `auc`.
    labels: See `auc`.
    groups: Integers or strings [n], the group of each row. Floats are refused:
      float32 cannot tell ids above 2 ** 24 apart.
    where: See `auc`.

  Returns:
    Value, coverage and number of groups.

  Raises:
    InputError: as for `auc`, or the groups are neither integers nor strings.

  References:
    Zhou et al. Deep Interest Network for Click-Through Rate Prediction. KDD
      2018. (The user-weighted AUC of its experiments; weights are impressions.)
  """
  scores, groups = same_length(scores=scores, groups=groups)
  if groups.dtype.kind not in 'iubUS':
    raise InputError(
        f'groups must be integers or strings, they are {groups.dtype}.'
    )
  scores, positive, groups = scored_rows(scores, labels, where, groups)
  packed = packing.packed(scores, positive, groups)
  if packed is None:
    order = np.lexsort((scores, groups))
    scores, positive, groups = scores[order], positive[order], groups[order]
    runs = run_starts(groups, scores)
  else:
    packed.sort()
    positive = packed.astype(np.uint8) & 1
    packed >>= 1
    runs = run_starts(packed)
    groups = packed >> 32
  # From rows to runs of equal group and score, then from runs to groups.
  pos = np.add.reduceat(positive, runs, dtype=np.int64)
  neg = np.diff(runs, append=len(scores)) - pos
  return grouped_auc_of_counts(pos, neg, groups[runs])


def grouped_auc_of_counts(
    positives: Array, negatives: Array, groups: Array
) -> GroupedAuc:
  """Computes `grouped_auc` from the rows of each group and score, counted.

  Counts of parts of a log may be added up first. All sums are exact, of more
  than 2 ** 32 rows too.

  >>> from esmm_jax.metrics.ranking import grouped_auc_of_counts
  >>> grouped_auc_of_counts([1, 2], [2, 1], groups=[7, 7]).value
  0.6666666666666666

  Args:
    positives: int64 [k], positive rows of a group and a score, by group and
      then by rising score.
    negatives: int64 [k], the negative ones.
    groups: Integers or strings [k], those of one group in succession.
  """
  pos, neg = (np.asarray(x, np.int64) for x in (positives, negatives))
  if not len(pos):
    return GroupedAuc(float('nan'), 0.0, 0)
  firsts = run_starts(np.asarray(groups))
  group_pos, group_neg = (np.add.reduceat(x, firsts) for x in (pos, neg))
  if float(group_pos.max()) * float(group_neg.max()) >= 2.0**61:
    # Twice the pairs of a group may pass 2 ** 63: Python's integers.
    pos, neg, group_pos, group_neg = (
        x.astype(object) for x in (pos, neg, group_pos, group_neg)
    )
  neg_before = _sums_before(neg)
  below = neg_before - np.repeat(
      neg_before[firsts], np.diff(firsts, append=len(pos))
  )
  twice_wins = np.add.reduceat(pos * (2 * below + neg), firsts)
  both = (group_pos > 0) & (group_neg > 0)
  if not both.any():
    return GroupedAuc(float('nan'), 0.0, 0)
  rows = (group_pos + group_neg).astype(np.int64)
  group_auc = twice_wins[both] / (2 * group_pos[both] * group_neg[both])
  return GroupedAuc(
      float(np.average(group_auc.astype(np.float64), weights=rows[both])),
      float(rows[both].sum() / rows.sum()),
      int(both.sum()),
  )


def _sums_before(values: np.ndarray) -> np.ndarray:
  """Computes the sum of the values before each one."""
  sums = np.zeros_like(values)
  np.cumsum(values[:-1], out=sums[1:])
  return sums
