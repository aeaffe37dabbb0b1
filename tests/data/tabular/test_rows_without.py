"""Rows without a value of the columns that keep rows together."""

from esmm_jax.metrics.by_space import each_alone, evaluate, Observed
from esmm_jax.metrics.ranking import grouped_auc
from esmm_jax.training.predict import observe
import numpy as np
from pyarrow import csv, parquet
import pyarrow as pa
import pytest

from tests.data.tabular.test_tabular import many, prepared, RANDOM, read

PLAIN = dict(
    split='random', time='', valid_from='', test_from='', ids='', float='')


@pytest.fixture(scope='module')
def log():
  """A log of which every other row has no user."""
  rows = many()
  user = pa.array([
      None if k % 2 else v for k, v in enumerate(rows['user'].to_pylist())])
  return rows.set_column(0, 'user', user)


def write(log, path):
  (csv.write_csv if path.suffix == '.csv' else parquet.write_table)(log, path)
  return str(path)


@pytest.mark.parametrize('form', ['log.csv', 'log.parquet'])
def test_gauc_leaves_rows_without_a_group_out(form, log, tmp_path):
  data = prepared(
      tmp_path, write(log, tmp_path / form), **RANDOM | PLAIN,
      valid_share=0.1, test_share=0.4)
  observed = observe(data, 'test')
  stored = read(data)['test']['group_key']
  clicks = np.asarray(observed.labels['click'])
  assert 700 < (stored == 0).sum() < 900
  # The users that are there, as they are stored; each other row is alone.
  np.testing.assert_array_equal(observed.groups[stored > 0], stored[stored > 0])
  assert len(set(observed.groups[stored == 0])) == (stored == 0).sum()
  scores = np.random.default_rng(0).normal(size=len(clicks)) + clicks
  outputs = dict.fromkeys(('ctr', 'cvr', 'ctcvr'), scores)
  found = evaluate(outputs, observed)
  there = stored > 0
  wanted = grouped_auc(scores[there], clicks[there], stored[there])
  assert found['ctr/gauc'] == wanted.value
  assert found['ctr/gauc_coverage'] == pytest.approx(
      wanted.coverage * there.mean())
  converted = np.asarray(observed.labels['conversion'])
  within = there & (clicks == 1)
  assert found['cvr_clicked/gauc'] == grouped_auc(
      scores[within], converted[within], stored[within]).value
  (said,) = data.warnings
  assert said == (
      "2,000 of 4,000 rows have no value in column 'user' (dataset.group): GAUC"
      ' leaves them out, and its coverage counts them.')


def test_what_earlier_versions_said_of_gauc(log, tmp_path):
  data = prepared(
      tmp_path, write(log, tmp_path / 'log.csv'), **RANDOM | PLAIN)
  (now,) = data.warnings
  data.report['warnings'] = [
      now.split(': GAUC')[0] + ': GAUC takes them for one group. Give each its'
      ' own value to leave them out of GAUC.', 'another: GAUC']
  assert data.warnings == [now, 'another: GAUC']


def test_each_alone():
  groups = np.array([3, 0, 3, 0])
  assert each_alone(groups, None) is groups
  assert each_alone(groups, 7) is groups
  assert each_alone(groups, 0).tolist() == [3, -1, 3, -2]
  # One class in each group: nothing to rank.
  observed = Observed({'click': [1, 0, 1, 0], 'conversion': [0] * 4},
                      each_alone(np.zeros(4, int), 0), {})
  scores = dict.fromkeys(('ctr', 'cvr', 'ctcvr'), np.arange(4.0))
  assert np.isnan(evaluate(scores, observed)['ctr/gauc'])


@pytest.mark.parametrize('rule', ['random', 'files'])
def test_rows_without_a_value_are_split_one_by_one(rule, log, tmp_path):
  path = write(log, tmp_path / 'log.parquet')
  options = RANDOM | PLAIN | dict(
      group='', split_by='user', valid_share=0.2, min_count=1)
  if rule == 'random':
    options['test_share'] = 0.2
    files = path
  else:
    options |= dict(split='files', test_files=write(
        log.slice(0, 100), tmp_path / 'test.parquet'))
    files = path
  data = prepared(tmp_path, files, **options)
  splits = read(data)
  missing = {name: (c['user'] == 0).mean() for name, c in splits.items()}
  # The share of each split, and as many rows without a user in each.
  rows = {name: len(c['user']) for name, c in splits.items()}
  assert 600 < rows['valid'] < 1000
  assert all(0.4 < share < 0.6 for share in missing.values())
  users = [set(c['user'][c['user'] > 0].tolist()) for c in splits.values()]
  assert not users[0] & users[1]
  total = 4000 if rule == 'random' else 4100
  assert data.warnings == [
      f"{total // 2:,} of {total:,} rows have no value in column 'user'"
      ' (dataset.split_by): each of them is assigned to a split on its own.']
