"""Diagnostics of the weights that clicked rows have in a term of the loss.

An estimator that divides the loss of a clicked row by its propensity to be
clicked trains on few rows where few propensities are small: the sum is then
that of the rows with the largest weights. These numbers say how far it is.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

from esmm_jax.metrics.checks import divide, float_rows
from esmm_jax.types import Array, InputError
import numpy as np
from scipy import special

# In place of a propensity that vanishes; its inverse is a float32.
_VANISHING = 1e-30
# Label columns that are propensities to be clicked.
_PROPENSITIES = ('p_ctr', 'frozen_ctr')


class RowWeights(NamedTuple):
  """The weights that an estimator gives to clicked rows.

  Attributes:
    function: (p, labels) -> term -> weights [n], of clicked rows: `p` is task
      -> predicted probability float64 [n], `labels` are columns [n], those of
      `needs` among them.
    needs: Columns beside the labels of tasks without which there are no
      weights: true probabilities, or those of a frozen run.
  """

  function: Callable[
      [Mapping[str, Array], Mapping[str, Array]], Mapping[str, Array]
  ]
  needs: frozenset[str] = frozenset()

  @classmethod
  def of(cls, estimator: Any) -> Self | None:
    """Returns the weights of an estimator; None if it has none.

    Args:
      estimator: With `row_weights` and `needs`, options bound, as
        `estimators.contract.Bound` has them.
    """
    if estimator.row_weights is None:
      return None
    columns = {*estimator.needs.truth_labels}
    # On other frozen predictions, a teacher's, no weight depends.
    columns |= {'frozen_ctr'} if 'ctr' in estimator.needs.frozen else set()
    return cls(estimator.row_weights, frozenset(columns))

  def terms(self) -> list[str]:
    """Lists the terms that have weights."""
    nothing = _Zeros()
    return list(self.function(nothing, nothing))


class _Zeros(dict):
  """Columns of no row, by any name."""

  def __missing__(self, name: str) -> np.ndarray:
    return np.zeros(0)


def effective_sample_size(weights: Array, where: Array | None = None) -> float:
  """Computes (sum of w)^2 / sum of w^2, Kish's effective sample size.

  The number of rows of one weight whose mean would be as noisy. It does not
  change if all weights are multiplied by a number.

  >>> from esmm_jax.metrics.weights import effective_sample_size
  >>> effective_sample_size([2.0, 2.0, 2.0]), effective_sample_size([3.0, 1.0])
  (3.0, 1.6)

  Args:
    weights: float [n], finite, not negative.
    where: 0 or 1 [n], the rows that count; None: all.

  Returns:
    From 1 to the number of rows; nan where no row counts or all weights are 0.

  Raises:
    InputError: A weight is negative or not finite, `where` is neither 0 nor 1,
      or the arrays are not one-dimensional of one length.
  """
  (weights,) = _checked(where, weights=weights)
  # By a power of 2, which rounds nothing, so that no square overflows.
  weights = np.ldexp(weights, -np.frexp(weights.max(initial=0))[1])
  return divide(np.square(weights.sum()), np.square(weights).sum())


def effective_share(weights: Array, where: Array | None = None) -> float:
  """Divides `effective_sample_size` by the number of rows.

  >>> from esmm_jax.metrics.weights import effective_share
  >>> effective_share([3.0, 1.0])
  0.8

  Args:
    weights: See there.
    where: See there.

  Returns:
    In (0, 1]; nan where no row counts or all weights are 0.

  Raises:
    InputError: See there.
  """
  (rows,) = _checked(where, weights=weights)
  return effective_sample_size(rows) / max(len(rows), 1)


def largest_weight(weights: Array, where: Array | None = None) -> float:
  """Returns the largest weight; nan where no row counts.

  >>> from esmm_jax.metrics.weights import largest_weight
  >>> largest_weight([3.0, 1.0])
  3.0

  Args:
    weights: See `effective_sample_size`.
    where: See there.

  Raises:
    InputError: See there.
  """
  (weights,) = _checked(where, weights=weights)
  return float(weights.max()) if len(weights) else float('nan')


def share_at_limit(
    weights: Array, limits: Array, where: Array | None = None
) -> float:
  """Computes the share of rows whose weight is the largest it could be.

  >>> from esmm_jax.metrics.weights import share_at_limit
  >>> share_at_limit([100.0, 4.0], [100.0, 100.0])
  0.5

  Args:
    weights: See `effective_sample_size`.
    limits: float [n], the weight that each row would have if its propensity
      vanished: with a floor, or a cap, the largest one.
    where: See `effective_sample_size`.

  Returns:
    In [0, 1]; nan where no row counts.

  Raises:
    InputError: See there.
  """
  weights, limits = _checked(where, weights=weights, limits=limits)
  return divide(np.count_nonzero(weights >= limits), len(weights))


def _checked(where: Array | None, **columns: Array) -> list[np.ndarray]:
  """Returns the rows that count; refuses what cannot be a weight."""
  arrays = float_rows(where, is_finite=True, **columns)
  for name, values in zip(columns, arrays, strict=True):
    if (values < 0).any():
      raise InputError(f'{name} must not be negative.')
  return arrays


# Name -> function(weights, where) -> float; `metric_names.WEIGHTS` has these
# and `at_floor`.
WEIGHT_METRICS: Mapping[str, Callable[[Array, Array | None], float]] = {
    'ess': effective_sample_size,
    'ess_share': effective_share,
    'weight_max': largest_weight,
}


def clicked_rows(
    row_weights: RowWeights,
    outputs: Mapping[str, Array],
    columns: Mapping[str, Array],
) -> dict[str, float]:
  """Computes the diagnostics of each term that weights the clicked rows.

  A row is at the floor if its weight would stay as it is, were its propensity
  as small as can be; so floor and cap need no names here. Weights that do not
  depend on the propensity have no floor, and no share of rows there.

  >>> import numpy as np
  >>> from esmm_jax.metrics.weights import clicked_rows, RowWeights
  >>> inverse = RowWeights(lambda p, labels: {
  ...     'cvr_ips': 1 / np.maximum(p['ctr'], 0.2)})
  >>> logits = {'ctr': np.array([0.0, 0.0, -9.0, 5.0])}
  >>> clicked_rows(inverse, logits, {'click': [1, 1, 1, 0]})  # w = 2, 2, 5
  {'cvr_ips/ess': 2.4545454545454546, 'cvr_ips/ess_share': 0.8181818181818182, \
'cvr_ips/weight_max': 5.0, 'cvr_ips/at_floor': 0.3333333333333333}

  Args:
    row_weights: Of the estimator.
    outputs: Task -> log-odds, float32 [n].
    columns: `click`, 0 or 1 [n], the other labels and what `row_weights` needs.

  Returns:
    `TERM/ess`, `TERM/ess_share` (of the clicked rows), `TERM/weight_max` and
    `TERM/at_floor`; nan without a clicked row, and for the last where all
    weights are 1, say.

  Raises:
    InputError: A weight is negative or not finite.
  """
  clicked = np.asarray(columns['click']) == 1
  num = np.count_nonzero(clicked)
  labels = {k: np.asarray(v)[clicked] for k, v in columns.items()}
  p = {
      name: special.expit(np.asarray(logits)[clicked].astype(np.float64))
      for name, logits in outputs.items()
  }

  def weights_at(propensity: float) -> Mapping[str, Array]:
    same = np.full(num, propensity)
    columns = {k: same for k in _PROPENSITIES if k in labels}
    return row_weights.function(p | {'ctr': same}, labels | columns)

  weights = row_weights.function(p, labels)
  limits, least = weights_at(_VANISHING), weights_at(1.0)
  metrics = {}
  for term, values in weights.items():
    for name, metric in WEIGHT_METRICS.items():
      metrics[f'{term}/{name}'] = metric(values, None)
    differ = np.asarray(limits[term]) != np.asarray(least[term])
    at_floor = share_at_limit(values, limits[term], differ)
    metrics[f'{term}/at_floor'] = at_floor
  return metrics
