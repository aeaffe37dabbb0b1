"""Metrics of new labelled rows: those that training writes, to the digit."""

import json
import os
import subprocess
import sys

import esmm_jax
from esmm_jax.data.csv_files.dialect import Dialect
from esmm_jax.data.files import row_files
from esmm_jax.metrics.ranking import grouped_auc
from esmm_jax.serving import calibrate as calibrates
from esmm_jax.serving import evaluation, scoring, segments
from esmm_jax.training import parts
from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.types import InputError
import numpy as np
from pyarrow import csv, parquet
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests import ROOT
from tests.warm_start import days

pytestmark = pytest.mark.usefixtures('quick_compilation')
TEST_ROWS = 400


def log(rows=days.ROWS):
  """Rows with a time, a text to divide them by, and what the rule drops."""
  table = days.day(1, rows)
  number = np.arange(rows)
  bought = table['bought'].to_numpy().copy()
  bought[number % 50 == 7] = 1  # Some of them not clicked.
  hour = table['hour'].to_numpy()
  place = pa.array([None if n % 9 == 0 else 'abc'[h] for n, h in
                    zip(number, hour)])
  table = table.set_column(
      table.column_names.index('bought'), 'bought', pa.array(bought))
  return table.append_column('time', pa.array(number)).append_column(
      'place', place)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A run with gates on a log that is divided by time."""
  root = tmp_path_factory.mktemp('evaluated')
  parquet.write_table(log(), root / 'log.parquet')
  tree = days.config(
      str(root / 'log.parquet'), dataset__split='time', dataset__time='time',
      dataset__valid_share=None, dataset__test_share=None,
      dataset__valid_from=str(days.ROWS - 2 * TEST_ROWS),
      dataset__test_from=str(days.ROWS - TEST_ROWS), num_epochs=2,
      dataset__conversion_without_click='drop', run__eval_batch_size=128)
  from configs import mmoe

  tree.model = mmoe.get_config('smoke').model
  tree.model.embed_dim = 4
  results = train_and_evaluate(tree, str(root / 'run'), str(root / 'data'))
  assert results['test/gate_cvr/entropy'] > 0
  return root, results


@pytest.mark.slow
def test_rows_that_the_run_had_no_rule_for(finished_days):
  """It was trained with `error`, which advises a flag of training."""
  rows = days.day(2, 40)
  k = rows.column_names.index('bought')
  rows = rows.set_column(k, 'bought', pa.array([1] * 40))
  with pytest.raises(InputError, match="columns, row .*'bought' is 1 and"
                     ".*0. The run has no rule for such rows; correct them"):
    esmm_jax.load(finished_days).evaluate(rows)


@pytest.fixture(scope='module')
def finished_days(tmp_path_factory):
  return days.train(str(tmp_path_factory.mktemp('days')), 'plain', 1)[0]


@pytest.fixture(scope='module')
def predictor(run):
  return esmm_jax.load(str(run[0] / 'run'))


def of_test(results):
  return {k[5:]: v for k, v in results.items() if k.startswith('test/')}


def assert_equal(found, expected):
  """To the digit; GAUC is a sum over users, whose order is another one."""
  assert expected and expected.keys() <= found.keys()
  for key, value in expected.items():
    # JSON has no nan and no infinity.
    now = found[key] if np.isfinite(found[key] or 0) else None
    if key.endswith('/gauc') and value is not None:
      assert now == pytest.approx(value, rel=1e-12)
    else:
      assert now == value, key


def test_the_file_of_the_test_split(run, predictor, tmp_path):
  """In one file, in several of any length, as CSV, and in memory."""
  root, results = run
  rows = log().slice(days.ROWS - TEST_ROWS)
  expected = of_test(results)
  assert len([k for k in expected if k.startswith('gate_')]) > 4
  found = predictor.evaluate(rows)
  assert_equal(found, expected)
  dropped = pc.sum(pc.and_(
      pc.equal(rows['bought'], 1), pc.equal(rows['clicked'], 0))).as_py()
  assert 0 < dropped == found['left_out'] == TEST_ROWS - found['rows']
  parquet.write_table(rows, tmp_path / 'whole.parquet')
  parquet.write_table(rows.slice(0, 131), tmp_path / 'part-0.parquet')
  parquet.write_table(rows.slice(131), tmp_path / 'part-1.parquet')
  tags = ['|'.join(t) for t in rows['tags'].to_pylist()]
  k = rows.column_names.index('tags')
  csv.write_csv(rows.set_column(k, 'tags', pa.array(tags)), tmp_path / 'w.csv')
  for pattern in ('whole.parquet', 'part-*.parquet', 'w.csv'):
    files = row_files.find([str(tmp_path / pattern)])
    assert evaluation.evaluate_files(predictor, files) == found


def test_files_of_another_form(run, predictor, tmp_path):
  """As --separator and so on say; what is no such file is refused."""
  rows = log().slice(days.ROWS - TEST_ROWS)
  expected = predictor.evaluate(rows)
  rows = rows.set_column(
      rows.column_names.index('tags'), 'tags',
      pa.array(['|'.join(t) for t in rows['tags'].to_pylist()]))
  csv.write_csv(rows, tmp_path / 'log.txt', csv.WriteOptions(delimiter=';'))
  form = Dialect.read({'separator': ';', 'format': 'csv'})
  files = row_files.find([str(tmp_path / 'log.txt')], dialect=form)
  assert evaluation.evaluate_files(predictor, files, form) == expected
  with pytest.raises(InputError, match="separator=';'"):
    evaluation.evaluate_files(
        predictor, files, Dialect.read({'format': 'csv'}))
  bad = rows.set_column(
      rows.column_names.index('price'), 'price',
      pa.array(['1'] * 60 + ['x'] * (TEST_ROWS - 60)))
  csv.write_csv(bad, tmp_path / 'bad.csv')
  files = row_files.find([str(tmp_path / 'bad.csv')])
  words = "bad.csv, line 62: column 'price' is 'x'; it must be a number"
  with pytest.raises(InputError, match=words):
    evaluation.evaluate_files(predictor, files)
  with pytest.raises(InputError, match=words):
    scoring.score_files(predictor, files, str(tmp_path / 'scores.csv'))


def test_a_split(run, predictor):
  root, results = run
  builder = parts.dataset(predictor.config.dataset, str(root / 'data'))
  found = evaluation.evaluate_split(predictor, builder, 'test', by='hour')
  assert_equal(found, of_test(results))
  assert {n for n in found if n.startswith('gauc')} == set()
  # Ids are shown as the texts that they are of.
  assert sorted(segments.names(found)) == ['hour=0', 'hour=1', 'hour=2']
  in_memory = predictor.evaluate(
      log().slice(days.ROWS - TEST_ROWS), by='hour')
  for key in found:
    if key.startswith('by/') and '/gauc' not in key:
      assert found[key] == in_memory[key], key


def test_rows_without_a_group(predictor):
  """They are ranked against nothing, in memory as in the run's splits."""
  rows = log().slice(days.ROWS - TEST_ROWS)
  user = rows['user'].to_pylist()
  user = pa.array([None if k % 2 else v for k, v in enumerate(user)])
  k = rows.column_names.index('user')
  rows = rows.set_column(k, 'user', user.cast(rows['user'].type))
  clicked = rows['clicked'].to_numpy()
  there = user.is_valid().to_numpy(zero_copy_only=False)
  there &= (rows['bought'].to_numpy() == 0) | (clicked == 1)
  scores = np.asarray(predictor.predict(rows)['p_ctr'])
  wanted = grouped_auc(
      scores[there], clicked[there], segments.codes(user)[there])
  found = predictor.evaluate(rows)
  assert found['ctr/gauc'] == pytest.approx(wanted.value, rel=1e-6)
  assert found['ctr/gauc_coverage'] < 0.6


