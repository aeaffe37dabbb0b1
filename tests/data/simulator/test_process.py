"""The distribution of the simulated log: truth, rates, correlations."""

import zlib

from esmm_jax.data.simulator.config import simulator_config
from esmm_jax.data.simulator.process import LogProcess
from esmm_jax.types import InputError
import numpy as np
import pytest
from scipy import special
from sklearn import metrics

from tests.data.simulator import dials
from tests.data.simulator.logs import assert_same, make_log, SIZES, SMALL

pytestmark = pytest.mark.slow


def logit(p):
  return special.logit(p.astype(np.float64))


def test_a_hidden_cause_changes_no_feature(plain, hidden):
  for name in ('user', 'item', 'position', 'seen_count'):
    np.testing.assert_array_equal(plain[name], hidden[name])


@pytest.mark.parametrize('which', ['plain', 'hidden'])
def test_rates_and_aucs_are_as_the_dials_say(which, request):
  columns = request.getfixturevalue(which)
  would = columns['conversion_if_clicked']
  # Sessions share a user, so the error is above the binomial one.
  assert columns['click'].mean() == pytest.approx(0.04, rel=0.03)
  assert columns['p_ctr'].mean() == pytest.approx(0.04, rel=0.03)
  assert would.mean() == pytest.approx(0.02, rel=0.04)
  assert columns['p_cvr'].mean() == pytest.approx(0.02, rel=0.04)
  auc_ctr = metrics.roc_auc_score(columns['click'], columns['p_ctr'])
  assert auc_ctr == pytest.approx(0.75, abs=0.01)
  auc_cvr = metrics.roc_auc_score(would, columns['p_cvr'])
  assert auc_cvr == pytest.approx(0.80, abs=0.012)


def test_deviations_are_those_that_are_stated():
  """The docstring of `SimulatorConfig` has the numbers of `dials`."""
  measured = dials.deviations('tiny', seed=2)
  stated = {'ctr': 0.012, 'cvr': 0.016, 'auc_ctr': 0.0019, 'auc_cvr': 0.0064}
  for dial, most in stated.items():
    assert measured[dial] <= most, dial


@pytest.mark.parametrize('which', ['plain', 'hidden'])
def test_frequencies_match_the_truth(which, request):
  """Sums of (outcome - probability) over bins of the probability, in sigmas."""
  columns = request.getfixturevalue(which)
  click = columns['click'].astype(bool)
  would = columns['conversion_if_clicked']
  for outcome, p, where in (
      (columns['click'], columns['p_ctr'], None),
      (would, columns['p_cvr'], None),
      (columns['conversion'], columns['p_ctcvr'], None),
      (would, columns['p_cvr_clicked'], click),
  ):
    if where is not None:
      outcome, p = outcome[where], p[where]
    p = p.astype(np.float64)
    for rows in np.array_split(np.argsort(p), 5):
      variance = np.sum(p[rows] * (1 - p[rows]))
      z = np.sum(outcome[rows] - p[rows]) / np.sqrt(variance)
      assert abs(z) < 3.5


def test_without_a_hidden_cause_clicks_tell_nothing(plain):
  np.testing.assert_array_equal(
      plain['p_ctcvr'], plain['p_ctr'] * plain['p_cvr']
  )
  np.testing.assert_array_equal(plain['p_cvr_clicked'], plain['p_cvr'])


def test_with_a_hidden_cause_clicked_rows_convert_more(hidden):
  np.testing.assert_allclose(
      hidden['p_cvr_clicked'] * hidden['p_ctr'], hidden['p_ctcvr'], rtol=1e-6
  )
  assert (hidden['p_cvr_clicked'] > hidden['p_cvr']).all()
  assert hidden['p_cvr_clicked'].mean() > 1.5 * hidden['p_cvr'].mean()
  clicked = hidden['click'] == 1
  would = hidden['conversion_if_clicked']
  assert would[clicked].mean() > 1.5 * hidden['p_cvr'][clicked].mean()


