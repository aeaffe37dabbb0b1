"""Whole runs in this process: longer funnels, values, options of models."""

import dataclasses
import importlib
import json
import os
import shutil

from esmm_jax.configs import common
from esmm_jax.json_files import read_jsonl
from esmm_jax.tasks import CART_FUNNEL, FUNNEL, spaces, Task
from esmm_jax.training.phases import flops_per_example
from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.types import InputError
from esmm_jax.workdir.checkpoint import Checkpoints
import numpy as np
from pyarrow import parquet
import pytest

from tests.data.kuairand.test_kuairand import make_raw
from tests.training import test_step as steps

pytestmark = pytest.mark.usefixtures('quick_compilation')
CHAIN = {
    'click': 'p_ctr', 'cart': 'p_ctatr', 'conversion': 'p_ctcvr'}


def smoke(name, **changes):
  """A config's smoke variant on even fewer rows."""
  config = importlib.import_module(f'configs.{name}').get_config('smoke')
  config.update_from_flattened_dict({
      'dataset.num_train': 15_000,
      'num_epochs': 2,
      'dataset.num_valid': 2000,
      'dataset.num_test': 3000,
      **changes,
  })
  return config


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp('data'))


@pytest.mark.slow
@pytest.mark.parametrize('estimator', [
    'entire_space', pytest.param('end_to_end', marks=pytest.mark.long)])