def test_segments(predictor):
  """Each is evaluated as by itself."""
  rows = log()
  found = predictor.evaluate(rows, by='place')
  names = segments.names(found)
  sizes = [found[f'by/{n}/rows'] for n in names]
  assert sorted(sizes, reverse=True) == sizes
  assert sum(sizes) == found['rows'] and found['by/place/others'] == 0
  assert set(names) == {'place=a', 'place=b', 'place=c', 'place=(missing)'}
  for value in ('a', None):
    mask = pc.is_null(rows['place']) if value is None else (
        pc.fill_null(pc.equal(rows['place'], value), False))
    alone = predictor.evaluate(rows.filter(mask))
    prefix = f'by/place={value or "(missing)"}/'
    for key in alone:
      if key.partition('/')[0] in ('ctr', 'cvr_clicked', 'ctcvr'):
        assert found[prefix + key] == pytest.approx(alone[key], rel=1e-9), key
    assert found[f'{prefix}small'] is False
  few = predictor.evaluate(rows.slice(0, 60), by='place')
  assert all(few[f'by/{n}/small'] for n in segments.names(few))
  many = predictor.evaluate(rows, by='user')
  assert len(segments.names(many)) == segments.MOST
  assert many['by/user/others'] == len(
      set(rows['user'].to_pylist())) - segments.MOST
  assert many['by/user/other_rows'] + sum(
      many[f'by/{n}/rows'] for n in segments.names(many)) == many['rows']


