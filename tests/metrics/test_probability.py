"""Probability metrics against formulas typed in Python, and what all share."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import sklearn.metrics

from esmm_jax.metrics import METRICS, probability
from esmm_jax.types import InputError

INF, NAN = float('inf'), float('nan')

LOGITS = st.sampled_from([-1e4, -40.0, -2.0, 0.0, 0.5, 3.0, 40.0, 1e4])
# No deadline: no test may fail because the machine is busy.
thorough = settings(max_examples=150, deadline=None)


def sigmoid(z):
  return 1 / (1 + math.exp(-z)) if z > -700 else 0.0


def log_sigmoid(z):
  """log(sigmoid(z)); the negative branch is the same formula times e^z."""
  return -math.log1p(math.exp(-z)) if z > 0 else z - math.log1p(math.exp(z))


def entropy(p):
  return -sum(q * math.log(q) for q in (p, 1 - p) if q > 0)


def mean(values):
  return math.fsum(values) / len(values)


def ordinary(num_rows=200, seed=0):
  """Logits, labels drawn from them, and a mask; float32 as a model gives."""
  rng = np.random.default_rng(seed)
  logits = rng.normal(-1, 2, num_rows).astype(np.float32)
  labels = (rng.random(num_rows) < 1 / (1 + np.exp(-logits))).astype(np.float32)
  where = (rng.random(num_rows) < 0.7).astype(np.float32)
  return logits, labels, where


# What every metric of METRICS keeps. A new one inherits these.

every_metric = pytest.mark.parametrize('metric', METRICS.values(), ids=METRICS)


@every_metric
def test_finite_on_ordinary_data(metric):
  logits, labels, where = ordinary()
  for mask in (None, where):
    value = metric(logits, labels, mask)
    assert type(value) is float
    assert math.isfinite(value)


@every_metric
def test_nan_on_nothing(metric):
  logits, labels, where = ordinary()
  assert math.isnan(metric(logits[:0], labels[:0], None))
  assert math.isnan(metric(logits, labels, 0 * where))


@every_metric
def test_masked_rows_never_matter(metric):
  logits, labels, where = ordinary()
  keep = where == 1
  expected = metric(logits[keep], labels[keep], None)
  assert metric(logits, labels, where) == expected
  assert metric(logits, labels, keep) == expected
  for junk in (NAN, INF, -INF, 7.0):
    logits[~keep] = labels[~keep] = junk
    assert metric(logits, labels, where) == expected


@every_metric
def test_order_of_rows_never_matters(metric):
  logits, labels, where = ordinary()
  logits = np.round(logits)  # Ties.
  expected = pytest.approx(metric(logits, labels, where), rel=1e-12)
  for seed in range(5):
    order = np.random.default_rng(seed).permutation(len(logits))
    assert metric(logits[order], labels[order], where[order]) == expected


@every_metric
def test_extreme_logits(metric):
  logits = np.array([1e4, -1e4, 1e4, -1e4, 0], np.float32)
  labels = np.array([1, 0, 0, 1, 1], np.float32)
  assert math.isfinite(metric(logits, labels, None))


@every_metric
@pytest.mark.parametrize(
    'logits, labels, where',
    [
        ([0, NAN], [0, 1], None),
        ([0, 1], [0, 2], None),
        ([0, 1], [0, NAN], None),
        ([0, 1], [0, 0.5], None),
        ([0, 1], [0, 1, 1], None),
        ([0, 1], [0, 1], [1]),
        ([0, 1], [0, 1], [1, 2]),
        ([[0], [1]], [[0], [1]], None),
    ],
)
def test_bad_input(metric, logits, labels, where):
  with pytest.raises(InputError):
    metric(np.array(logits), np.array(labels), where)


@every_metric
def test_arguments_are_left_as_they_were(metric):
  logits, labels, where = arguments = ordinary()
  copies = [x.copy() for x in arguments]
  metric(logits, labels, where)
  for got, expected in zip(arguments, copies, strict=True):
    np.testing.assert_array_equal(got, expected)


# Each metric by itself.


def test_names_of_metrics():
  logits, labels = [2.0, -1.0, 0.0], [1, 0, 1]
  loss = -mean([log_sigmoid(2), log_sigmoid(1), log_sigmoid(0)])
  expected = {
      'auc': 1.0,
      'logloss': loss,
      'normalized_entropy': loss / entropy(2 / 3),
      'calibration': (sigmoid(2) + sigmoid(-1) + 0.5) / 2,
      'ece': mean([1 - sigmoid(2), sigmoid(-1), 0.5]),
      'auc_pr': 1.0,
      # Of three rows the budget is a part of the first one.
      'recall_at_1pct': 0.03 / 2,
      'recall_at_10pct': 0.3 / 2,
      'ks': 1.0,
  }
  for name, value in expected.items():
    assert METRICS[name](logits, labels, None) == pytest.approx(value)


@pytest.mark.parametrize(
    'logits, labels, expected',
    [
        ([0.0], [1], math.log(2)),
        ([2.0, -1.0], [1, 0], -mean([log_sigmoid(2.0), log_sigmoid(1.0)])),
        ([2.0, -1.0], [0, 1], -mean([log_sigmoid(-2.0), log_sigmoid(-1.0)])),
        # Sigmoid and its logarithm both underflow or round here.
        ([1e4, -1e4], [1, 0], 0.0),
        ([1e4, -1e4], [0, 1], 1e4),
        ([40.0], [1], math.exp(-40)),
        ([-800.0, 0.0], [1, 0], (800 + math.log(2)) / 2),
        ([INF, -INF], [1, 0], 0.0),
        ([INF, 0.0], [0, 0], INF),
        ([], [], NAN),
    ],
)
def test_log_loss_table(logits, labels, expected):
  got = probability.log_loss(np.array(logits), np.array(labels))
  assert got == pytest.approx(expected, rel=1e-14, abs=0, nan_ok=True)


def test_log_loss_is_that_of_scikit_learn():
  logits, labels, _ = ordinary(5000)
  p = 1 / (1 + np.exp(-logits.astype(np.float64)))
  expected = sklearn.metrics.log_loss(labels, p)
  got = probability.log_loss(logits, labels)
  assert got == pytest.approx(expected, rel=1e-13)


def test_log_loss_sums_in_float64():
  # In float32 the sum of 3 million losses of log 2 is off by 1e-4 and more.
  n = 3_000_000
  logits, labels = np.zeros(n, np.float32), np.zeros(n, np.float32)
  got = probability.log_loss(logits, labels)
  assert got == pytest.approx(math.log(2), rel=1e-13)


@pytest.mark.parametrize(
    'logits, labels, expected',
    [
        # Predicting the base rate: 1.
        ([math.log(1 / 3)] * 4, [1, 0, 0, 0], 1.0),
        ([0.0] * 4, [1, 0, 0, 0], math.log(2) / entropy(1 / 4)),
        ([1e4, -1e4, -1e4], [1, 0, 0], 0.0),
        ([1e4, 1e4, -1e4], [1, 0, 0], 1e4 / 3 / entropy(1 / 3)),
        ([0.0, 1.0], [1, 1], NAN),
        ([0.0, 1.0], [0, 0], NAN),
    ],
)
def test_normalized_entropy_table(logits, labels, expected):
  got = probability.normalized_entropy(logits, labels)
  assert got == pytest.approx(expected, rel=1e-14, abs=0, nan_ok=True)


@pytest.mark.parametrize(
    'logits, labels, expected',
    [
        ([0.0, 0.0], [1, 0], 1.0),
        ([2.0, -1.0, 0.0], [1, 0, 1], (sigmoid(2) + sigmoid(-1) + 0.5) / 2),
        ([1e4, 1e4, -1e4], [1, 0, 0], 2.0),
        ([INF, -INF], [1, 0], 1.0),
        ([0.0, 0.0], [0, 0], INF),
        ([-1e4, -1e4], [0, 0], NAN),
        ([], [], NAN),
    ],
)
def test_calibration_table(logits, labels, expected):
  got = probability.calibration(logits, labels)
  assert got == pytest.approx(expected, rel=1e-14, nan_ok=True)


LOW, MID, HIGH = sigmoid(-2.0), sigmoid(0.0), sigmoid(2.0)


@pytest.mark.parametrize(
    'logits, labels, num_bins, expected',
    [
        # One bin: errors cancel. A bin for each row: they do not.
        ([-2.0, 2.0], [1, 0], 1, 0.0),
        ([-2.0, 2.0], [1, 0], 2, (1 - LOW + HIGH) / 2),
        # Two bins of two rows.
        (
            [2.0, -2.0, 0.0, -1.0],
            [1, 0, 1, 0],
            2,
            (abs(HIGH + MID - 2) + LOW + sigmoid(-1.0)) / 4,
        ),
        # Three ties over the edge of two bins: middle rank 1.5 of 4, below.
        (
            [0.0, 0.0, 0.0, 2.0],
            [1, 0, 0, 1],
            2,
            (abs(3 * MID - 1) + 1 - HIGH) / 4,
        ),
        # Middle rank 2.5 of 4, above.
        (
            [0.0, 0.0, 0.0, -2.0],
            [1, 0, 0, 1],
            2,
            (abs(3 * MID - 1) + 1 - LOW) / 4,
        ),
        # All tied, more bins than rows: one bin holds all.
        ([0.0] * 3, [1, 1, 0], 20, abs(3 * MID - 2) / 3),
        ([1e4, -1e4], [0, 1], 2, 1.0),
        ([1e4, -1e4], [1, 0], 2, 0.0),
        ([0.0, 2.0], [0, 0], 20, (MID + HIGH) / 2),
        ([], [], 20, NAN),
    ],
)
def test_expected_calibration_error_table(logits, labels, num_bins, expected):
  got = probability.expected_calibration_error(
      logits, labels, num_bins=num_bins
  )
  assert got == pytest.approx(expected, abs=1e-15, nan_ok=True)


def test_twenty_bins_of_equal_mass():
  rng = np.random.default_rng(0)
  logits = np.sort(rng.normal(size=1000))
  labels = rng.integers(0, 2, 1000)
  expected = mean(
      [
          abs(mean([sigmoid(z) for z in z_bin]) - mean(y_bin))
          for z_bin, y_bin in zip(
              logits.reshape(20, 50), labels.reshape(20, 50), strict=True
          )
      ]
  )
  got = probability.expected_calibration_error(logits, labels)
  assert got == pytest.approx(expected, abs=1e-14)


@thorough
@given(st.lists(st.tuples(LOGITS, st.integers(0, 1)), min_size=2, max_size=60))
def test_ties_do_not_depend_on_the_order_of_rows(rows):
  logits, labels = zip(*rows, strict=True)
  expected = probability.expected_calibration_error(logits, labels)
  for order in (rows[::-1], sorted(rows), sorted(rows, key=lambda r: -r[1])):
    got = probability.expected_calibration_error(*zip(*order, strict=True))
    assert got == pytest.approx(expected, abs=1e-14)


def test_the_number_of_bins_is_checked():
  with pytest.raises(InputError, match='num_bins'):
    probability.expected_calibration_error([0], [0], None, 0)