def test_click_cart_purchase(estimator, data_dir, tmp_path):
  """Every space has its metrics, and the truth is compared where it is."""
  config = smoke('mmoe', **{
      'dataset.stages': 3, 'estimator': estimator, 'save_predictions': True})
  results = train_and_evaluate(config, str(tmp_path), data_dir)
  for space in spaces(CART_FUNNEL):
    # A ratio of two networks may be above 1, and costs 14 nats then.
    most = 2 if estimator == 'entire_space' or not space.given else 20
    assert 0 < results[f'test/{space.key}/logloss'] < most, space
    assert f'valid/{space.key}/auc' in results
  for output in ('cvr', 'atr'):
    assert 0 < results[f'test/{output}_entire/kl'] < 20
  assert 'test/ptr_entire/kl' not in results
  for task in ('ctr', 'atr', 'ptr'):
    loads = [results[f'test/gate_{task}/load_{k}'] for k in range(3)]
    assert sum(loads) == pytest.approx(1, abs=1e-5) and min(loads) > 0
    assert 0 < results[f'test/gate_{task}/entropy'] <= np.log(3)
  scores = parquet.read_table(tmp_path / 'predictions' / 'test.parquet')
  column = lambda name: scores[name].to_numpy()
  assert scores.num_rows == 3000 and set(CHAIN) <= set(scores.column_names)
  if estimator == 'entire_space':
    np.testing.assert_allclose(
        column('p_ctr') * column('p_atr'), column('p_ctatr'), rtol=1e-4)
    np.testing.assert_allclose(
        column('p_ctr') * column('p_cvr'), column('p_ctcvr'), rtol=1e-4)
  else:
    inside = column('p_ctcvr') < 0.999 * column('p_ctr')
    assert inside.any()
    np.testing.assert_allclose(
        (column('p_ctcvr') / column('p_ctr'))[inside],
        column('p_cvr')[inside], rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize('tasks', [
    (), pytest.param(('ctr', 'play_time'), marks=pytest.mark.long)])
def test_watch_time(tasks, data_dir, tmp_path):
  """A value on clicked rows beside CVR, or alone behind CTR."""
  make_raw(tmp_path / 'raw')
  config = importlib.import_module('configs.esmm').get_config('kuairand')
  config.update_from_flattened_dict({
      'dataset.raw_dir': str(tmp_path / 'raw'),
      'dataset.play_time': True,
      'dataset.tasks': tasks,
      'batch_size': 128,
      'model.tower_units': (8,),
      'selection.metric': 'valid/play_time_clicked/mse',
      'selection.mode': 'min',
      'save_predictions': True,
  })
  results = train_and_evaluate(
      config, str(tmp_path / 'run'), str(tmp_path / 'data'))
  for key in ('play_time_clicked', 'ctplay_time'):
    for metric in ('mse', 'mae', 'r2', 'rank_correlation', 'calibration'):
      assert np.isfinite(results[f'test/{key}/{metric}'])
  assert ('test/cvr_clicked/auc' in results) == (not tasks)
  path = tmp_path / 'run' / 'predictions' / 'test.parquet'
  names = set(parquet.read_table(path).column_names)
  assert {'p_ctr', 'predicted_play_time', 'predicted_ctplay_time'} <= names


def test_tasks_that_are_not_there(data_dir, tmp_path):
  for tasks, words in (
      (('ctr', 'cvrr'), "dataset.tasks names 'cvrr'.*Did you mean 'cvr'"),
      (('cvr',), "'cvr' comes after 'ctr', which is no task"),
  ):
    config = smoke('esmm', **{'dataset.tasks': tasks})
    with pytest.raises(InputError, match=words):
      train_and_evaluate(config, str(tmp_path), data_dir)


def test_a_term_that_the_funnel_lacks(data_dir, tmp_path):
  config = smoke('esmm', **{'loss_weights.ctatr': 1.0})
  words = "loss_weights.ctatr.*'ctcvr', 'ctr', 'cvr_"
  with pytest.raises(InputError, match=words):
    train_and_evaluate(config, str(tmp_path), data_dir)


@pytest.mark.slow
@pytest.mark.parametrize(
    'activation, norm', [
        pytest.param('dice', 'none', marks=pytest.mark.long),
        ('relu', 'batch')])
def test_statistics_of_a_batch_forbid_parts_of_it(
    activation, norm, data_dir, tmp_path
):
  options = {
      'model.activation': activation, 'model.norm': norm, 'micro_batches': 2}
  with pytest.raises(InputError, match='batch norm or Dice'):
    train_and_evaluate(smoke('esmm', **options), str(tmp_path), data_dir)
  options['micro_batches'] = 0
  results = train_and_evaluate(
      smoke('esmm', **options), str(tmp_path), data_dir)
  assert results['test/ctr/logloss'] < 0.25


@pytest.mark.slow
@pytest.mark.parametrize('name', [
    'mmoe', *(
        pytest.param(n, marks=pytest.mark.long)
        for n in ('ple', 'aitm', 'stem'))])
def test_options(name, data_dir, tmp_path):
  """All at once: norm, crosses, products, half precision, regularisation.

  An untrained network has 0.69 nats; the rate alone has 0.17.
  """
  results = train_and_evaluate(
      smoke(name, **{
          'model.norm': 'layer',
          'model.activation': 'prelu',
          'model.dropout': 0.1,
          'model.cross_layers': 1,
          'model.cross_rank': 2,
          'model.interaction': 'fm',
          'model.dtype': 'bfloat16',
          'tower_l2': 1e-4,
          'embedding_l2': 1e-4,
      }),
      str(tmp_path), data_dir)
  assert results['test/ctr/logloss'] < 0.25
  assert results['traces'] == 1
  assert results['num_network_params'] < results['num_params']
  assert results['flops_per_example'] > 2 * results['num_network_params'] / 3


def test_operations_of_an_example():
  """At least those of the products; not much more for a plain network."""
  schema = dataclasses.replace(
      steps.SCHEMA, tasks=(*FUNNEL, Task('p', 'play_time', 'ctr', 'regression'))
  )
  plan = steps.make_plan()
  inputs = 3 * 4 + 1
  products = 2 * 2 * (inputs * 8 + 8 * 4 + 4)
  got = flops_per_example(plan, 4, steps.make_batch(0))
  assert products <= got < 1.5 * products
  three = plan._replace(model=plan.model.clone(schema=schema))
  more = flops_per_example(three, 4, steps.make_batch(0))
  assert more - got == pytest.approx(products / 2, rel=0.3)


def test_results_of_the_table_exist():
  """Every column of the architecture table is one that runs write."""
  from configs.tables import architectures

  written = {f'test/{s.key}/auc' for s in spaces(FUNNEL)}
  written |= {'test/cvr_entire/auc', 'num_network_params', 'flops_per_example'}
  written |= {'train_seconds'}
  table = architectures.get_table('smoke')
  columns = {c.metric for c in (*table.columns, *table.extra_columns)}
  assert columns == written
  assert os.path.exists(
      os.path.join(os.path.dirname(architectures.__file__), '__init__.py'))


# The clock, and what an unfinished run keeps.


def short(**more):
  """Four steps, evaluated after the second and the fourth."""
  return smoke('esmm', **{
      'dataset.num_train': 2000, 'num_epochs': 1, 'evals_per_epoch': 2, **more})


def written(workdir):
  return json.loads((workdir / 'results.json').read_text('utf-8'))


@pytest.mark.slow
def test_resumed_after_the_last_checkpoint_is_the_same_to_the_second(
    data_dir, tmp_path
):
  """Nothing is trained again, so even the wall clock's values are equal."""
  train_and_evaluate(short(), str(tmp_path), data_dir)
  whole = written(tmp_path)
  assert whole['steps'] == 4
  (tmp_path / 'results.json').unlink()
  train_and_evaluate(short(), str(tmp_path), data_dir)
  assert written(tmp_path) == whole
  assert 0 < whole['train_seconds'] < np.inf
  assert whole['train_seconds'] * whole['examples_per_second'] == (
      pytest.approx(4 * short().batch_size))


@pytest.mark.long
@pytest.mark.parametrize('rows, epochs, steps', [
    (500, 1, [1]), (1000, 1, [1, 2]), (2500, 2, [2, 4, 6, 8, 10]),
    (4608, 1, [3, 6, 9])])
def test_the_default_evaluates_four_times_an_epoch(
    rows, epochs, steps, data_dir, tmp_path
):
  """After each quarter of an epoch, rounded up; never twice at one step."""
  config = short(**{'dataset.num_train': rows, 'num_epochs': epochs})
  config.evals_per_epoch = common.base().evals_per_epoch
  train_and_evaluate(config, str(tmp_path), data_dir)
  lines = read_jsonl(str(tmp_path / 'metrics.jsonl'))
  assert [r['step'] for r in lines if 'valid/ctr/auc' in r] == steps
  kept = {int(n) for n in os.listdir(tmp_path / 'checkpoints') if n.isdigit()}
  assert kept == set(steps[-2:])


@pytest.mark.slow
def test_a_run_of_one_step_has_a_rate(data_dir, tmp_path):
  config = short(**{'dataset.num_train': 500})
  results = train_and_evaluate(config, str(tmp_path), data_dir)
  assert results['steps'] == 1
  assert 0 < results['train_seconds'] < np.inf
  assert results['examples_per_second'] > 0


class Killed(BaseException):
  """Ends a run, as a signal would."""


@pytest.mark.slow
@pytest.mark.parametrize('kill_at', [
    pytest.param(2, marks=pytest.mark.long), 4])
def test_a_checkpoint_without_a_clock_is_resumed(
    kill_at, data_dir, tmp_path, monkeypatch
):
  """Checkpoints of earlier versions have none; at the end nothing is timed."""
  train_and_evaluate(short(), str(tmp_path / 'whole'), data_dir)
  save = Checkpoints.save

  def old(self, step, arrays, position):
    save(self, step, arrays, {'runs': position['runs']})
    if step == kill_at:
      raise Killed

  with monkeypatch.context() as m:
    m.setattr(Checkpoints, 'save', old)
    with pytest.raises(Killed):
      train_and_evaluate(short(), str(tmp_path / 'run'), data_dir)
  train_and_evaluate(short(), str(tmp_path / 'run'), data_dir)
  whole, resumed = written(tmp_path / 'whole'), written(tmp_path / 'run')
  timed = ('train_seconds', 'examples_per_second', 'traces')
  values = [resumed.pop(key) for key in timed]
  assert resumed == {k: v for k, v in whole.items() if k not in timed}
  if kill_at == 2:
    assert 0 < values[0] < np.inf and values[1] > 0 and values[2] == 1
  else:
    assert values == [None, None, 0]


@pytest.mark.slow
def test_refused_data_changes_no_file_of_an_unfinished_run(data_dir, tmp_path):
  train_and_evaluate(short(), str(tmp_path), data_dir)
  (tmp_path / 'results.json').unlink()
  path = tmp_path / 'manifest.json'
  began = json.loads(path.read_text('utf-8'))
  began['data'] = began['data'].replace('sha256 ', 'sha256 0')
  del began['identity']  # As of an earlier version, which has none to compare.
  path.write_text(json.dumps(began))
  (tmp_path / 'schema.json').write_text('the schema of other data')
  with pytest.raises(InputError, match='cannot go on: data is synthetic'):
    train_and_evaluate(short(), str(tmp_path), data_dir)
  assert (tmp_path / 'schema.json').read_text() == 'the schema of other data'


# The keys of the machine are no part of a run.

MACHINE = {
    'log_every': 1, 'eval_batch_size': 64, 'memory_limit_gb': 8.0,
    'micro_batches': 1, 'device_resident': 'off', 'save_predictions': True}


@pytest.mark.slow
def test_a_run_resumes_on_another_machine(data_dir, tmp_path, monkeypatch):
  """With every key of the section `run` changed, but for the devices."""
  train_and_evaluate(short(), str(tmp_path / 'whole'), data_dir)
  save = Checkpoints.save

  def stop(self, step, arrays, position):
    save(self, step, arrays, position)
    raise Killed

  with monkeypatch.context() as m:
    m.setattr(Checkpoints, 'save', stop)
    with pytest.raises(Killed):
      train_and_evaluate(short(), str(tmp_path / 'run'), data_dir)
  train_and_evaluate(short(**MACHINE), str(tmp_path / 'run'), data_dir)
  whole, resumed = written(tmp_path / 'whole'), written(tmp_path / 'run')
  for key in ('train_seconds', 'examples_per_second', 'traces'):
    whole.pop(key), resumed.pop(key)
  # Means since the last report, which is another one.
  means = [k for k in whole if k.startswith('train/')]
  for key in means:
    whole.pop(key), resumed.pop(key)
  assert resumed.pop('versions') == whole.pop('versions')
  assert resumed.keys() == whole.keys()
  for key, value in whole.items():
    same = pytest.approx(value, rel=1e-5) if value is not None else None
    assert resumed[key] == same, key
  saved = json.loads((tmp_path / 'run' / 'config.json').read_text('utf-8'))
  assert {k: saved['run'][k] for k in MACHINE} == MACHINE
  assert (tmp_path / 'run' / 'predictions' / 'test.parquet').exists()


@pytest.mark.slow
def test_predictions_of_a_finished_run(data_dir, tmp_path):
  """Asked for afterwards, they are those that it would have written."""
  asked = short(save_predictions=True)
  train_and_evaluate(asked, str(tmp_path / 'at_once'), data_dir)
  train_and_evaluate(short(), str(tmp_path / 'later'), data_dir)
  before = written(tmp_path / 'later')
  assert not (tmp_path / 'later' / 'predictions').exists()
  train_and_evaluate(asked, str(tmp_path / 'later'), data_dir)
  assert written(tmp_path / 'later') == before
  one, other = (
      parquet.read_table(tmp_path / name / 'predictions' / 'test.parquet')
      for name in ('at_once', 'later'))
  assert one.equals(other)


@pytest.mark.slow
def test_predictions_without_a_checkpoint(data_dir, tmp_path):
  train_and_evaluate(short(), str(tmp_path), data_dir)
  shutil.rmtree(tmp_path / 'checkpoints')
  before = written(tmp_path)
  with pytest.raises(InputError, match='finished without predictions'):
    train_and_evaluate(short(save_predictions=True), str(tmp_path), data_dir)
  assert written(tmp_path) == before