def test_the_hidden_truth_is_an_integral(hidden):
  """p_ctcvr = E_H sigmoid(a + H) sigmoid(b + H), on a fine grid."""
  process = LogProcess(simulator_config('default', **SIZES, hidden=1.0))
  impressions, outcomes = process.simulate(0)
  a, b = (x[:200, None].astype(float) for x in process.logits(impressions))
  h = np.linspace(-9, 9, 2001)
  density = np.exp(-h * h / 2) / np.exp(-h * h / 2).sum()
  p_a, p_b = special.expit(a + h), special.expit(b + h)
  for name, p in (('p_ctr', p_a), ('p_cvr', p_b), ('p_ctcvr', p_a * p_b)):
    expected = (p * density).sum(axis=1)
    np.testing.assert_allclose(getattr(outcomes, name)[:200], expected, 1e-4)
    same = getattr(outcomes, name)[:200]
    np.testing.assert_array_equal(hidden[name][:200], same)


@pytest.mark.parametrize(
    'hidden, checksums',
    [
        (0.0, (1238761413, 3077526583, 2453220956, 9965995)),
        (1.0, (1238761413, 3077526583, 2467280334, 982537804)),
    ],
)
@pytest.mark.parametrize('stages', [2, 3])
def test_published_rows_stay(stages, hidden, checksums):
  """Checksums of columns as they were before there were stages."""
  log = make_log(**SMALL, hidden=hidden, stages=stages)
  columns = log.columns(0, 4_500)
  names = ('group_user', 'item', 'click', 'conversion_if_clicked')
  for name, checksum in zip(names, checksums, strict=True):
    assert zlib.crc32(columns[name].tobytes()) == checksum, name


def test_conversion_needs_a_click(plain):
  would = plain['conversion_if_clicked']
  np.testing.assert_array_equal(plain['conversion'], plain['click'] * would)
  assert ((plain['click'] == 0) & (would == 1)).any()
  for name in ('click', 'conversion', 'conversion_if_clicked'):
    assert plain[name].dtype == np.int8


@pytest.mark.parametrize('rho', [-1.0, -0.6, 0.0, 0.6, 1.0])
def test_rho_is_the_correlation_of_the_logits(rho):
  process = LogProcess(simulator_config('default', **SMALL, rho=rho))
  a, b = process.logits(process.calibration_draw())
  assert np.corrcoef(a, b)[0, 1] == pytest.approx(rho, abs=1e-5)
  a, b = process.logits(process.simulate(0)[0])
  assert np.corrcoef(a, b)[0, 1] == pytest.approx(rho, abs=0.03)


def test_rho_in_the_columns(plain):
  a, b = logit(plain['p_ctr']), logit(plain['p_cvr'])
  assert np.corrcoef(a, b)[0, 1] == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize(
    'dials',
    [
        dict(ctr=0.9, cvr=0.5, auc_ctr=0.51, auc_cvr=0.999),
        dict(ctr=1e-4, cvr=1e-4, hidden=3),
        dict(policy=0, candidates=1),
        dict(policy=100, candidates=2),
        dict(users=5, items=20),
        dict(stages=3, cvr=0.9, auc_cvr=0.999),
        dict(stages=3, cvr=1e-4, hidden=3),
    ],
)
def test_extreme_dials_give_clean_numbers(dials):
  columns = make_log(**SMALL, **dials).columns(0, 4_500)
  probabilities = [name for name in columns if name.startswith('p_')]
  assert len(probabilities) == 4 + ('stages' in dials)
  for name in probabilities:
    assert columns[name].dtype == np.float32
    assert (columns[name] > 0).all() and (columns[name] < 1).all(), name
  assert np.isfinite(columns['seen_count']).all()


def test_a_policy_follows_taste_and_uniform_ignores_popularity():
  log = make_log(**SMALL, uniform_test=True)
  logged = log.columns(0, 3_500)
  uniform = log.columns(3_500, 4_500)
  items = log.config.num_items
  assert (logged['item'] < items // 10).mean() > 0.3
  shown, _ = log.process.simulate(0, uniform=True)
  assert shown.item.mean() == pytest.approx(items / 2, rel=0.02)
  np.testing.assert_array_equal(uniform['group_user'], shown.user[3_500:4_500])
  assert uniform['p_ctr'].mean() < logged['p_ctr'].mean()
  assert_same(
      make_log(**SMALL).columns(0, 3_000),
      make_log(**SMALL, uniform_test=True).columns(0, 3_000),
  )


def test_an_auc_out_of_reach_is_named():
  dials = dict(auc_ctr=1 - 1e-9, hidden=3)
  with pytest.raises(InputError, match="'auc_ctr'.*Lower"):
    LogProcess(simulator_config('default', **SMALL, **dials))
