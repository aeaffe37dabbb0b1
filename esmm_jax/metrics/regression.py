"""How good predicted values are: watch time, say.

Each metric is function(values, labels, where) -> float, as those of `METRICS`
with values in place of log-odds. All sums are in float64.
"""

from collections.abc import Callable

from esmm_jax.metrics.checks import is_one, same_length
from esmm_jax.types import Array, InputError
import numpy as np
from scipy import stats


def mean_squared_error(
    values: Array, labels: Array, where: Array | None = None
) -> float:
  """mean (value - label)^2, in the label's unit squared.

  Args:
    values: float [n], predictions.
    labels: float [n].
    where: 0 or 1 [n], the rows that count; default all.

  Returns:
    The mean; nan where no row counts.

  Raises:
    InputError: Something is not finite, or the arrays are not [n] of one n.
  """
  values, labels = _rows(values, labels, where)
  return _mean(np.square(values - labels))


def mean_absolute_error(
    values: Array, labels: Array, where: Array | None = None
) -> float:
  """mean |value - label|, in the label's unit; see `mean_squared_error`."""
  values, labels = _rows(values, labels, where)
  return _mean(np.abs(values - labels))


def r_squared(
    values: Array, labels: Array, where: Array | None = None
) -> float:
  """1 - MSE / variance of the labels: 0 is predicting their mean, 1 is exact.

  nan where no row counts or all labels are equal; see `mean_squared_error`.
  """
  values, labels = _rows(values, labels, where)
  spread = _mean(np.square(labels - labels.mean())) if len(labels) else 0.0
  if not spread > 0:
    return float('nan')
  return 1.0 - _mean(np.square(values - labels)) / spread


def rank_correlation(
    values: Array, labels: Array, where: Array | None = None
) -> float:
  """Spearman's rank correlation, ties with their mid-rank.

  nan where one side is constant or fewer than two rows count; see
  `mean_squared_error`.
  """
  values, labels = _rows(values, labels, where)
  if len(values) < 2 or np.ptp(values) == 0 or np.ptp(labels) == 0:
    return float('nan')
  return float(stats.spearmanr(values, labels).statistic)


def value_calibration(
    values: Array, labels: Array, where: Array | None = None
) -> float:
  """Sum of predictions over sum of labels; nan where the latter is 0."""
  values, labels = _rows(values, labels, where)
  total = labels.sum()
  return float(values.sum() / total) if total else float('nan')


REGRESSION_METRICS: dict[str, Callable[[Array, Array, Array | None], float]] = {
    'mse': mean_squared_error,
    'mae': mean_absolute_error,
    'r2': r_squared,
    'rank_correlation': rank_correlation,
    'calibration': value_calibration,
}


def _rows(
    values: Array, labels: Array, where: Array | None
) -> tuple[np.ndarray, np.ndarray]:
  """Both in float64, rows that count only."""
  if where is None:
    values, labels = same_length(values=values, labels=labels)
  else:
    values, labels, where = same_length(
        values=values, labels=labels, where=where
    )
    keep = is_one('where', where)
    values, labels = values[keep], labels[keep]
  values, labels = values.astype(np.float64), labels.astype(np.float64)
  for name, x in (('values', values), ('labels', labels)):
    if not np.isfinite(x).all():
      raise InputError(f'{name} must be finite.')
  return values, labels


def _mean(values: np.ndarray) -> float:
  return float(values.mean()) if len(values) else float('nan')
