"""The page of several runs: the mean beside its members."""

import math

from esmm_jax.reporting.page import mean_page
from esmm_jax.sweeps.saved_runs import SavedRun
import pytest


def members(*values, key='test/ctr/auc'):
  return {
      f'run{k}': SavedRun(f'run{k}', {key: value, 'selected_step': 10 * k}, {})
      for k, value in enumerate(values)
  }


def test_the_gain_over_the_mean_member():
  """AUC .70 .72 .74: mean .72 ± .02; the averaged .745 gains .025."""
  grid = mean_page.comparison(
      {'test/ctr/auc': 0.745}, members(0.70, 0.72, 0.74))
  assert grid.rows == [[
      'ctr', 'AUC ↑', '0.7450', '.7200 ± .0200', '+0.0250', '0.7400 (run2)']]


def test_less_is_better():
  key = 'test/ctcvr/logloss'
  grid = mean_page.comparison({key: 0.25}, members(0.5, 0.3, key=key))
  assert grid.rows == [[
      'ctcvr', 'log-loss ↓', '0.2500', '.4000 ± .1414', '-0.1500',
      '0.3000 (run1)']]


@pytest.mark.parametrize('value, num', [(None, 0), (math.nan, 0), (0.5, 1)])
def test_metrics_that_are_not_defined(value, num):
  grid = mean_page.comparison(
      {'test/ctr/auc': value, 'test/ctr/calibration': 1.0},
      members(None, math.nan))
  assert len(grid.rows) == num
  for row in grid.rows:
    assert row[4:] == ['–', '–']
