"""Sums over bins of a probability: values by hand, and parts that add up."""

from esmm_jax.reporting.page import scores, sections
from esmm_jax.reporting.page.bins import Bins, observed_rate
from esmm_jax.serving.calibrators import calibrate_probabilities
from esmm_jax.tasks import CART_FUNNEL, CLICK, Task
from esmm_jax.types import InputError
from hypothesis import given, strategies as st
import numpy as np
from pyarrow import parquet
import pyarrow as pa
import pytest


def test_groups_are_quantiles():
  """1,000 well-spread rows: the groups are the tenths of the sorted rows."""
  rng = np.random.default_rng(0)
  p = rng.permutation(1 / (1 + np.exp(-np.linspace(-5, 5, 1000))))
  label = rng.integers(0, 2, 1000)
  bins = Bins('p', 'label')
  bins.add(p, p=p, label=label)
  found = bins.groups(10)
  order = np.argsort(p)
  # A fine bin is 1/64 of log-odds and holds one or two of these rows.
  np.testing.assert_allclose(found['count'], 100, atol=1)
  tenths = p[order].reshape(10, 100)
  np.testing.assert_allclose(
      found['p'] / found['count'], tenths.mean(1), rtol=0.01
  )
  assert found['label'].sum() == label.sum()


@given(
    st.lists(st.floats(0, 1), max_size=40),
    st.integers(0, 40),
    st.integers(1, 12),
)
def test_parts_add_up(p, cut, num):
  """Rows given in two parts give what they give at once; none is lost."""
  p = np.array(p)
  x = np.arange(len(p), dtype=np.float64)
  whole, parts = Bins('x'), Bins('x')
  whole.add(p, x=x)
  parts.add(p[:cut], x=x[:cut])
  parts.add(p[cut:], x=x[cut:])
  found, again = whole.groups(num), parts.groups(num)
  assert found['count'].tolist() == again['count'].tolist()
  np.testing.assert_array_equal(found['x'], again['x'])
  assert found['count'].sum() == len(p) and found['x'].sum() == x.sum()
  assert len(found['count']) <= num and np.all(found['count'] > 0)


@given(st.lists(st.floats(0.001, 0.999), min_size=1, max_size=40))
def test_groups_rise(p):
  bins = Bins('p')
  bins.add(p, p=p)
  found = bins.groups(5)
  assert np.all(np.diff(found['p'] / found['count']) > 0)


@pytest.mark.parametrize('p', [[0.5, 1.1], [-0.1], [np.nan]])
def test_no_probability(p):
  with pytest.raises(InputError, match='must be probabilities'):
    Bins('x').add(p, x=p)


def test_other_columns():
  with pytest.raises(InputError, match="'y'"):
    Bins('x').add([0.5], y=[1])


def test_wilson():
  """8 of 10 and 0 of 10, from the formula: n + z^2 and so on."""
  rate, low, high = observed_rate([8, 0, 0], [10, 10, 0])
  np.testing.assert_allclose(rate[:2], [0.8, 0])
  np.testing.assert_allclose(low[:2], [0.490162, 0], atol=1e-6)
  np.testing.assert_allclose(high[:2], [0.943318, 0.277533], atol=1e-6)
  assert np.isnan([rate[2], low[2], high[2]]).all()


@pytest.mark.parametrize(
    'top, label, counts',
    [
        ([0.5] * 3, [0] * 3, [1003]),  # 1.5 of 3 are no rate.
        ([0.5] * 12, [0, 1] * 6, [1000, 12]),  # Six expected of both outcomes.
        ([0.9] * 12, [1] * 12, [1012]),  # 1.2 who do not convert.
        ([0.5] * 60, [0, 1] * 30, [1000, 60]),  # More than half of a 20th.
    ])
def test_a_last_bin_of_few_rows_is_no_cliff(top, label, counts):
  """1,000 rows have one prediction; those above it have a bin, or join it."""
  p = np.array([0.05] * 1000 + top)
  bins = Bins('p', 'label')
  bins.add(p, p=p, label=np.array([1] * 50 + [0] * 950 + label))
  curve = scores.curve(bins)
  assert curve.count.tolist() == counts
  ends = np.cumsum([0, *counts])
  np.testing.assert_allclose(
      curve.predicted, [p[a:b].mean() for a, b in zip(ends, ends[1:])])
  rate = [(50 + sum(label)) / sum(counts)]
  if len(counts) > 1:
    rate = [0.05, np.mean(label)]
  np.testing.assert_allclose(curve.observed.rate, rate)


def test_a_first_bin_of_few_rows_joins_the_next():
  p = np.array([0.001] * 2 + [0.05] * 1000)
  bins = Bins('p', 'label')
  bins.add(p, p=p, label=p * 0)
  assert scores.curve(bins).count.tolist() == [1002]


def write(path, **columns):
  parquet.write_table(pa.table(columns), path)
  return str(path)


