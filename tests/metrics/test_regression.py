"""Metrics of predicted values, against formulas and scikit-learn."""

from esmm_jax.metrics.regression import REGRESSION_METRICS
from esmm_jax.types import InputError
from hypothesis import given, strategies as st
import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

RNG = np.random.default_rng(0)
LABELS = np.round(RNG.gamma(2.0, 1.5, 300), 1)  # With ties.
VALUES = np.round(LABELS + RNG.normal(0.3, 1.0, 300), 1)


@pytest.fixture(params=REGRESSION_METRICS)
def name(request):
  return request.param


def test_values():
  want = {
      'mse': sk.mean_squared_error(LABELS, VALUES),
      'mae': sk.mean_absolute_error(LABELS, VALUES),
      'r2': sk.r2_score(LABELS, VALUES),
      'rank_correlation': stats.pearsonr(
          stats.rankdata(LABELS), stats.rankdata(VALUES)).statistic,
      'calibration': VALUES.sum() / LABELS.sum(),
  }
  assert want.keys() == REGRESSION_METRICS.keys()
  for key, expected in want.items():
    got = REGRESSION_METRICS[key](VALUES, LABELS, None)
    assert got == pytest.approx(expected, rel=1e-9), key


def test_where_selects(name):
  metric, where = REGRESSION_METRICS[name], np.arange(300) % 3 == 0
  garbage = np.where(where, VALUES, np.nan)
  assert metric(garbage, LABELS, where) == metric(
      VALUES[where], LABELS[where], None)


def test_nothing_counts(name):
  assert np.isnan(REGRESSION_METRICS[name](VALUES, LABELS, np.zeros(300)))


def test_constant_sides():
  ones = np.ones(4)
  assert np.isnan(REGRESSION_METRICS['r2'](np.arange(4.0), ones, None))
  for x, y in ((ones, np.arange(4.0)), (np.arange(4.0), ones)):
    assert np.isnan(REGRESSION_METRICS['rank_correlation'](x, y, None))
  assert np.isnan(REGRESSION_METRICS['calibration'](ones, 0 * ones, None))


def test_bad_input(name):
  metric = REGRESSION_METRICS[name]
  with pytest.raises(InputError, match='finite'):
    metric(np.array([1.0, np.inf]), np.array([1.0, 2.0]), None)
  with pytest.raises(InputError, match='one length'):
    metric(np.ones(3), np.ones(2), None)


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=20))
def test_exact_predictions(labels):
  labels = np.array(labels)
  assert REGRESSION_METRICS['mse'](labels, labels, None) == 0
  assert REGRESSION_METRICS['mae'](labels, labels, None) == 0
  if np.ptp(labels) > 1e-6:
    assert REGRESSION_METRICS['r2'](labels, labels, None) == 1
    assert REGRESSION_METRICS['rank_correlation'](
        labels, labels, None) == pytest.approx(1)
