"""How good predicted probabilities are: against labels, and against the truth.

Labels are what every data set has. The true probabilities are known only where
a simulator drew the labels from them; there `kl_divergence` and the ratios say
how far a model is from the best that any model could do.

Predictions are taken as log-odds wherever a logarithm is formed: the logarithm
of a rounded probability is wrong or infinite in the tails, that of a sigmoid
of log-odds is exact. All sums are in float64.

References:
  He et al. Practical Lessons from Predicting Clicks on Ads at Facebook. ADKDD
    2014. (Normalized entropy, eq. 1, and calibration, section 2.1.)
"""

from typing import NamedTuple

import numpy as np
from scipy import special

from esmm_jax.metrics.checks import is_one, same_length
from esmm_jax.types import Array, InputError


def log_loss(
    logits: Array, labels: Array, where: Array | None = None
) -> float:
  """Mean binary cross-entropy in nats.

    mean of softplus(-z) for label 1 and softplus(z) for label 0,
    softplus(x) = log(1 + exp(x))

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
  return _mean(_softplus(np.where(labels == 1, -logits, logits)))


def normalized_entropy(
    logits: Array, labels: Array, where: Array | None = None
) -> float:
  """Log loss over the entropy of the base rate; He et al. 2014, eq. 1.

  1 is what predicting the base rate for every row gives, lower is better. The
  base rate is that of the rows scored, not of the training rows.

  Args:
    logits: As for `log_loss`.
    labels: As for `log_loss`.
    where: As for `log_loss`.

  Returns:
    The ratio; nan where a class is absent (the entropy is 0) or no row counts.

  Raises:
    InputError: as for `log_loss`.
  """
  logits, labels = _logits_and_labels(logits, labels, where)
  base_rate = _mean(labels)
  if not 0 < base_rate < 1:
    return float('nan')
  entropy = special.entr(base_rate) + special.entr(1 - base_rate)
  return log_loss(logits, labels) / float(entropy)


def calibration(
    logits: Array, labels: Array, where: Array | None = None
) -> float:
  """Expected over observed positives: sum of predicted / sum of labels.

  Above 1 the model predicts too many. Also called PCOC (predicted click over
  click). One number for all rows: errors of opposite sign cancel, see
  `expected_calibration_error`.

  Args:
    logits: As for `log_loss`.
    labels: As for `log_loss`.
    where: As for `log_loss`.

  Returns:
    The ratio. Without a positive: inf, or nan where the predicted sum is 0 too
    (no rows, or every sigmoid rounds to 0).

  Raises:
    InputError: as for `log_loss`.
  """
  logits, labels = _logits_and_labels(logits, labels, where)
  return _ratio(special.expit(logits).sum(), labels.sum())


def expected_calibration_error(
    logits: Array,
    labels: Array,
    where: Array | None = None,
    num_bins: int = 20,
) -> float:
  """Mean gap between predicted and observed rate, over bins of equal mass.

    sum_b (n_b / n) |mean predicted in b - mean label in b|

  Rows are sorted by logit and cut into bins of n / num_bins rows. Rows of one
  logit always share a bin, that of their middle rank, so the value does not
  depend on the order of the rows. With many ties bins become unequal, and some
  may be empty; those count for nothing.

  Args:
    logits: As for `log_loss`.
    labels: As for `log_loss`.
    where: As for `log_loss`.
    num_bins: Number of bins, at least 1.

  Returns:
    The error, in [0, 1]; nan where no row counts.

  Raises:
    InputError: as for `log_loss`, or `num_bins` is below 1.
  """
  logits, labels = _logits_and_labels(logits, labels, where)
  bins = _equal_mass_bins(logits, num_bins)
  if not len(bins):
    return float('nan')
  gap = np.bincount(bins, weights=special.expit(logits) - labels)
  return float(np.abs(gap).sum() / len(bins))


def kl_divergence(
    true_p: Array, logits: Array, where: Array | None = None
) -> float:
  """Mean KL(Bernoulli(true) || Bernoulli(predicted)) in nats.

    mean of p log p + (1 - p) log(1 - p) + p softplus(-z) + (1 - p) softplus(z)

  It is the expected log loss minus the least possible one, and so the part of
  the log loss that a better model could remove.

  Args:
    true_p: float [n], p, the true probability, in [0, 1].
    logits: float [n], z, predicted log-odds, infinities allowed.
    where: As for `log_loss`.

  Returns:
    The mean, at least 0, rounded at about 1e-16 of the cross-entropy; inf where
    an infinite logit rules out what may happen; nan where no row counts.

  Raises:
    InputError: a logit is nan, `true_p` is outside [0, 1], `where` is neither
      0 nor 1, or the arrays are not one-dimensional of one length.
  """
  true_p, logits = _rows(where, true_p=true_p, logits=logits)
  _require_probability('true_p', true_p)
  negative_entropy = -special.entr(true_p) - special.entr(1 - true_p)
  cross_entropy = _weighted(true_p, _softplus(-logits)) + _weighted(
      1 - true_p, _softplus(logits)
  )
  # Near the truth the two cancel; rounding must not make a row negative.
  return _mean(np.maximum(negative_entropy + cross_entropy, 0))


def mean_ratio(
    predicted: Array, true: Array, where: Array | None = None
) -> float:
  """Mean predicted probability over mean true probability.

  The calibration ratio without the noise of drawing labels.

  Args:
    predicted: float [n], probabilities (not log-odds).
    true: float [n], probabilities.
    where: As for `log_loss`.

  Returns:
    The ratio. Where the true mean is 0: inf, or nan where the predicted mean
    is 0 too or no row counts.

  Raises:
    InputError: a value is nan or outside [0, 1], `where` is neither 0 nor 1,
      or the arrays are not one-dimensional of one length.
  """
  predicted, true = _rows(where, predicted=predicted, true=true)
  _require_probability('predicted', predicted)
  _require_probability('true', true)
  return _ratio(predicted.sum(), true.sum())


class BinnedRatio(NamedTuple):
  """Result of `ratio_by_decile`, one entry for each bin, by rising `by`.

  Attributes:
    ratio: float64 [num_bins], mean predicted over mean true, as `mean_ratio`
      of the bin's rows; nan in an empty bin.
    count: int64 [num_bins], rows of the bin.
  """

  ratio: np.ndarray
  count: np.ndarray


def ratio_by_decile(
    predicted: Array,
    true: Array,
    by: Array,
    num_bins: int = 10,
    where: Array | None = None,
) -> BinnedRatio:
  """`mean_ratio` within bins of equal mass of another quantity.

  With `by` the true click probability it shows the bias of a model trained on
  clicked rows: rows that are rarely clicked are rarely seen in training.

  Args:
    predicted: As for `mean_ratio`.
    true: As for `mean_ratio`.
    by: float [n], what the rows are sorted by. Rows of one value share a bin,
      as in `expected_calibration_error`.
    num_bins: Number of bins, at least 1.
    where: As for `log_loss`.

  Returns:
    The ratio and row count of each bin.

  Raises:
    InputError: as for `mean_ratio`, `by` holds nan, or `num_bins` is below 1.
  """
  predicted, true, by = _rows(where, predicted=predicted, true=true, by=by)
  _require_probability('predicted', predicted)
  _require_probability('true', true)
  bins = _equal_mass_bins(by, num_bins)
  count = np.bincount(bins, minlength=num_bins)
  sums = [
      np.bincount(bins, weights=x, minlength=num_bins)
      for x in (predicted, true)
  ]
  ratio = [_ratio(*pair) for pair in zip(*sums, strict=True)]
  return BinnedRatio(np.array(ratio), count)


def _rows(where: Array | None, **columns: Array) -> list[np.ndarray]:
  """The columns in float64, rows that count only; InputError on bad input."""
  if where is not None:
    *values, where = same_length(**columns, where=where)
    keep = is_one('where', where)
    values = [x[keep] for x in values]
  else:
    values = same_length(**columns)
  arrays = dict(zip(columns, values, strict=True))
  for name, x in arrays.items():
    arrays[name] = x.astype(np.float64)
    if np.isnan(arrays[name]).any():
      raise InputError(f'{name} must not hold nan.')
  return list(arrays.values())


def _logits_and_labels(
    logits: Array, labels: Array, where: Array | None
) -> list[np.ndarray]:
  """Both in float64, rows that count only; InputError on bad input."""
  logits, labels = _rows(where, logits=logits, labels=labels)
  is_one('labels', labels)
  return [logits, labels]


def _require_probability(name: str, values: np.ndarray) -> None:
  if not np.all((values >= 0) & (values <= 1)):
    raise InputError(f'{name} must be probabilities, in [0, 1].')


def _softplus(x: np.ndarray) -> np.ndarray:
  return np.logaddexp(0, x)


def _weighted(weight: np.ndarray, values: np.ndarray) -> np.ndarray:
  """weight * values, and 0 where the weight is 0 even if the value is inf."""
  return np.multiply(
      weight, values, out=np.zeros_like(values), where=weight > 0
  )


def _mean(values: np.ndarray) -> float:
  return float(values.mean()) if len(values) else float('nan')


def _ratio(numerator: float, denominator: float) -> float:
  """The quotient; x / 0 is inf, 0 / 0 is nan."""
  if denominator > 0:
    return float(numerator / denominator)
  return float('inf') if numerator > 0 else float('nan')


def _equal_mass_bins(keys: np.ndarray, num_bins: int) -> np.ndarray:
  """int64 [n], the bin of each row: that of the middle rank of its ties."""
  if num_bins < 1:
    raise InputError(f'num_bins must be at least 1, it is {num_bins}.')
  _, key_of_row, ties = np.unique(
      keys, return_inverse=True, return_counts=True
  )
  # Twice the middle of ranks [end - ties, end), in integers: 2 end - ties.
  twice_middle = 2 * np.cumsum(ties) - ties
  return (twice_middle * num_bins // max(2 * len(keys), 1))[key_of_row]
