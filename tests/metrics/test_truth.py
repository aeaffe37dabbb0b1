"""Metrics against true probabilities, and formulas typed in Python."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from esmm_jax.metrics import truth
from esmm_jax.metrics.probability import log_loss
from esmm_jax.types import InputError

INF, NAN = float('inf'), float('nan')

PROBABILITIES = st.sampled_from([0.0, 1e-9, 1e-3, 0.3, 0.5, 0.999, 1.0])
LOGITS = st.sampled_from([-1e4, -40.0, -2.0, 0.0, 0.5, 3.0, 40.0, 1e4])
# No deadline: no test may fail because the machine is busy.
thorough = settings(max_examples=150, deadline=None)


def log_sigmoid(z):
  """log(sigmoid(z)); the negative branch is the same formula times e^z."""
  return -math.log1p(math.exp(-z)) if z > 0 else z - math.log1p(math.exp(z))


def entropy(p):
  return -sum(q * math.log(q) for q in (p, 1 - p) if q > 0)


@pytest.mark.parametrize(
    'true_p, logits, expected',
    [
        ([0.5], [0.0], 0.0),
        ([0.25], [0.0], math.log(2) - entropy(0.25)),
        (
            [0.3, 0.9],
            [1.0, -2.0],
            -(0.3 * log_sigmoid(1) + 0.7 * log_sigmoid(-1) + entropy(0.3)) / 2
            - (0.9 * log_sigmoid(-2) + 0.1 * log_sigmoid(2) + entropy(0.9)) / 2,
        ),
        ([0.0, 1.0], [-1e4, 1e4], 0.0),
        ([0.0, 1.0], [1e4, -1e4], 1e4),
        ([0.0, 1.0], [-INF, INF], 0.0),
        ([0.25, 0.25], [-1e4, 1e4], (0.25 + 0.75) / 2 * 1e4 - entropy(0.25)),
        ([0.0], [2.0], -log_sigmoid(-2)),
        ([0.5], [INF], INF),
        ([], [], NAN),
    ],
)
def test_kl_divergence_table(true_p, logits, expected):
  got = truth.kl_divergence(true_p, logits)
  assert got == pytest.approx(expected, rel=1e-13, abs=1e-15, nan_ok=True)


@thorough
@given(st.lists(st.tuples(PROBABILITIES, LOGITS), min_size=1, max_size=30))
def test_kl_divergence_is_not_negative(rows):
  true_p, logits = zip(*rows, strict=True)
  assert 0 <= truth.kl_divergence(true_p, logits) < INF


@thorough
@given(st.lists(st.floats(1e-12, 1 - 1e-12), min_size=1, max_size=30))
def test_kl_divergence_is_zero_at_the_truth(true_p):
  logits = [math.log(p) - math.log1p(-p) for p in true_p]
  assert 0 <= truth.kl_divergence(true_p, logits) < 1e-15


def test_kl_divergence_is_expected_log_loss_above_the_least():
  true_p, logits = 0.2, np.array([0.7])
  expected = (
      true_p * log_loss(logits, [1])
      + (1 - true_p) * log_loss(logits, [0])
      - entropy(true_p)
  )
  got = truth.kl_divergence([true_p], logits)
  assert got == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    'predicted, true, expected',
    [
        ([0.2, 0.4], [0.1, 0.1], 3.0),
        ([0.0], [0.5], 0.0),
        ([0.5], [0.0], INF),
        ([0.0], [0.0], NAN),
        ([], [], NAN),
    ],
)
def test_mean_ratio_table(predicted, true, expected):
  got = truth.mean_ratio(predicted, true)
  assert got == pytest.approx(expected, rel=1e-14, nan_ok=True)


def test_ratio_by_decile_of_twenty_rows():
  by = np.arange(20) / 20
  true = np.full(20, 0.25)
  predicted = np.where(by < 0.5, 0.5, 0.25)
  order = np.random.default_rng(0).permutation(20)
  got = truth.ratio_by_decile(predicted[order], true[order], by[order])
  assert got.count.tolist() == [2] * 10
  np.testing.assert_array_equal(got.ratio, [2.0] * 5 + [1.0] * 5)
  np.testing.assert_array_equal(got.bias, [0.25] * 5 + [0.0] * 5)


def test_ratio_by_decile_with_ties_mask_and_empty_bins():
  got = truth.ratio_by_decile(
      predicted=[0.1, 0.2, 0.3, 0.5, NAN],
      true=[0.1, 0.1, 0.1, 0.0, NAN],
      by=[0.0, 0.0, 0.0, 1.0, NAN],
      num_bins=4,
      where=[1, 1, 1, 1, 0],
  )
  # Middle ranks 1.5 and 3.5 of 4 rows: bins 1 and 3.
  assert got.count.tolist() == [0, 3, 0, 1]
  np.testing.assert_allclose(got.ratio, [NAN, 2.0, NAN, INF])
  np.testing.assert_allclose(got.bias, [NAN, 0.1, NAN, 0.5])


def test_ratio_by_decile_of_nothing():
  got = truth.ratio_by_decile([], [], [])
  assert got.count.tolist() == [0] * 10
  assert np.isnan(got.ratio).all() and got.ratio.shape == (10,)
  assert np.isnan(got.bias).all() and got.bias.shape == (10,)


@thorough
@given(
    st.lists(st.tuples(PROBABILITIES, PROBABILITIES), min_size=1, max_size=60)
)
def test_each_bin_has_the_ratio_of_its_rows(rows):
  """Bins are runs of the rows in rising order; together they have all rows."""
  predicted, true = np.array(rows).T
  got = truth.ratio_by_decile(predicted, true, by=true)
  assert got.count.sum() == len(rows)
  order, ends = np.argsort(true), np.cumsum(got.count)
  parts = np.split(order, ends[:-1])
  for ratio, bias, index in zip(got.ratio, got.bias, parts, strict=True):
    expected = truth.mean_ratio(predicted[index], true[index])
    assert ratio == pytest.approx(expected, rel=1e-12, nan_ok=True)
    n = len(index)
    gap = (predicted[index].sum() - true[index].sum()) / n if n else NAN
    assert bias == pytest.approx(gap, rel=1e-12, abs=1e-15, nan_ok=True)


@pytest.mark.parametrize('shift, largest', [
    # Predictions .1 above the truth, .2 below it in the lowest decile.
    (np.r_[np.full(2, -0.2), np.full(18, 0.1)], 0.2),
    (np.zeros(20), 0.0),
])
def test_bias_by_decile_of_the_true_propensity(shift, largest):
  p_ctr = np.linspace(0.01, 0.2, 20)
  true = np.linspace(0.3, 0.5, 20)
  p = true + shift
  got = truth.against_truth(
      'cvr', np.log(p / (1 - p)), {'p_ctr': p_ctr, 'p_cvr': true}, p_ctr > 0.1)
  for d in range(10):
    pair = slice(2 * d, 2 * d + 2)
    assert got[f'cvr_entire/bias_ctr_decile_{d + 1}'] == pytest.approx(
        shift[pair].mean(), abs=1e-14)
    assert got[f'cvr_entire/ratio_ctr_decile_{d + 1}'] == pytest.approx(
        p[pair].mean() / true[pair].mean())
  assert got['cvr_entire/bias_ctr_decile_largest'] == pytest.approx(
      largest, abs=1e-14)


def test_largest_bias_of_few_rows_and_of_none():
  """Empty deciles do not count."""
  columns = {'p_ctr': np.array([0.1, 0.2]), 'p_cvr': np.array([0.5, 0.25])}
  clicked = np.array([True, False])
  got = truth.against_truth('cvr', np.zeros(2), columns, clicked)
  assert got['cvr_entire/bias_ctr_decile_largest'] == 0.25
  none = {name: x[:0] for name, x in columns.items()}
  got = truth.against_truth('cvr', np.zeros(0), none, np.zeros(0, bool))
  assert math.isnan(got['cvr_entire/bias_ctr_decile_largest'])


def test_masked_rows_never_matter_against_the_truth():
  p, logits, where = [0.3, NAN, 0.6], [0.0, 1.0, NAN], [1, 0, 0]
  expected = truth.kl_divergence([0.3], [0.0])
  assert truth.kl_divergence(p, logits, where) == expected
  assert truth.mean_ratio([0.6, 9, 9], p, where) == 0.6 / 0.3
  assert math.isnan(truth.kl_divergence(p, logits, [0, 0, 0]))


@pytest.mark.parametrize(
    'call, message',
    [
        (lambda: truth.kl_divergence([1.1], [0.0]), 'true_p'),
        (lambda: truth.kl_divergence([-0.1], [0.0]), 'true_p'),
        (lambda: truth.kl_divergence([NAN], [0.0]), 'true_p'),
        (lambda: truth.kl_divergence([0.5], [NAN]), 'logits'),
        (lambda: truth.kl_divergence([0.5], [0.0, 1.0]), 'length'),
        (lambda: truth.mean_ratio([-2.0], [0.5]), 'predicted'),
        (lambda: truth.mean_ratio([0.5], [1.5]), 'true'),
        (lambda: truth.mean_ratio([0.5], [0.5], [2]), 'where'),
        (lambda: truth.ratio_by_decile([0.5], [0.5], [NAN]), 'by'),
        (lambda: truth.ratio_by_decile([2.0], [0.5], [0.5]), 'predicted'),
        (lambda: truth.ratio_by_decile([0.5], [0.5], [0], 0), 'num_bins'),
    ],
)
def test_bad_input_against_the_truth(call, message):
  with pytest.raises(InputError, match=message):
    call()
