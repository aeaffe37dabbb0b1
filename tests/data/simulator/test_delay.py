"""Delays of conversions in the simulated log, against their formulas."""

import math

from esmm_jax.data.simulator import delay
from esmm_jax.data.simulator.config import simulator_config
from esmm_jax.data.simulator.dataset import Simulator, simulator_schema, TRUTH
from esmm_jax.data.simulator.process import BLOCK
from esmm_jax.data.simulator.raw import write_raw_files
from esmm_jax.types import InputError, Ragged
import numpy as np
import pytest
from scipy import integrate, stats

from tests.data.simulator.logs import assert_same, make_log, SMALL

# 40 % of the conversions are not seen.
FORTY = dict(delay_mean=1.0, delay_window=2.2316)
KINDS = {
    'heavy tail': dict(FORTY, delay_shape=0.5),
    'by features': dict(FORTY, delay_shape=2.0, delay_spread=1.0),
    'days': dict(delay_mean=7.0, delay_window=30.0, delay_spread=0.5, hidden=1),
    'cart': dict(FORTY, stages=3),
}


@pytest.fixture(scope='module', params=list(KINDS))
def kind(request):
  """Dials and columns of a log with many clicks and conversions."""
  sizes = dict(num_train=2 * BLOCK, num_valid=0, num_test=0)
  dials = dict(sizes, ctr=0.3, cvr=0.1) | KINDS[request.param]
  return dials, make_log(**dials).columns(0, 2 * BLOCK)


def of_mean(dials, mean):
  """The distribution of a delay of these means."""
  shape = dials.get('delay_shape', 1.0)
  return stats.weibull_min(shape, scale=mean / math.gamma(1 + 1 / shape))


def means(dials, columns):
  """The mean delay of each row, from fields that the rows show."""
  spread = dials.get('delay_spread', 0.0)
  log = make_log(**dials)
  z = np.concatenate(
      [-log.process.spare(log.process.expose(k)) for k in range(2)]
  )
  norm = np.exp(-spread * log.process.spare(log.process.calibration_draw()))
  assert len(z) == len(columns['click'])
  return dials['delay_mean'] * np.exp(spread * z) / norm.mean(dtype=np.float64)


def test_ages_are_uniform_and_delays_weibull(kind):
  dials, columns = kind
  age, late = columns['click_age'], columns['conversion_delay']
  assert age.dtype == late.dtype == np.float32
  assert age.min() > 0 and late.min() >= 0
  uniform = stats.uniform(0, dials['delay_window'])
  assert stats.kstest(age, uniform.cdf).pvalue > 1e-3
  # Divided by its row's mean, each is a draw of one distribution of mean 1.
  relative = late / means(dials, columns)
  assert stats.kstest(relative, of_mean(dials, 1.0).cdf).pvalue > 1e-3
  assert abs(np.corrcoef(age, relative)[0, 1]) < 0.015
  error = late.std() / math.sqrt(len(late))
  assert abs(late.mean() - dials['delay_mean']) < 5 * error


def test_a_conversion_is_seen_where_its_click_is_old_enough(kind):
  _, columns = kind
  eventually = columns['click'] * columns['conversion_if_clicked']
  np.testing.assert_array_equal(columns['conversion_eventually'], eventually)
  in_time = columns['conversion_delay'] <= columns['click_age']
  observed = columns['conversion_observed']
  np.testing.assert_array_equal(observed, eventually * in_time)
  np.testing.assert_array_equal(columns['conversion'], observed)
  for name in ('conversion', *delay.TRUTH[3:]):
    assert columns[name].dtype == np.int8, name


