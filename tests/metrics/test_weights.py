"""Diagnostics of row weights against numpy by hand, and what they share."""

import math

from esmm_jax.metric_names import direction, WEIGHTS
from esmm_jax.metrics import weights
from esmm_jax.metrics.by_space import evaluate, metric_keys, Observed
from esmm_jax.metrics.choosing import check_metric
from esmm_jax.metrics.weights import clicked_rows, RowWeights, WEIGHT_METRICS
from esmm_jax.tasks import FUNNEL
from esmm_jax.types import InputError
import jax.numpy as jnp
import numpy as np
import pytest

INF, NAN = float('inf'), float('nan')


def at_floor(values, where=None):
  """`share_at_limit` as one of the others: the limit is 100 for all."""
  return weights.share_at_limit(values, np.full(len(values), 100.0), where)


EVERY = WEIGHT_METRICS | {'at_floor': at_floor}
every_metric = pytest.mark.parametrize('metric', EVERY.values(), ids=EVERY)


def ordinary(num_rows=300):
  rng = np.random.default_rng(0)
  propensity = rng.uniform(0.0, 0.1, num_rows)
  where = (rng.random(num_rows) < 0.7).astype(np.float32)
  return (1 / np.maximum(propensity, 0.01)).astype(np.float32), where


def test_names():
  assert list(EVERY) == list(WEIGHTS)
  assert {direction(f'test/cvr_clicked/{name}') for name in WEIGHTS} == {''}


@every_metric
def test_conformance(metric):
  """What `METRICS` keep: nan of nothing, no masked row, no order, a float."""
  values, where = ordinary()
  taken = where == 1
  expected = metric(values[taken], None)
  assert type(expected) is float and math.isfinite(expected)
  for mask in (where, taken):
    assert metric(values, mask) == expected
  order = np.random.default_rng(1).permutation(len(values))
  assert metric(values[order], where[order]) == pytest.approx(
      expected, rel=1e-12)
  assert math.isnan(metric(values[:0], None))
  assert math.isnan(metric(values, 0 * where))
  before = values.copy()
  metric(values, None)
  np.testing.assert_array_equal(values, before)
  values[~taken] = -7.0
  assert metric(values, where) == expected
  values[~taken] = NAN
  assert metric(values, where) == expected


@every_metric
@pytest.mark.parametrize('values, where', [
    ([1.0, NAN], None),
    ([1.0, INF], None),
    ([1.0, -0.5], None),
    ([1.0, 2.0], [1]),
    ([1.0, 2.0], [1, 2]),
    ([[1.0], [2.0]], None),
])
def test_bad_input(metric, values, where):
  with pytest.raises(InputError):
    metric(np.array(values), where)


@pytest.mark.parametrize('values, ess', [
    ([1.0], 1.0),
    ([7.0, 7.0, 7.0, 7.0], 4.0),
    ([3.0, 1.0], 16 / 10),
    ([100.0, 1.0, 1.0, 1.0], 103**2 / 10003),
    ([1.0, 0.0], 1.0),
    ([0.0, 0.0], NAN),
    ([1e300, 1e300], 2.0),
    ([1e-300, 1e-300, 1e-300], 3.0),
    ([], NAN),
])
def test_effective_sample_size(values, ess):
  got = weights.effective_sample_size(values)
  assert got == pytest.approx(ess, rel=1e-13, nan_ok=True)
  share = weights.effective_share(values)
  assert share == pytest.approx(
      ess / max(len(values), 1), rel=1e-13, nan_ok=True)


def test_sums_are_in_float64():
  # Of a million float32 weights that are no multiples of a power of 2.
  values = np.tile(np.array([1 / 3, 100.0], np.float32), 500_000)
  w = values.astype(np.float64)
  assert weights.effective_sample_size(values) == pytest.approx(
      w.sum() ** 2 / (w**2).sum(), rel=1e-12)


