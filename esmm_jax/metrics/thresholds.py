"""Exact metrics over the thresholds of a score: precision, recall, KS.

AUC weighs all ranks alike. Where positive rows are rare and only the first
ranks are shown, sent or bought, these say more. None of them has bins, and rows
of one score are taken together, so the order of the rows does not matter.
"""

from collections.abc import Callable, Mapping

from esmm_jax.metrics.classes import Classes
from esmm_jax.types import Array, InputError

# Metric -> share of the rows that are taken.
BUDGETS = {'recall_at_1pct': 0.01, 'recall_at_10pct': 0.1}


def average_precision(
    scores: Array, labels: Array, where: Array | None = None
) -> float:
  """Computes the average precision, the area under precision and recall.

    sum over distinct scores s, from the highest:
    (recall at s - recall above s) * precision at s

  with the rows of a score of at least s. It is scikit-learn's
  `average_precision_score`: a step function without interpolation, which is too
  optimistic between two points. The base rate is what random scores have.

  >>> from esmm_jax.metrics.thresholds import average_precision
  >>> average_precision([3.0, 2.0, 1.0, 1.0], [1, 0, 1, 0])  # (1 + 2/4) / 2
  0.75

  Args:
    scores: See `ranking.auc`.
    labels: See there.
    where: See there.

  Returns:
    In (0, 1]; nan where a class is absent.

  Raises:
    InputError: See there.

  References:
    Davis, Goadrich. The relationship between precision-recall and ROC curves.
      ICML 2006. (Section 4, why not to interpolate.)
  """
  return Classes.of(scores, labels, where).average_precision()


def recall_at(
    share: float, scores: Array, labels: Array, where: Array | None = None
) -> float:
  """Computes the share of positive rows among the highest scores.

  The budget is `share` of the rows that count. Rows that tie at its edge are
  taken by chance, and the value is the expected one: of t such rows with q
  positives of which the budget holds b, q b / t count. A budget that is no
  whole number holds a part of a row.

  >>> from esmm_jax.metrics.thresholds import recall_at
  >>> recall_at(0.5, [3.0, 2.0, 2.0, 0.0], [1, 1, 0, 0])  # (1 + 1/2) / 2
  0.75

  Args:
    share: Of the rows, in (0, 1].
    scores: See `ranking.auc`.
    labels: See there.
    where: See there.

  Returns:
    In [0, 1]; nan where a class is absent.

  Raises:
    InputError: See there, or `share` is not in (0, 1].
  """
  if not 0 < share <= 1:
    raise InputError(f'share must be above 0 and at most 1, it is {share}.')
  return Classes.of(scores, labels, where).recall_at(share)


def recall_at_1pct(
    logits: Array, labels: Array, where: Array | None = None
) -> float:
  """Computes `recall_at` of the first 1 % of the rows; see there."""
  return recall_at(BUDGETS['recall_at_1pct'], logits, labels, where)


def recall_at_10pct(
    logits: Array, labels: Array, where: Array | None = None
) -> float:
  """Computes `recall_at` of the first 10 % of the rows; see there."""
  return recall_at(BUDGETS['recall_at_10pct'], logits, labels, where)


def ks(scores: Array, labels: Array, where: Array | None = None) -> float:
  """Computes the Kolmogorov-Smirnov distance of the two classes' scores.

    max over thresholds of |true positive rate - false positive rate|

  0 where both classes have the same scores, 1 where a threshold separates them,
  also one with the positive rows below.

  >>> from esmm_jax.metrics.thresholds import ks
  >>> ks([3.0, 2.0, 1.0, 1.0], [1, 0, 1, 0])
  0.5

  Args:
    scores: See `ranking.auc`.
    labels: See there.
    where: See there.

  Returns:
    In [0, 1]; nan where a class is absent.

  Raises:
    InputError: See there.
  """
  return Classes.of(scores, labels, where).ks()


# Metrics that take the scores sorted: each of `METRICS` by its name there.
OF_CLASSES: Mapping[str, Callable[[Classes], float]] = {
    'auc': Classes.auc,
    'auc_pr': Classes.average_precision,
    'recall_at_1pct': lambda c: c.recall_at(BUDGETS['recall_at_1pct']),
    'recall_at_10pct': lambda c: c.recall_at(BUDGETS['recall_at_10pct']),
    'ks': Classes.ks,
}