def test_rows_of_unseen_ids(run, predictor):
  """Of single ids and of lists; each is evaluated as by itself."""
  rows = log(600)
  user, tags = rows['user'].to_pylist(), rows['tags'].to_pylist()
  # The encoder says which of the others are too rare.
  seen = set(predictor.texts('user'))
  for n in range(0, 600, 3):
    user[n], tags[n] = 'stranger', ['t1', 'new']
  user[1], tags[1], tags[2] = None, [], None
  for name, values in (('user', user), ('tags', tags)):
    k = rows.column_names.index(name)
    rows = rows.set_column(k, name, pa.array(values))
  kinds = {
      'user': ['(missing)' if u is None else
               'seen' if u in seen else '(rare or unseen)' for u in user],
      'tags': ['(missing)' if not t else
               '(rare or unseen)' if 'new' in t else 'seen' for t in tags],
  }
  for name, kind in kinds.items():
    found = predictor.evaluate(rows, by=f'unseen:{name}')
    start = f'by/unseen:{name}'
    assert found[f'{start}/others'] == 0
    assert set(segments.names(found)) == {
        f'unseen:{name}={k}' for k in kind}
    for value in ('seen', '(rare or unseen)'):
      alone = predictor.evaluate(rows.filter(pa.array([k == value
                                                       for k in kind])))
      assert found[f'{start}={value}/rows'] == alone['rows'] > 100
      for key in alone:
        if key.partition('/')[0] in ('ctr', 'cvr_clicked', 'ctcvr'):
          assert found[f'{start}={value}/{key}'] == pytest.approx(
              alone[key], rel=1e-9), key
    assert found[f'{start}=(missing)/small'] is True


def test_unseen_ids_of_a_split(run, predictor):
  root, results = run
  builder = parts.dataset(predictor.config.dataset, str(root / 'data'))
  found = evaluation.evaluate_split(
      predictor, builder, 'test', by='unseen:item')
  assert_equal(found, of_test(results))
  assert segments.names(found) == ['unseen:item=seen']  # As in training.
  in_memory = predictor.evaluate(
      log().slice(days.ROWS - TEST_ROWS), by='unseen:item')
  for key in found:
    if key.startswith('by/') and '/gauc' not in key:
      assert found[key] == in_memory[key], key
  words = "--by=unseen:price: 'price' is not an id field.*There are: hour, item"
  with pytest.raises(InputError, match=words):
    evaluation.evaluate_split(predictor, builder, 'test', by='unseen:price')
  with pytest.raises(InputError, match="'usr' is n.*Did you mean 'user'"):
    predictor.evaluate(log(64), by='unseen:usr')


def test_shares_of_unseen_and_missing_values(predictor):
  rows = log(100)
  user = rows['user'].to_pylist()
  user[:25], user[25:35] = ['stranger'] * 25, [None] * 10
  price = [None] * 40 + rows['price'].to_pylist()[40:]
  for name, values in (('user', user), ('price', price)):
    k = rows.column_names.index(name)
    rows = rows.set_column(k, name, pa.array(values))
  k = rows.column_names.index('bought')
  rows = rows.set_column(k, 'bought', rows['clicked'])  # None is left out.
  found = predictor.evaluate(rows)
  assert found['rows'] == 100
  assert found['missing/user'] == 0.10
  assert found['unseen/user'] == pytest.approx(25 / 90)
  assert found['missing/price'] == 0.40
  assert found['unseen/item'] == found['missing/item'] == 0


def test_calibrated(run, predictor):
  root, _ = run
  folder = str(root / 'run')
  table = calibrates.calibrate(folder, str(root / 'data'))
  builder = parts.dataset(predictor.config.dataset, str(root / 'data'))
  for kind in ('platt', 'isotonic'):
    found = evaluation.evaluate_split(
        predictor, builder, 'test', calibrated=kind, joint='own')
    for space in ('ctr', 'cvr_clicked', 'ctcvr'):
      for name, value in table['test'][space][kind].items():
        assert found[f'{space}/{name}'] == value


