"""Runs that are trained with the predictions of a frozen one."""

import json
import os
import shutil

from esmm_jax.sweeps.replicas import bundles, replica_groups, waits
from esmm_jax.training import job as jobs
from esmm_jax.training.frozen import columns
from esmm_jax.training.frozen.run import FrozenRun, of_runs
from esmm_jax.training.loop import train_and_evaluate, train_replicas
from esmm_jax.training.settings import Settings
from esmm_jax.types import InputError
from esmm_jax.warm_start.resolve import resolve
from esmm_jax.workdir.checkpoint import Checkpoints
from esmm_jax.workdir.folder import flatten, with_run_section
import numpy as np
import pytest

from configs import ips
from tests.serving.served import small_config
from tests.training.test_end_to_end import fingerprint, metrics, results

pytestmark = pytest.mark.usefixtures('quick_compilation')
FROZEN = 'estimator_options.frozen_run'


def config(run='../frozen', **changes):
  """A run of 12 steps that is weighted by the pCTR of another run."""
  return small_config(**{
      'estimator': 'ips', 'estimator_options.propensity': 'frozen', FROZEN: run,
      'num_epochs': 1, 'selection.metric': '', 'selection.mode': None,
      'save_predictions': False, **changes})


@pytest.fixture(scope='module', name='folder')
def _folder(finished, tmp_path_factory):
  """A folder of runs, of which `frozen` is finished."""
  folder = tmp_path_factory.mktemp('runs')
  os.symlink(finished.folder, folder / 'frozen')
  return folder


@pytest.fixture(name='train')
def _train(finished):
  return lambda tree, folder: train_and_evaluate(
      tree, str(folder), str(finished.data))


def predicted(finished):
  frozen = FrozenRun.open(str(finished.folder))
  builder = finished.builder()
  return columns.labels(frozen, builder, 'train', builder.schema, ('ctr',))


def test_the_labels_of_a_run_are_those_predictions(finished, folder):
  tree = config()
  program, *_ = jobs.build(
      [Settings.read(tree)], str(finished.data), [str(folder / 'new')])
  column = predicted(finished)['frozen_ctr']
  for step in (0, len(program.batches) - 1):
    batch = program.batches(step)
    order = program.batches.order(0)[step * tree.batch_size :][:tree.batch_size]
    real = batch.where > 0
    np.testing.assert_array_equal(
        batch.labels['frozen_ctr'][real], column[order])
    assert not batch.labels['frozen_ctr'][~real].any()
  assert program.frozen == FrozenRun.open(str(finished.folder)).noted
  assert not (folder / 'new').exists()


@pytest.mark.parametrize(
    'changes, words',
    [
        ({FROZEN: None}, 'set estimator_options.frozen_run to its folder'),
        ({'estimator_options.propensity': 'own'}, 'reads no predictions'),
        ({FROZEN: '../none'}, 'none is not the folder of a run'),
        ({FROZEN: '.'}, 'is the folder of the run itself'),
        ({'dataset.num_train': 5000}, 'the data is synthetic.* here and'),
        ({FROZEN: 3}, 'frozen_run is 3'),
    ],
)
def test_what_cannot_be_is_refused_before_a_folder_is_made(
    changes, words, folder, finished, tmp_path
):
  os.symlink(finished.folder, tmp_path / 'frozen')
  tree = config()
  with tree.unlocked(), tree.ignore_type():
    tree.update_from_flattened_dict(changes)
  data = str(tmp_path if 'dataset.num_train' in changes else finished.data)
  with pytest.raises(InputError, match=words) as refused:
    train_and_evaluate(tree, str(tmp_path / 'new'), data)
  assert '\n' not in str(refused.value)
  assert not (tmp_path / 'new').exists()


def test_replicas_have_one_frozen_run(folder):
  trees = [Settings.read(config(f'../{n}')) for n in ('frozen', 'other')]
  with pytest.raises(InputError, match='these name ../frozen, ../other'):
    of_runs(trees, ['a', 'b'])
  with pytest.raises(InputError, match='leads from the folders of the runs'):
    of_runs(trees[:1] * 2, [str(folder / 'a'), str(folder / 'b' / 'c')])
  same = of_runs(trees[:1] * 2, [str(folder / 'a'), str(folder / 'b')])
  assert same.base.folder == str(folder / 'frozen')


class Killed(BaseException):
  """Ends a run, as a signal would."""


@pytest.fixture(name='whole', scope='module')
def _whole(folder, finished):
  train_and_evaluate(
      config(), str(folder / 'whole'), str(finished.data))
  return folder / 'whole'


def test_a_refit_has_the_frozen_run_of_its_run(whole, folder):
  tree = config(refit_of=str(whole))
  assert resolve(tree, str(folder / 'again')).refit_identity
  with pytest.raises(InputError, match='Take a --workdir beside that run'):
    resolve(tree, str(folder / 'deeper' / 'again'))


def test_no_refit_with_other_ids_than_its_frozen_run(whole, folder):
  """Vocabularies of more rows give the values other ids."""
  log = ips.get_config('tabular')
  log.estimator_options.update(propensity='frozen', frozen_run='../frozen')
  log.refit_of = str(whole)
  with pytest.raises(InputError, match='refit only runs without a frozen run'):
    resolve(log, str(folder / 'again'))


def killed(tree, folder, data, monkeypatch, step=6):
  """A run that ends just after the checkpoint of a step."""
  save = Checkpoints.save

  def stop(self, at, arrays, position):
    save(self, at, arrays, position)
    if at == step:
      raise Killed

  with monkeypatch.context() as m:
    m.setattr(Checkpoints, 'save', stop)
    with pytest.raises(Killed):
      train_and_evaluate(tree, str(folder), str(data))


