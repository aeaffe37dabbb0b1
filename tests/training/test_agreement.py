"""Keys that must agree are compared before anything is prepared or trained."""

import importlib
import json
import os
import pathlib

from esmm_jax.data.kuairand.dataset import KuaiRand
from esmm_jax.data.simulator.dataset import Simulator
from esmm_jax.data.tabular.dataset import Tabular
from esmm_jax.metrics.by_space import evaluate, metric_keys
from esmm_jax.tasks import spaces
from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.training.predict import observe
from esmm_jax.types import InputError
import numpy as np
from pyarrow import csv, parquet
import pytest

from tests.data.kuairand.test_kuairand import make_raw
from tests.data.tabular.test_tabular import many, RANDOM
from tests.serving import served

pytestmark = pytest.mark.usefixtures('quick_compilation')


def on_a_log(path, **more):
  config = importlib.import_module('configs.esmm').get_config('tabular')
  config.dataset.update(files=path, **RANDOM)
  config.update(batch_size=256, learning_rate=3e-2)
  config.model.update(embed_dim=4, tower_units=(8,))
  config.update_from_flattened_dict(more)
  return config


@pytest.fixture(scope='module')
def log(tmp_path_factory):
  path = tmp_path_factory.mktemp('log') / 'log.parquet'
  parquet.write_table(many(1500), path)
  return str(path)


WRONG = {
    'typo': ({'selection.metric': 'valid/ctcvr/acu'}, "'valid/ctcvr/auc'?"),
    'space': (
        {'selection.metric': 'valid/atr_clicked/auc'}, 'none of the metrics'),
    'task': (
        {'dataset.tasks': ('ctr',), 'selection.metric': 'valid/ctcvr/auc'},
        'There are: valid/ctr/auc'),
    'no group': (
        {'dataset.group': '', 'selection.metric': 'valid/ctr/gauc'},
        'GAUC needs a group'),
    'no truth': (
        {'selection.metric': 'valid/cvr_entire/auc'}, 'a simulated log has'),
    'test': ({'selection.metric': 'test/ctr/auc'}, "never those of the test"),
    'ratio': ({'selection.metric': 'valid/ctr/calibration'}, 'neither at its'),
    'no validation': (
        {'selection.metric': 'valid/ctr/auc', 'dataset.valid_share': 0.0},
        'dataset.valid_files, or with dataset.valid_share of the training rows'
        ".*selection.metric='' and dataset.valid_split=''"),
    'patience': (
        {'selection.patience': 2, 'dataset.valid_split': ''},
        'selection.patience is 2, but there is no validation split'),
    'split': (
        {'dataset.valid_split': 'validation'},
        "dataset.valid_split is 'validation': tabular has no split"),
    'no test': ({'dataset.test_share': 0.0}, "there are .'train', 'valid'."),
    'part': (
        {'dataset.train_split': 'train[:50%]+val'}, "has no split 'val'"),
    'field': ({'dataset.fields': ('usr',)}, "No field 'usr'"),
    'one column': ({'dataset.conversion': 'clicked'}, 'are both'),
}


@pytest.mark.parametrize('case', WRONG)
def test_refused_before_anything_is_prepared(case, log, tmp_path):
  changes, words = WRONG[case]
  data, run = tmp_path / 'data', tmp_path / 'run'
  with pytest.raises(InputError, match=words):
    train_and_evaluate(on_a_log(log, **changes), str(run), str(data))
  assert not run.exists()
  assert not list(data.glob('**/*.npy'))


def small(**changes):
  return served.small_config(**{
      'dataset.num_train': 2048, 'dataset.num_valid': 512,
      'dataset.num_test': 512, 'save_predictions': False, **changes})


def lines(run):
  with open(os.path.join(run, 'metrics.jsonl'), encoding='utf-8') as f:
    return [json.loads(line) for line in f]


@pytest.mark.slow
def test_the_best_auc_is_kept_without_a_mode(tmp_path, capfd):
  config = small(**{
      'selection.metric': 'valid/ctr/auc', 'selection.mode': None,
      'evals_per_epoch': 4, 'learning_rate': 3e-2})
  run = str(tmp_path / 'run')
  results = train_and_evaluate(config, run, str(tmp_path / 'data'))
  scored = {s['step']: s['valid/ctr/auc'] for s in lines(run)
            if 'valid/ctr/auc' in s}
  assert len(scored) == 4
  assert scored[results['selected_step']] == max(scored.values())
  assert results['valid/ctr/auc'] == max(scored.values())
  assert 'selection.mode' not in ''.join(capfd.readouterr())