def test_labels_are_as_frequent_as_their_probabilities(kind):
  """Sums of (outcome - probability) over bins of the probability, in sigmas."""
  _, columns = kind
  clicked = columns['click'] == 1
  for label, p in (
      ('conversion_observed', 'p_cvr_observed'),
      ('conversion_eventually', 'p_cvr_clicked'),
  ):
    outcome = columns[label][clicked]
    p = columns[p][clicked].astype(np.float64)
    for rows in np.array_split(np.argsort(p), 5):
      sigma = np.sqrt(np.sum(p[rows] * (1 - p[rows])))
      assert abs(np.sum(outcome[rows] - p[rows])) / sigma < 3.5, label


def test_the_probability_of_the_label_is_an_integral(kind):
  """p_cvr_observed = p_cvr_clicked * mean over ages of P(D <= A)."""
  dials, columns = kind
  mean, window = means(dials, columns), dials['delay_window']
  for row in range(0, 2000, 97):
    seen, _ = integrate.quad(of_mean(dials, mean[row]).cdf, 0, window)
    expected = columns['p_cvr_clicked'][row] * seen / window
    assert columns['p_cvr_observed'][row] == pytest.approx(expected, rel=1e-4)


def test_a_tenth_of_which_forty_percent_are_late_is_six_percent():
  assert delay.share_seen(np.array([2.2316]), 1.0) == pytest.approx(0.6, 1e-4)
  dials = dict(num_train=4 * BLOCK, num_valid=0, num_test=0, rho=0.0)
  log = make_log(**dials, **FORTY, ctr=0.5, cvr=0.1)
  columns = log.columns(0, 4 * BLOCK)
  clicked = columns['click'] == 1
  labels = {
      name: columns[name][clicked].mean()
      for name in ('conversion', 'conversion_eventually')
  }
  # Sessions share a user, so the error is above the binomial one.
  assert labels['conversion'] == pytest.approx(0.06, rel=0.03)
  assert labels['conversion_eventually'] == pytest.approx(0.1, rel=0.03)


@pytest.mark.parametrize('windows, shape, expected', [
    (1e-6, 1.0, 5e-7),
    (1e9, 1.0, 1.0),
    (1e-3, 0.2, 0.188352),
    (1e6, 10.0, 1.0),
])
def test_extreme_windows(windows, shape, expected):
  share = delay.share_seen(np.array([windows]), shape)
  assert share == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize('dials', [
    dict(delay_mean=1e6, delay_window=1e-6, delay_shape=10.0),
    dict(delay_mean=1e-6, delay_window=1e6, delay_shape=0.2, delay_spread=3.0),
    dict(delay_mean=1e6, delay_window=1e6, delay_shape=0.2, delay_spread=3.0),
])
def test_extreme_delays_give_clean_numbers(dials):
  columns = make_log(**SMALL, **dials).columns(0, 4_500)
  for name in delay.TRUTH:
    assert np.isfinite(columns[name]).all(), name
  p = columns['p_cvr_observed']
  assert (p > 0).all() and (p < 1).all()
  assert (columns['click_age'] > 0).all()


def test_a_delay_changes_no_other_column():
  plain = make_log(**SMALL).columns(0, 4_500)
  delayed = make_log(**SMALL, **FORTY).columns(0, 4_500)
  assert set(delayed) - set(plain) == set(delay.TRUTH)
  train = slice(0, 3_000)
  assert delayed['conversion'][train].sum() < plain['conversion'][train].sum()
  # Validation and test rows have the label of conversions that come at last.
  np.testing.assert_array_equal(
      delayed['conversion'][3_000:], plain['conversion'][3_000:]
  )
  for name in delay.TRUTH:
    delayed.pop(name)
  delayed['conversion'] = plain['conversion']
  assert_same(delayed, plain)


def test_a_row_is_the_same_whatever_range_is_asked_for():
  sizes = dict(num_train=BLOCK + 3_000, num_valid=500, num_test=1_000)
  dials = dict(FORTY, delay_spread=1.0, delay_shape=0.7, **sizes)
  end = BLOCK + 4_500
  whole = make_log(**dials).columns(0, end)
  for start, stop in (
      (0, 10),
      (BLOCK - 5, BLOCK + 5),
      (BLOCK + 2_990, BLOCK + 3_510),
      (end - 1, end),
  ):
    part = make_log(**dials).columns(start, stop)
    rows = slice(start, stop)
    names = [n for n, c in part.items() if not isinstance(c, Ragged)]
    assert set(delay.TRUTH) <= set(names)
    assert_same(
        {name: part[name] for name in names},
        {name: whole[name][rows] for name in names},
    )


