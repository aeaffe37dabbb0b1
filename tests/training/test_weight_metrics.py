"""The weights of clicked rows in the results of runs: those of each run."""

import json
import os

import esmm_jax
from esmm_jax.metric_names import WEIGHTS
from esmm_jax.serving.evaluation import evaluate_split
from esmm_jax.training import parts
from esmm_jax.training.loop import train_and_evaluate, train_replicas
from esmm_jax.types import InputError
from esmm_jax.workdir.checkpoint import Checkpoints
import numpy as np
from pyarrow import parquet
import pytest

from experiments.sweeping import checks
from tests.training.test_whole_runs import smoke

pytestmark = pytest.mark.usefixtures('quick_compilation')
FLOORS = (0.01, 0.03)


def short(**more):
  """Eight steps of IPS, evaluated after the fourth and the last."""
  return smoke('base', **{
      'estimator': 'ips', 'dataset.num_train': 4000, 'num_epochs': 1,
      'evals_per_epoch': 2, 'save_predictions': True, **more})


def written(folder):
  with open(os.path.join(folder, 'results.json'), encoding='utf-8') as f:
    return json.load(f)


def by_hand(p, click, floor):
  """The four numbers of weights 1 / max(p, floor) of the clicked rows."""
  p = np.asarray(p, np.float64)[np.asarray(click) == 1]
  w = 1 / np.maximum(p, floor)
  ess = w.sum() ** 2 / (w**2).sum()
  return {
      'ess': ess, 'ess_share': ess / len(w), 'weight_max': w.max(),
      'at_floor': np.mean(p <= floor)}


def of_split(results, split='test'):
  return {name: results[f'{split}/cvr_clicked/{name}'] for name in WEIGHTS}


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """Two runs of one program that differ in the floor, and their folders."""
  home = tmp_path_factory.mktemp('weights')
  configs = [
      short(**{'estimator_options.propensity_floor': floor})
      for floor in FLOORS]
  folders = [str(home / str(k)) for k in range(2)]
  train_replicas(configs, folders, str(home / 'data'), home=str(home / 'all'))
  return folders, str(home / 'data')


@pytest.mark.parametrize('k', [0, 1])
def test_each_replica_has_those_of_its_floor(runs, k):
  results = written(runs[0][k])
  scores = parquet.read_table(
      os.path.join(runs[0][k], 'predictions', 'test.parquet'))
  got = by_hand(scores['p_ctr'], scores['click'], FLOORS[k])
  assert 0 < got['at_floor'] < 1
  assert of_split(results) == pytest.approx(got, rel=1e-5)
  assert of_split(results, 'valid')['weight_max'] <= 1 / FLOORS[k] + 1e-4


def test_an_evaluation_has_those_of_the_training(runs):
  folders, data = runs
  predictor = esmm_jax.load(folders[1])
  builder = parts.dataset(predictor.config.dataset, data)
  results = written(folders[1])
  split = evaluate_split(predictor, builder, 'test')
  assert {k: split[f'cvr_clicked/{k}'] for k in WEIGHTS} == of_split(results)
  # The mean of two runs has trained with no weights.
  mean = evaluate_split(esmm_jax.load(folders), builder, 'test')
  assert 'cvr_clicked/auc' in mean and 'cvr_clicked/ess' not in mean


def test_what_a_sweep_foretells_is_what_a_run_has(runs):
  folders, data = runs
  config = short(**{'estimator_options.propensity_floor': FLOORS[0]})
  keys = checks.run_keys(config, data, {})
  assert {k for k in written(folders[0]) if '/cvr_clicked/' in k} <= keys
  assert 'test/cvr_clicked/ess' in keys
  without = short(estimator='click_space', save_predictions=False)
  keys = checks.run_keys(without, data, {})
  assert 'test/cvr_clicked/auc' in keys
  assert 'test/cvr_clicked/ess' not in keys


def test_they_do_not_select(runs, tmp_path):
  config = short(**{'selection.metric': 'valid/cvr_clicked/ess_share'})
  with pytest.raises(InputError, match='neither at its highest nor'):
    train_and_evaluate(config, str(tmp_path / 'run'), runs[1])


@pytest.mark.long
def test_a_true_propensity_is_that_of_the_rows(runs, tmp_path):
  options = {'estimator_options.propensity': 'true',
             'estimator_options.propensity_floor': 0.05}
  results = train_and_evaluate(
      short(**options), str(tmp_path / 'run'), runs[1])
  predictor = esmm_jax.load(str(tmp_path / 'run'))
  builder = parts.dataset(predictor.config.dataset, runs[1])
  for split in ('valid', 'test'):
    source = builder.as_data_source(split)
    click = source.read(0, len(source), ['click'])['click']
    truth = builder.truth_source(split).read(0, len(source), ['p_ctr'])
    expected = by_hand(truth['p_ctr'], click, 0.05)
    assert of_split(results, split) == pytest.approx(expected, rel=1e-5)


class Killed(Exception):
  pass


@pytest.mark.long
def test_a_run_that_was_stopped_and_resumed_has_the_same(
    runs, tmp_path, monkeypatch
):
  save, config = Checkpoints.save, short()
  whole = train_and_evaluate(config, str(tmp_path / 'whole'), runs[1])

  def stop(self, step, arrays, position):
    save(self, step, arrays, position)
    raise Killed

  with monkeypatch.context() as m:
    m.setattr(Checkpoints, 'save', stop)
    with pytest.raises(Killed):
      train_and_evaluate(config, str(tmp_path / 'run'), runs[1])
  resumed = train_and_evaluate(config, str(tmp_path / 'run'), runs[1])
  assert of_split(whole)['ess'] > 1
  for split in ('valid', 'test'):
    keys = [k for k in whole if k.startswith(f'{split}/')]
    # As texts, in which nan is nan.
    assert str([resumed[k] for k in keys]) == str([whole[k] for k in keys])
