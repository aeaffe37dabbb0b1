"""The table of metrics is of those that are computed, each with its end."""

from esmm_jax import metric_names
from esmm_jax.metrics import METRICS
from esmm_jax.metrics.regression import REGRESSION_METRICS
from esmm_jax.reporting.page import meanings
import numpy as np
import pytest


def test_every_metric_has_a_direction():
  assert list(METRICS) == list(metric_names.BINARY)
  assert list(REGRESSION_METRICS) == list(metric_names.REGRESSION)
  assert set(meanings.METRICS) <= set(metric_names.DIRECTIONS)
  assert set(metric_names.DIRECTIONS.values()) == {'max', 'min', ''}


LABELS = np.arange(400) % 3 == 0
# Log-odds: the right rate, and a little knowledge; then more of it.
BAD, GOOD = (np.where(LABELS, z, -z) - 0.3 for z in (0.4, 2.0))


@pytest.mark.parametrize('name', [n for n, d in metric_names.BINARY.items()
                                  if d])
def test_a_better_prediction_is_nearer_to_the_best_end(name):
  bad, good = (METRICS[name](z, LABELS, None) for z in (BAD + 0.01 * NOISE,
                                                        GOOD))
  better = {'max': good >= bad, 'min': good < bad}
  assert better[metric_names.direction(f'valid/ctr/{name}')]


NOISE = np.random.default_rng(0).standard_normal(400) * 99


@pytest.mark.parametrize('name', [n for n, d in metric_names.REGRESSION.items()
                                  if d])
def test_a_better_value_is_nearer_to_the_best_end(name):
  label = np.arange(400.0)
  bad, good = (
      REGRESSION_METRICS[name](label + s * NOISE, label, None) for s in (1, .1))
  assert {'max': good > bad, 'min': good < bad}[metric_names.direction(name)]


def test_what_is_no_metric_has_none():
  for key in ('num_params', 'train_seconds', 'ctr/load_0', 'valid/x/entropy'):
    assert metric_names.direction(key) == ''