def test_the_seed_decides_and_blocks_differ():
  first, other = (
      make_log(**SMALL, **FORTY, seed=seed).columns(0, 4_500)
      for seed in (3, 4)
  )
  log = make_log(num_train=2 * BLOCK, num_valid=0, num_test=0, **FORTY)
  low, high = log.columns(0, 9), log.columns(BLOCK, BLOCK + 9)
  for name in ('click_age', 'conversion_delay'):
    assert (first[name] != other[name]).all(), name
    assert (low[name] != high[name]).all(), name


@pytest.mark.parametrize('dials, message', [
    (dict(delay_mean=2.0), "'delay_mean' is 2 and 'delay_window' is 0; set"),
    (dict(delay_window=3.0), "'delay_window' is 3, which has no effect"),
    (dict(delay_shape=2.0), "'delay_shape' is 2, which has no effect"),
    (dict(delay_spread=1.0), "'delay_spread' is 1, which has no effect"),
    (dict(delay_mean=-1.0), "'delay_mean' is -1.0; it must be a number from 0"),
    (dict(FORTY, delay_shape=0), "'delay_shape' is 0; it must be a number"),
    (dict(FORTY, delay_spread=4), "'delay_spread' is 4; it must be a number"),
    (dict(delay_mean=float('inf')), "'delay_mean' is inf; it must be a number"),
])
def test_dials_that_make_no_delay_are_named(dials, message):
  with pytest.raises(InputError, match=message):
    simulator_config('tiny', **dials)


def test_the_folder_and_the_schema_say_that_there_is_a_delay():
  plain = simulator_config('tiny', delay_mean=0.0, delay_shape=1)
  delayed = simulator_config('tiny', **FORTY)
  assert plain.name == 'tiny' and not plain.is_delayed
  assert delayed.name == 'tiny-delay_mean_1-delay_window_2.2316'
  assert simulator_schema(plain).truth == TRUTH
  assert simulator_schema(delayed).truth == (*TRUTH, *delay.TRUTH)
  fields = [simulator_schema(c).fields for c in (plain, delayed)]
  assert fields[0] == fields[1]


def test_raw_files_have_no_delay(tmp_path):
  config = simulator_config('tiny', **SMALL, **FORTY)
  with pytest.raises(InputError, match='delay_mean is 1; .* must be 0'):
    write_raw_files(config, str(tmp_path))


@pytest.mark.slow
def test_a_prepared_delay(tmp_path):
  builder = Simulator.from_options(
      str(tmp_path), 'default', **SMALL, **FORTY, ctr=0.3, cvr=0.3
  ).prepare()
  expected, start = builder.columns(0, 4_500), 0
  for split, num_rows in (('train', 3_000), ('valid', 500), ('test', 1_000)):
    source, truth = builder.as_data_source(split), builder.truth_source(split)
    assert not set(delay.TRUTH) & set(source.names)
    rows = slice(start, start + num_rows)
    columns = truth.read(0, num_rows)
    for name in delay.TRUTH:
      np.testing.assert_array_equal(columns[name], expected[name][rows])
    label = source.read(0, num_rows)['conversion']
    other = 'observed' if split == 'train' else 'eventually'
    np.testing.assert_array_equal(label, columns[f'conversion_{other}'])
    counts = builder.report[split]
    assert counts['conversions'] == label.sum()
    eventually = columns['conversion_eventually'].sum()
    assert counts['conversions_eventually'] == eventually
    assert (counts['conversions'] < eventually) == (split == 'train')
    start += num_rows