@pytest.mark.long
def test_the_propensity_counts(whole, finished, folder, train):
  own = config(None, **{'estimator_options.propensity': 'own'})
  train(own, folder / 'own')
  assert fingerprint(whole) != fingerprint(folder / 'own')


@pytest.mark.long
def test_a_run_that_is_killed_resumes_to_the_bit(
    whole, finished, tmp_path, train, monkeypatch
):
  shutil.copytree(finished.folder, tmp_path / 'frozen')
  killed(config(), tmp_path / 'run', finished.data, monkeypatch)
  # Another number of rows at once is no other prediction of the frozen run.
  train(config(eval_batch_size=512), tmp_path / 'run')
  assert fingerprint(tmp_path / 'run') == fingerprint(whole)
  assert metrics(tmp_path / 'run') == metrics(whole)
  noted = json.loads((tmp_path / 'run' / 'manifest.json').read_text())
  assert noted['frozen_run'] == FrozenRun.open(str(finished.folder)).noted
  assert noted['frozen_run']['params_sha256']


@pytest.mark.long
@pytest.mark.parametrize('gone', [
    '', pytest.param('manifest.json', marks=pytest.mark.long)])
def test_a_run_resumes_with_the_frozen_run_that_it_began_with(
    gone, whole, finished, tmp_path, train, monkeypatch
):
  """What it began with is in its checkpoint too."""
  run, frozen = tmp_path / 'run', tmp_path / 'frozen'
  shutil.copytree(finished.folder, frozen)
  killed(config(), run, finished.data, monkeypatch)
  frozen.rename(tmp_path / 'away')
  with pytest.raises(InputError, match='frozen is not the folder of a run'):
    train(config(), run)
  train(small_config(init_seed=5), frozen)  # Another one at its place.
  if gone:
    (run / gone).unlink()
  before = sorted(os.listdir(run / 'checkpoints'))
  with pytest.raises(
      InputError,
      match='cannot go on: .*frozen_run has other parameters .*identity'):
    train(config(), run)
  assert sorted(os.listdir(run / 'checkpoints')) == before
  shutil.rmtree(frozen)
  (tmp_path / 'away').rename(frozen)
  train(config(), run)
  assert fingerprint(run) == fingerprint(whole)


@pytest.mark.long
def test_the_training_set_in_device_memory_has_them(
    whole, finished, folder, train
):
  train(config(device_resident='on'), folder / 'resident')
  assert fingerprint(folder / 'resident') == fingerprint(whole)
  hashes = lambda run: [m.get('train/batch_hash') for m in metrics(run)]
  assert hashes(folder / 'resident') == hashes(whole)


@pytest.mark.long
def test_replicas_share_them(whole, finished, folder):
  floors = (0.01, 0.4)
  trees = [
      config(**{'estimator_options.propensity_floor': f}) for f in floors]
  runs = [str(folder / f'replica-{f}') for f in floors]
  home = str(folder / 'group')
  train_replicas(trees, runs, str(finished.data), home)
  alone, first, second = (results(r) for r in (whole, *runs))
  assert first['replicas'] == second['replicas'] == 2
  key = 'test/cvr_clicked/logloss'
  assert first[key] == pytest.approx(alone[key], rel=1e-6)
  assert second[key] != pytest.approx(alone[key], rel=1e-6)


@pytest.mark.long
def test_a_frozen_run_of_another_architecture_and_other_fields(
    finished, tmp_path, train
):
  """Whose second output is of both events: frozen_cvr is still their ratio."""
  other = small_config(**{
      'estimator': 'end_to_end', 'dataset.fields': ('user', 'item'),
      'num_epochs': 1, 'selection.metric': '', 'selection.mode': None})
  train(other, tmp_path / 'frozen')
  run = finished._replace(folder=tmp_path / 'frozen')
  frozen, builder = FrozenRun.open(str(run.folder)), run.builder()
  got = columns.labels(
      frozen, builder, 'test', builder.schema, ('ctr', 'cvr'))
  for task in ('ctr', 'cvr'):
    np.testing.assert_allclose(
        got[f'frozen_{task}'], run.saved()[f'p_{task}'].to_numpy(), rtol=1e-5)
  train(config(), tmp_path / 'new')
  assert results(tmp_path / 'new')['steps'] == 12


def flat(**configs):
  return {
      name: flatten(with_run_section(tree.to_dict()))
      for name, tree in configs.items()}


def test_a_sweep_trains_the_frozen_run_first_and_on_the_same_machine():
  """Runs that name one frozen run may be replicas; the run named is apart."""
  configs = flat(
      a=config('../e', learning_rate=0.1), b=config('../e'),
      c=config('/elsewhere'), d=small_config(), e=small_config(batch_size=64))
  groups = replica_groups(configs, 8)
  assert groups == [['a', 'b'], ['c'], ['d'], ['e']]
  assert bundles(groups, configs) == [[['e'], ['a', 'b']], [['c']], [['d']]]
  circle = flat(a=config('../b'), b=config('../a'))
  with pytest.raises(InputError, match='need predictions or weights of each'):
    bundles([['a'], ['b']], circle)
  both = flat(a=config('../b', common_ctr='../c'), b=config('../c'), c=config())
  assert bundles([['a'], ['b'], ['c']], both) == [[['c'], ['b'], ['a']]]


def test_a_group_waits_for_a_run_that_another_process_is_at():
  needs = {'a': ['e'], 'b': ['f', 'c'], 'c': []}
  assert waits(['x', 'a'], needs, [['d'], ['e', 'g']])
  assert waits(['b'], needs, [['c']])
  assert not waits(['a', 'b'], needs, [])
  assert not waits(['c'], needs, [['c'], ['e']])