@pytest.mark.parametrize('change, words', [
    (lambda t: t.drop_columns(['bought']),
     "columns: there is no column 'bought', which holds a label of the run"),
    (lambda t: t.drop_columns(['item']), "'item', which the model reads"),
    (lambda t: t.drop_columns(['user']), "'user', which the model reads"),
    (lambda t: t.set_column(t.column_names.index('clicked'), 'clicked',
                            pa.array([3] * len(t))),
     "columns, row 0: column 'clicked' is .*3"),
    # Behind rows that the rule leaves out.
    (lambda t: t.set_column(t.column_names.index('price'), 'price',
                            pa.array(['1'] * 60 + ['x'] * 4)),
     "columns, row 60: column 'price' is 'x'"),
    (lambda t: t.slice(0, 0), 'There are no rows to evaluate'),
])
def test_what_is_refused(predictor, change, words):
  with pytest.raises(InputError, match=words):
    predictor.evaluate(change(log(64)))
  with pytest.raises(InputError, match="'palce', which --by names.*'place'"):
    predictor.evaluate(log(64), by='palce')


def test_splits_that_are_refused(run, predictor, finished):
  root, _ = run
  builder = parts.dataset(predictor.config.dataset, str(root / 'data'))
  for arguments, words in (
      (('tset',), "no split 'tset'"),
      (('test', 'tags'), '--by=tags: with --split, name a column with one id'),
      (('test', 'huor'), "--by=huor.*Did you mean 'hour'")):
    with pytest.raises(InputError, match=words):
      evaluation.evaluate_split(predictor, builder, *arguments)
  words = 'was trained on the data tabular/.*Set --data_dir'
  with pytest.raises(InputError, match=words):
    evaluation.evaluate_split(predictor, finished.builder(), 'test')


def program(*arguments):
  # Compiled as the run was: another compilation has other last bits.
  env = dict(
      os.environ, JAX_PLATFORMS='cpu', JAX_DISABLE_MOST_OPTIMIZATIONS='1')
  return subprocess.run(
      [sys.executable, '-m', 'experiments.evaluate', *map(str, arguments)],
      cwd=ROOT, env=env, text=True, capture_output=True, check=False)


@pytest.mark.long
def test_the_program(run, tmp_path):
  root, results = run
  parquet.write_table(log(), tmp_path / 'new.parquet')
  parquet.write_table(
      log().drop_columns(['clicked']), tmp_path / 'bare.parquet')
  workdir = f'--workdir={root / "run"}'
  done = program(
      workdir, f'--input={tmp_path / "new.parquet"}', '--by=place',
      f'--output={tmp_path / "new.json"}')
  assert done.returncode == 0, done.stderr
  for text in ('cvr_clicked', 'by place', 'place=a', 'left out, by the rule',
               'auc pr', 'recall at 1pct'):
    assert text in done.stdout
  found = json.loads((tmp_path / 'new.json').read_text('utf-8'))
  assert found['rows'] + found['left_out'] == days.ROWS
  assert not [v for v in found.values() if isinstance(v, dict)]
  done = program(workdir, '--split=test', f'--data_dir={root / "data"}')
  assert done.returncode == 0, done.stderr
  path = root / 'run' / 'evaluation.json'
  found = json.loads(path.read_text('utf-8'))
  assert_equal(found, of_test(results))
  parquet.write_table(
      log().filter(pc.equal(log()['clicked'], 0)), tmp_path / 'new.parquet')
  done = program(workdir, f'--input={tmp_path / "new.parquet"}')
  assert done.returncode == 0, done.stderr
  assert 'one label: AUC of ctr, cvr_clicked, ctcvr\n' in done.stdout
  for arguments, code, words in (
      ((workdir,), 2, 'set one of --input'),
      ((workdir, '--split=test', '--output=no/x.json'), 1, 'no folder no'),
      ((f'--workdir={tmp_path}', '--split=test'), 1, 'not the folder of a run'),
      ((workdir, f'--input={tmp_path / "bare.parquet"}'), 1,
       "bare.parquet: there is no column 'clicked', which holds a label")):
    done = program(*arguments)
    assert (done.returncode, done.stderr.count('\n')) == (code, 1)
    assert words in done.stderr
