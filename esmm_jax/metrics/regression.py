"""Metrics of predicted values, such as watch time, against labels.

Each metric is function(values, labels, where) -> float, as those of `METRICS`
with values instead of log-odds. All sums are in float64.
"""

from esmm_jax.metrics import Metric
from esmm_jax.metrics.checks import float_rows, mean_or_nan
from esmm_jax.plugins.registry import function_of, Registry
from esmm_jax.types import Array
import numpy as np
import scipy  # Imports `stats` when it is asked for.


def mean_squared_error(
    values: Array, labels: Array, where: Array | None = None
) -> float:
  """Computes the mean of (value - label)^2, in the label's unit squared.

  >>> from esmm_jax.metrics.regression import mean_squared_error
  >>> mean_squared_error([1.0, 3.0], [1.0, 1.0])
  2.0

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
  return mean_or_nan(np.square(values - labels))


def mean_absolute_error(
    values: Array, labels: Array, where: Array | None = None
) -> float:
  """Computes the mean of |value - label|, in the label's unit.

  Arguments, result and errors are those of `mean_squared_error`.

  >>> from esmm_jax.metrics.regression import mean_absolute_error
  >>> mean_absolute_error([1.0, 3.0], [1.0, 1.0])
  1.0
  """
  values, labels = _rows(values, labels, where)
  return mean_or_nan(np.abs(values - labels))


def r_squared(
    values: Array, labels: Array, where: Array | None = None
) -> float:
  """Computes 1 - MSE / variance of the labels.

  Predicting the labels' mean gives 0, exact predictions give 1. Arguments and
  errors are those of `mean_squared_error`.

  >>> from esmm_jax.metrics.regression import r_squared
  >>> r_squared([1.0, 2.0], [0.0, 2.0])
  0.5

  Returns:
    R squared; nan where no row counts or all labels are equal.
  """
  values, labels = _rows(values, labels, where)
  variance = float(labels.var()) if len(labels) else 0.0
  if not variance > 0:
    return float('nan')
  return 1.0 - mean_or_nan(np.square(values - labels)) / variance


def rank_correlation(
    values: Array, labels: Array, where: Array | None = None
) -> float:
  """Computes Spearman's rank correlation, ties with their mid-rank.

  Arguments and errors are those of `mean_squared_error`.

  >>> from esmm_jax.metrics.regression import rank_correlation
  >>> round(rank_correlation([1.0, 2.0, 3.0], [1.0, 9.0, 4.0]), 12)
  0.5

  Returns:
    The correlation; nan where one side is constant or fewer than two rows
    count.
  """
  values, labels = _rows(values, labels, where)
  if len(values) < 2 or np.ptp(values) == 0 or np.ptp(labels) == 0:
    return float('nan')
  return float(scipy.stats.spearmanr(values, labels).statistic)


def value_calibration(
    values: Array, labels: Array, where: Array | None = None
) -> float:
  """Divides the sum of predictions by the sum of labels.

  Arguments and errors are those of `mean_squared_error`.

  >>> from esmm_jax.metrics.regression import value_calibration
  >>> value_calibration([3.0, 3.0], [1.0, 3.0])
  1.5

  Returns:
    The ratio; nan where the labels' sum is 0.
  """
  values, labels = _rows(values, labels, where)
  total = labels.sum()
  return float(values.sum() / total) if total else float('nan')


# Plugins add to it.
REGRESSION_METRICS: Registry[Metric] = Registry(
    'REGRESSION_METRICS',
    {
        'mse': mean_squared_error,
        'mae': mean_absolute_error,
        'r2': r_squared,
        'rank_correlation': rank_correlation,
        'calibration': value_calibration,
    },
    function_of('values', 'labels', 'where'),
)


def _rows(
    values: Array, labels: Array, where: Array | None
) -> list[np.ndarray]:
  """Selects the rows that count, in float64; InputError unless finite."""
  return float_rows(where, is_finite=True, values=values, labels=labels)