def test_scores(tmp_path):
  """Two levels of pCTR; in the upper one half of the clicks convert."""
  n = 40
  high = np.arange(n) >= 20
  p_ctr = np.where(high, 0.5, 0.1).astype(np.float32)
  p_cvr = np.where(np.arange(n) % 2, 0.4, 0.2).astype(np.float32)
  click = np.where(high, np.arange(n) % 2, np.arange(n) % 10 == 0)
  conversion = click * (np.arange(n) % 4 == 1)
  path = write(
      tmp_path / 'test.parquet',
      p_ctr=p_ctr,
      p_cvr=p_cvr,
      p_ctcvr=p_ctr * p_cvr,
      click=click.astype(np.int8),
      conversion=conversion.astype(np.int8),
  )
  truth = np.linspace(0, 1, n)
  read = lambda low, high: {'p_cvr': truth[low:high]}
  found = scores.read(path, read)
  assert found.rows == n
  assert list(found.curves) == ['ctr', 'cvr_clicked', 'ctcvr']
  ctr = found.curves['ctr']
  np.testing.assert_allclose(ctr.predicted, [0.1, 0.5], rtol=1e-6)
  np.testing.assert_allclose(ctr.observed.rate, [2 / 20, 10 / 20])
  assert ctr.count.tolist() == [20, 20]
  # Clicked: rows 0 and 10 with .2, ten odd ones with .4, five of them convert.
  cvr = found.curves['cvr_clicked']
  np.testing.assert_allclose(cvr.predicted, [0.2, 0.4], rtol=1e-6)
  np.testing.assert_allclose(cvr.observed.rate, [0, 0.5])
  deciles = found.deciles
  np.testing.assert_allclose(deciles.ctr, [0.1, 0.5], rtol=1e-6)
  np.testing.assert_allclose(deciles.predicted, [0.3, 0.3], rtol=1e-6)
  np.testing.assert_allclose(deciles.predicted_clicked, [0.2, 0.4], rtol=1e-6)
  np.testing.assert_allclose(deciles.observed.rate, [0, 0.5])
  np.testing.assert_allclose(
      deciles.true, [truth[:20].mean(), truth[20:].mean()]
  )
  assert scores.read(path).deciles.true is None
  # 12 clicks, five of which convert.
  assert found.rates == {
      'ctr': ('click', 12, 40), 'cvr_clicked': ('conversion', 5, 12),
      'ctcvr': ('conversion', 5, 40)}
  (rows,) = sections.rates(found).parts
  assert rows.grid.rows == [
      ['ctr', 'click', '40', '12', '30.000%'],
      ['cvr_clicked', 'conversion', '12', '5', '41.667%'],
      ['ctcvr', 'conversion', '40', '5', '12.500%']]
  assert not sections.rates(None).parts


def test_scores_of_a_longer_funnel(tmp_path):
  half = np.full(4, 0.5)
  one = np.array([1, 1, 0, 0])
  labels = dict(click=one, cart=one, conversion=one)
  names = ('ctr', 'atr', 'ptr', 'cvr', 'ctatr', 'ctcvr')
  path = write(tmp_path / 'a', **{f'p_{n}': half for n in names}, **labels)
  assert list(scores.read(path, tasks=CART_FUNNEL).curves) == [
      'ctr', 'atr_clicked', 'ctatr', 'ptr_carted', 'cvr_clicked', 'ctcvr']
  # Of the tasks of a shorter one only its own, and of others none at all.
  assert list(scores.read(path).curves) == ['ctr', 'cvr_clicked', 'ctcvr']


def test_scores_of_other_tasks(tmp_path):
  """Follows after a click, and a regression, which has no curve."""
  tasks = (
      CLICK, Task('ftr', 'follow', 'ctr'),
      Task('play_time', 'play_time', 'ctr', 'regression'))
  path = write(
      tmp_path / 'a', p_ctr=np.full(4, 0.5), p_ftr=np.full(4, 0.25),
      p_ctftr=np.full(4, 0.125), predicted_play_time=np.ones(4),
      click=np.array([1, 1, 0, 0]), follow=np.array([1, 0, 0, 0]),
      play_time=np.ones(4))
  found = scores.read(path, tasks=tasks)
  assert list(found.curves) == ['ctr', 'ftr_clicked', 'ctftr']
  curve = found.curves['ftr_clicked']
  assert curve.predicted == [0.25] and curve.observed.rate == [0.5]
  assert curve.count == [2] and found.deciles is None


def test_scores_of_a_damaged_file(tmp_path):
  path = tmp_path / 'test.parquet'
  path.write_bytes(b'PAR1 and no more')
  with pytest.raises(InputError, match='Delete it; the report makes it again'):
    scores.read(str(path))


def test_a_curve_after_platt():
  """Predictions twice too high in log-odds come back to the diagonal."""
  rng = np.random.default_rng(0)
  z = rng.normal(-1, 1, 20_000)
  true = 1 / (1 + np.exp(-z))
  p = 1 / (1 + np.exp(-2 * z))
  bins = Bins('p', 'label')
  bins.add(p, p=p, label=true)  # Expected labels, without noise.
  platt = {'platt': {'slope': 0.5, 'intercept': 0.0}}
  change = lambda p: calibrate_probabilities(platt, 'platt', p)
  before, after = scores.curve(bins), scores.remapped(bins, change)
  assert np.abs(before.predicted - before.observed.rate).max() > 0.1
  np.testing.assert_allclose(
      after.predicted, after.observed.rate, rtol=0.01
  )
  assert after.count.sum() == 20_000