CTR = np.array([0.5, 0.25, 0.004, 0.02, 0.001, 0.3])
CLICK = np.array([1, 1, 1, 0, 1, 0])
TRUE = np.array([0.4, 0.2, 0.03, 0.5, 0.02, 0.5])
LOGITS = {
    'ctr': np.log(CTR / (1 - CTR)).astype(np.float32),
    'cvr': np.zeros(6, np.float32),
}
# The weights of the clicked rows, each kind, and the share at the limit.
KINDS = {
    'floor': (
        lambda p, labels: 1 / np.maximum(p['ctr'], 0.01),
        [2, 4, 100, 100], 1 / 2),
    'cap': (
        lambda p, labels: np.minimum(1 / p['ctr'], 500.0),
        [2, 4, 250, 500], 1 / 4),
    'no floor': (lambda p, labels: 1 / p['ctr'], [2, 4, 250, 1000], 0),
    'jax': (
        lambda p, labels: 1 / jnp.maximum(p['ctr'], 0.01),
        [2, 4, 100, 100], 1 / 2),
    'UNBIAS': (
        lambda p, labels: np.minimum(1, 0.02 / p['ctr']),
        [0.04, 0.08, 1, 1], 1 / 2),
    'floor 1': (
        lambda p, labels: 1 / np.maximum(p['ctr'], 1.0), [1, 1, 1, 1], NAN),
    'constant': (lambda p, labels: np.full(4, 3.0), [3, 3, 3, 3], NAN),
    'of one row': (
        lambda p, labels: np.where(p['ctr'] < 0.01, 5, 1 / p['ctr']),
        [2, 4, 5, 5], 1 / 2),
    'true': (
        lambda p, labels: 1 / np.maximum(labels['p_ctr'], 0.025),
        [2.5, 5, 1 / 0.03, 40], 1 / 4),
}


@pytest.mark.parametrize('kind', KINDS)
def test_weights_of_clicked_rows(kind):
  function, w, floored = KINDS[kind]
  w = np.array(w, np.float64)
  got = clicked_rows(
      RowWeights(lambda p, labels: {'cvr_clicked': function(p, labels)}),
      LOGITS, {'click': CLICK, 'p_ctr': TRUE})
  assert got == pytest.approx({
      'cvr_clicked/ess': w.sum() ** 2 / (w**2).sum(),
      'cvr_clicked/ess_share': w.sum() ** 2 / (w**2).sum() / 4,
      'cvr_clicked/weight_max': w.max(),
      'cvr_clicked/at_floor': floored,
  }, rel=1e-6, nan_ok=True)


def test_a_function_sees_clicked_rows_and_their_labels():
  def function(p, labels):
    assert set(p) == {'ctr', 'cvr'}
    np.testing.assert_array_equal(labels['click'], np.ones(len(p['ctr'])))
    return {'a': 1 / p['ctr'], 'b': 1 + labels['conversion']}

  got = clicked_rows(
      RowWeights(function), LOGITS,
      {'click': CLICK, 'conversion': CLICK * [1, 0, 0, 0, 0, 0]})
  assert got['a/weight_max'] == pytest.approx(1000, rel=1e-6)
  assert got['b/ess'] == pytest.approx(5**2 / 7)
  assert math.isnan(got['b/at_floor'])


def test_without_a_click_they_are_no_numbers():
  got = clicked_rows(
      RowWeights(lambda p, labels: {'cvr_clicked': 1 / p['ctr']}), LOGITS,
      {'click': 0 * CLICK})
  assert len(got) == 4 and all(map(math.isnan, got.values()))


OBSERVED = Observed(
    {'click': CLICK, 'conversion': CLICK * [1, 0, 1, 0, 0, 0]}, None, {})
INVERSE = RowWeights(
    lambda p, labels: {'cvr_clicked': 1 / np.maximum(p['ctr'], 0.01)})
OF_THE_TRUTH = RowWeights(
    lambda p, labels: {'cvr_clicked': 1 / labels['p_ctr']},
    frozenset({'p_ctr'}))


@pytest.mark.parametrize('row_weights, truth, has_them', [
    (None, {}, False), (None, {'p_ctr': TRUE, 'p_cvr': TRUE}, False),
    (INVERSE, {}, True), (INVERSE, {'p_ctr': TRUE, 'p_cvr': TRUE}, True),
    # A log of no simulator, and rows that no frozen run has scored.
    (OF_THE_TRUTH, {}, False),
    (OF_THE_TRUTH, {'p_ctr': TRUE, 'p_cvr': TRUE}, True),
    (INVERSE._replace(needs=frozenset({'frozen_ctr'})), {'p_ctr': TRUE}, False),
])
def test_what_is_computed_is_what_is_foretold(row_weights, truth, has_them):
  observed = OBSERVED._replace(truth=truth)
  outputs = LOGITS | {'ctcvr': LOGITS['ctr'] - 1}
  metrics = evaluate(outputs, observed, row_weights=row_weights)
  keys = metric_keys(FUNNEL, False, observed.truth, row_weights)
  assert list(metrics) == keys
  without = evaluate(outputs, observed)
  assert str({k: metrics[k] for k in without}) == str(without)
  more = [key for key in keys if key not in without]
  assert more == [f'cvr_clicked/{name}' for name in WEIGHTS] * has_them
  for key in more:  # It is refused by `choosing.resolve`: it has no best end.
    check_metric(f'valid/{key}', keys)
