"""Metrics of predicted probabilities against the true ones.

True probabilities are known only where a simulator drew the labels from them.
These metrics measure how far a model is from the best that any model could be,
without the noise of drawing labels. All sums are in float64.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import special

from esmm_jax.metric_names import DECILE_BIASES, DECILE_RATIOS, LARGEST_BIAS
from esmm_jax.metrics.checks import divide, equal_mass_bins, float_rows
from esmm_jax.metrics.checks import mean_or_nan
from esmm_jax.metrics.ranking import weighted_auc
from esmm_jax.types import Array, InputError


def kl_divergence(
    true_p: Array, logits: Array, where: Array | None = None
) -> float:
  """Computes the mean KL(Bernoulli(true) || Bernoulli(predicted)) in nats.

    mean of p log p + (1 - p) log(1 - p) + p softplus(-z) + (1 - p) softplus(z)

  It is the expected log loss minus the least possible one, and so the part of
  the log loss that a better model could remove.

  >>> from esmm_jax.metrics.truth import kl_divergence
  >>> kl_divergence([1.0, 0.5], [0.0, 0.0])  # log(2) / 2
  0.34657359027997264

  Args:
    true_p: float [n], p, the true probability, in [0, 1].
    logits: float [n], z, predicted log-odds, infinities allowed.
    where: See `probability.log_loss`.

  Returns:
    The mean, at least 0, rounded at about 1e-16 of the cross-entropy; inf where
    an infinite logit rules out an event that may happen; nan where no row
    counts.

  Raises:
    InputError: a logit is nan, `true_p` is outside [0, 1], `where` is neither
      0 nor 1, or the arrays are not one-dimensional of one length.
  """
  true_p, logits = float_rows(where, true_p=true_p, logits=logits)
  _require_probability('true_p', true_p)
  negative_entropy = -special.entr(true_p) - special.entr(1 - true_p)
  cross_entropy = _multiply(true_p, np.logaddexp(0, -logits)) + _multiply(
      1 - true_p, np.logaddexp(0, logits)
  )
  # Near the truth the two cancel; rounding must not make a row negative.
  return mean_or_nan(np.maximum(negative_entropy + cross_entropy, 0))


def mean_ratio(
    predicted: Array, true: Array, where: Array | None = None
) -> float:
  """Divides the mean predicted probability by the mean true probability.

  It is `probability.calibration` without the noise of drawing labels.

  >>> from esmm_jax.metrics.truth import mean_ratio
  >>> mean_ratio([0.5, 0.25], [0.25, 0.25])
  1.5

  Args:
    predicted: float [n], probabilities (not log-odds).
    true: float [n], probabilities.
    where: See `probability.log_loss`.

  Returns:
    The ratio. Where the true mean is 0: inf, or nan where the predicted mean
    is 0 too or no row counts.

  Raises:
    InputError: a value is nan or outside [0, 1], `where` is neither 0 nor 1,
      or the arrays are not one-dimensional of one length.
  """
  predicted, true = float_rows(where, predicted=predicted, true=true)
  _require_probability('predicted', predicted)
  _require_probability('true', true)
  return divide(predicted.sum(), true.sum())


class BinnedRatio(NamedTuple):
  """Result of `ratio_by_decile`, one entry for each bin, by rising `by`.

  Attributes:
    ratio: float64 [num_bins], mean predicted over mean true, as `mean_ratio`
      of the bin's rows.
    count: int64 [num_bins], rows of the bin.
    bias: float64 [num_bins], mean predicted minus mean true of the bin's rows;
      nan where there are none.
  """

  ratio: np.ndarray
  count: np.ndarray  # type: ignore[assignment] # No method of a tuple.
  bias: np.ndarray


def ratio_by_decile(
    predicted: Array,
    true: Array,
    by: Array,
    num_bins: int = 10,
    where: Array | None = None,
) -> BinnedRatio:
  """Computes ratio and difference of means within bins of another quantity.

  The bins have equal mass. With `by` the true click probability they show the
  bias of a model trained on
  clicked rows: rows that are rarely clicked are rare in its training set.

  >>> from esmm_jax.metrics.truth import ratio_by_decile
  >>> bins = ratio_by_decile([0.4, 0.1], [0.2, 0.2], by=[0.9, 0.3], num_bins=2)
  >>> bins.ratio.tolist(), bins.count.tolist()
  ([0.5, 2.0], [1, 1])
  >>> bins.bias.tolist()
  [-0.1, 0.2]

  Args:
    predicted: See `mean_ratio`.
    true: See `mean_ratio`.
    by: float [n], the quantity that rows are sorted by. Rows of one value share
      a bin, as in `probability.expected_calibration_error`.
    num_bins: Number of bins, at least 1.
    where: See `probability.log_loss`.

  Returns:
    Ratio, row count and bias of each bin.

  Raises:
    InputError: as for `mean_ratio`, `by` holds nan, or `num_bins` is below 1.
  """
  predicted, true, by = float_rows(
      where, predicted=predicted, true=true, by=by
  )
  _require_probability('predicted', predicted)
  _require_probability('true', true)
  bins = equal_mass_bins(by, num_bins)
  count = np.bincount(bins, minlength=num_bins)
  sums = [
      np.bincount(bins, weights=x, minlength=num_bins)
      for x in (predicted, true)
  ]
  ratio = [divide(*pair) for pair in zip(*sums, strict=True)]
  # Row by row, for the two sums are nearly equal.
  excess = np.bincount(bins, weights=predicted - true, minlength=num_bins)
  bias = np.full(num_bins, np.nan)
  np.divide(excess, count, out=bias, where=count > 0)
  return BinnedRatio(np.array(ratio), count, bias)


def against_truth(
    name: str, logits: Array, truth: Mapping[str, Array], clicked: Array
) -> dict[str, float]:
  """Compares pCVR over all impressions with P(conversion | do(click), x).

  Args:
    name: `cvr`, or another event after the click.
    logits: float32 [n].
    truth: `p_NAME` and `p_ctr`, [n].
    clicked: bool [n].

  Returns:
    `cvr_entire/auc` (against the probabilities, so without label noise), `kl`
    (mean, nats), `ratio` (mean predicted over mean true) over all rows, the
    clicked and the others, and by decile of the true pCTR, lowest first; `bias`
    (mean predicted minus mean true) by decile too, and the largest of the ten
    without its sign, nan where no decile has rows.
  """
  true = np.asarray(truth[f'p_{name}'], np.float64)
  # The sigmoid, but not scipy's expit: its last bit differs, and results stay
  # what earlier versions wrote.
  x = np.asarray(logits, np.float64)
  small = np.exp(-np.abs(x))
  predicted = np.where(x >= 0, 1.0, small) / (1.0 + small)
  metrics = {
      'auc': weighted_auc(logits, true, 1.0 - true),
      'kl': kl_divergence(true, logits),
      'ratio': mean_ratio(predicted, true),
      'ratio_clicked': mean_ratio(predicted, true, clicked),
      'ratio_unclicked': mean_ratio(predicted, true, ~clicked),
  }
  deciles = ratio_by_decile(predicted, true, np.asarray(truth['p_ctr']))
  metrics |= dict(zip(DECILE_RATIOS, map(float, deciles.ratio), strict=True))
  metrics |= dict(zip(DECILE_BIASES, map(float, deciles.bias), strict=True))
  largest = np.abs(deciles.bias[deciles.count > 0]).max(initial=-np.inf)
  metrics[LARGEST_BIAS] = float(largest) if largest >= 0 else float('nan')
  return {f'{name}_entire/{key}': value for key, value in metrics.items()}


def _require_probability(name: str, values: np.ndarray) -> None:
  if not np.all((values >= 0) & (values <= 1)):
    raise InputError(f'{name} must be probabilities, in [0, 1].')


def _multiply(weight: np.ndarray, values: np.ndarray) -> np.ndarray:
  """Computes weight * values; 0 where the weight is 0, even of an inf."""
  return np.multiply(
      weight, values, out=np.zeros_like(values), where=weight > 0
  )
