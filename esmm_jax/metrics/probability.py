"""Metrics of predicted probabilities against labels.

Predictions are log-odds: the logarithm of a rounded probability is wrong or
infinite in the tails, that of a sigmoid of log-odds is exact. All sums are in
float64.

References:
  He et al. Practical Lessons from Predicting Clicks on Ads at Facebook. ADKDD
    2014. (Normalized entropy, eq. 1, and calibration, section 2.1.)
"""

import numpy as np
from scipy import special

from esmm_jax.metrics.checks import divide, equal_mass_bins, float_rows, is_one
from esmm_jax.metrics.checks import mean_or_nan
from esmm_jax.types import Array


def log_loss(
    logits: Array, labels: Array, where: Array | None = None
) -> float:
  """Computes the mean binary cross-entropy in nats.

    mean of softplus(-z) for label 1 and softplus(z) for label 0,
    softplus(x) = log(1 + exp(x))

  >>> from esmm_jax.metrics.probability import log_loss
  >>> log_loss([0.0, 0.0], [1, 0])  # log 2
  0.6931471805599453

  Args:
    logits: float [n], z, log-odds of the label being 1, infinities allowed.
    labels: 0 or 1 [n], any number type or bool.
    where: 0 or 1 [n], the rows that count; default all. The other rows may
      hold anything, nan too.

  Returns:
    The mean; nan where no row counts.

  Raises:
    InputError: a logit is nan, a label or `where` is neither 0 nor 1, or the
      arrays are not one-dimensional of one length.
  """
  logits, labels = _logits_and_labels(logits, labels, where)
  return mean_or_nan(np.logaddexp(0, np.where(labels == 1, -logits, logits)))


def normalized_entropy(
    logits: Array, labels: Array, where: Array | None = None
) -> float:
  """Divides the log loss by the entropy of the base rate.

  He et al. 2014, eq. 1. Predicting the base rate for every row gives 1; lower
  is better. The base rate is that of the rows scored, not of the training rows.

  >>> from esmm_jax.metrics.probability import normalized_entropy
  >>> normalized_entropy([0.0, 0.0], [1, 0])
  1.0

  Args:
    logits: See `log_loss`.
    labels: See `log_loss`.
    where: See `log_loss`.

  Returns:
    The ratio; nan where a class is absent (the entropy is 0) or no row counts.

  Raises:
    InputError: as for `log_loss`.
  """
  logits, labels = _logits_and_labels(logits, labels, where)
  base_rate = mean_or_nan(labels)
  if not 0 < base_rate < 1:
    return float('nan')
  entropy = special.entr(base_rate) + special.entr(1 - base_rate)
  return log_loss(logits, labels) / float(entropy)


def calibration(
    logits: Array, labels: Array, where: Array | None = None
) -> float:
  """Divides the sum of predicted probabilities by the number of positives.

  Above 1 the model predicts too many. Also called PCOC (predicted click over
  click). It is one number for all rows: errors of opposite sign cancel, see
  `expected_calibration_error`.

  >>> from esmm_jax.metrics.probability import calibration
  >>> calibration([0.0, 0.0, 0.0, 0.0], [1, 0, 0, 0])  # 4 x 0.5 over 1
  2.0

  Args:
    logits: See `log_loss`.
    labels: See `log_loss`.
    where: See `log_loss`.

  Returns:
    The ratio. Without a positive: inf, or nan where the predicted sum is 0 too
    (no rows, or every sigmoid rounds to 0).

  Raises:
    InputError: as for `log_loss`.
  """
  logits, labels = _logits_and_labels(logits, labels, where)
  return divide(special.expit(logits).sum(), labels.sum())


def expected_calibration_error(
    logits: Array,
    labels: Array,
    where: Array | None = None,
    num_bins: int = 20,
) -> float:
  """Computes the mean gap between predicted and observed rate (ECE).

    sum_b (n_b / n) |mean predicted in b - mean label in b|

  over bins of equal mass: rows are sorted by logit and cut into bins of
  n / num_bins rows. Rows of one logit always share a bin, that of their middle
  rank, so the value does not depend on the order of the rows. With many ties
  bins become unequal, and some may be empty; those count for nothing.

  >>> from esmm_jax.metrics.probability import expected_calibration_error
  >>> expected_calibration_error([0.0, 0.0], [1, 1])  # |0.5 - 1|
  0.5

  Args:
    logits: See `log_loss`.
    labels: See `log_loss`.
    where: See `log_loss`.
    num_bins: Number of bins, at least 1.

  Returns:
    The error, in [0, 1]; nan where no row counts.

  Raises:
    InputError: as for `log_loss`, or `num_bins` is below 1.
  """
  logits, labels = _logits_and_labels(logits, labels, where)
  bins = equal_mass_bins(logits, num_bins)
  if not len(bins):
    return float('nan')
  gap = np.bincount(bins, weights=special.expit(logits) - labels)
  return float(np.abs(gap).sum() / len(bins))


def _logits_and_labels(
    logits: Array, labels: Array, where: Array | None
) -> list[np.ndarray]:
  """Selects the rows that count, in float64; InputError on bad input."""
  logits, labels = float_rows(where, logits=logits, labels=labels)
  is_one('labels', labels)
  return [logits, labels]