@pytest.mark.slow
def test_without_validation_the_last_parameters_count(tmp_path, capfd):
  """Training and test in separate files: nothing else need be set."""
  rows = many(1500)
  csv.write_csv(rows.slice(0, 1200), tmp_path / 'train.csv')
  csv.write_csv(rows.slice(1200), tmp_path / 'test.csv')
  config = on_a_log(str(tmp_path / 'train.csv'), **{
      'dataset.split': 'files', 'evals_per_epoch': 2,
      'dataset.test_files': str(tmp_path / 'test.csv')})
  run = str(tmp_path / 'run')
  results = train_and_evaluate(config, run, str(tmp_path / 'data'))
  assert results['selected_step'] == results['steps'] == 5
  assert results['test/ctr/auc'] > 0.5
  said = capfd.readouterr()
  assert said.err.count('warning: there is no validation split, so the') == 1
  assert 'warning' not in said.out
  saved = served.predictor.load(run).predict({'user': ['u1'], 'item': [3]})
  assert 0 < saved['p_ctr'][0] < 1


@pytest.mark.slow
def test_what_is_not_defined_is_said_once(tmp_path, capfd):
  """All rows clicked, a constant column, a test split of one class."""
  rows = many(900).to_pydict()
  rows['clicked'], rows['one'] = [1] * 900, ['x'] * 900
  rows['bought'] = [int(k % 3 == 0 and k < 600) for k in range(900)]
  rows['part'] = ['train'] * 400 + ['val'] * 200 + ['TEST'] * 290 + ['?'] * 10
  csv.write_csv(many(900).from_pydict(rows), tmp_path / 'log.csv')
  config = on_a_log(str(tmp_path / 'log.csv'), **{
      'dataset.id': 'user,item,one', 'dataset.split': 'column',
      'dataset.split_column': 'part', 'dataset.train_split': 'train+valid',
      'dataset.group': '', 'selection.metric': 'valid/ctr/auc',
      'num_epochs': 2})
  run = str(tmp_path / 'run')
  results = train_and_evaluate(config, run, str(tmp_path / 'data'))
  said = [s.partition('warning: ')[2] for s in
          capfd.readouterr().err.splitlines() if 'warning: ' in s]
  ranks = ', auc pr, recall at 1pct, recall at 10pct, ks'
  expected = [
      "10 rows are left out, because column 'part' contains '?'",
      "label click ('clicked') is 1 in all 400 training rows: ctr has nothing",
      "column 'one' is 'x' in all training rows: it tells the model nothing.",
      "dataset.train_split 'train+valid' and dataset.valid_split 'valid' have"
      ' 200 rows in common',
      "60.7% of the values of column 'user' in test are rare or were never",
      f'valid/ctr: auc, normalized entropy{ranks} cannot be computed and are'
      ' null in results.json, because click is 1 in all 200 rows',
      'valid/ctr/auc, the selection metric, was never a number: the last'
      ' parameters are kept.',
      f'test/ctr: auc, normalized entropy{ranks} cannot be',
      f'test/cvr_clicked: auc, normalized entropy, calibration{ranks} cannot',
      f'test/ctcvr: auc, normalized entropy, calibration{ranks} cannot be'
      ' computed and are null in results.json, because conversion is 0 in all'
      ' 290 rows',
  ]
  assert len(said) == len(expected), said
  for line, words in zip(said, expected):
    assert line.startswith(words), line
  assert results['selected_step'] == results['steps'] == 6
  with open(os.path.join(run, 'results.json'), encoding='utf-8') as f:
    assert json.load(f)['test/ctcvr/auc'] is None


def kuairand(folder):
  make_raw(folder / 'raw')
  return KuaiRand.from_options(
      str(folder), raw_dir=str(folder / 'raw'), play_time=True)


def tabular(folder, **more):
  path = os.path.join(folder, 'log.parquet')
  parquet.write_table(many(600), path)
  return Tabular.from_options(folder, files=path, **RANDOM | more)


SETS = {
    'funnel': lambda folder: Simulator.from_options(
        folder, 'tiny', num_train=600, num_valid=300, num_test=300),
    'cart': lambda folder: Simulator.from_options(
        folder, 'tiny', num_train=600, num_valid=300, num_test=300, stages=3),
    'kuairand': lambda folder: kuairand(pathlib.Path(folder)),
    'log': tabular,
    'log without group': lambda folder: tabular(folder, group=''),
}


@pytest.mark.parametrize('name', SETS)
def test_what_is_foretold_of_a_data_set_is_computed(name, tmp_path):
  builder = SETS[name](str(tmp_path))
  before = builder.schema
  keys = metric_keys(before.tasks, bool(before.group), before.truth)
  splits = builder.split_names
  builder.prepare()
  assert sorted(splits) == sorted(builder.info.splits)
  for split in splits:
    observed = observe(builder, split)
    rng = np.random.default_rng(0)
    num = len(observed.labels['click'])
    outputs = {
        s.output: rng.standard_normal(num) for s in spaces(before.tasks)}
    assert list(evaluate(outputs, observed)) == keys
