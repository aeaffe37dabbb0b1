"""Runs with the mean weights of a finished run, and what runs record."""

import json
import os
import shutil

from esmm_jax.balancing.over_run import over_run
from esmm_jax.sweeps.replicas import bundles, replica_groups
from esmm_jax.training.balanced.replayed import Replayed, resolve
from esmm_jax.training.loop import train_and_evaluate, train_replicas
from esmm_jax.training.settings import Settings
from esmm_jax.types import InputError
from esmm_jax.warm_start.resolve import resolve as resolve_config
from esmm_jax.workdir.folder import flatten, with_run_section
import numpy as np
import pytest

from experiments.sweeping import checks
from tests.serving.served import small_config
from tests.training.frozen.test_runs import killed
from tests.training.test_end_to_end import fingerprint, metrics, results

pytestmark = pytest.mark.usefixtures('quick_compilation')


def config(name=None, **changes):
  """A run of 12 steps that reports every five, and evaluates twice."""
  return small_config(**{
      'balancing.name': name, 'num_epochs': 1, 'selection.metric': '',
      'selection.mode': None, 'save_predictions': False, 'log_every': 5,
      'optimizer.name': 'sgd', 'learning_rate': 0.1, **changes})


def replay(of='../cagrad', **changes):
  return config('replay', **{'balancing.of': of, **changes})


@pytest.fixture(scope='module', name='folder')
def _folder(finished, tmp_path_factory):
  """A folder of runs, of which `cagrad` is finished, and `plain` is static."""
  folder = tmp_path_factory.mktemp('runs')
  os.symlink(finished.folder, folder / 'plain')
  tree = config('cagrad', **{'balancing.towers': 'weighted'})
  train_and_evaluate(tree, str(folder / 'cagrad'), str(finished.data))
  return folder


@pytest.fixture(name='train')
def _train(finished):
  return lambda tree, folder: train_and_evaluate(
      tree, str(folder), str(finished.data))


def recorded(run):
  return {k: v for k, v in results(run).items() if k.startswith('balancing/')}


def test_the_results_have_the_means_of_the_lines(folder):
  whole = recorded(folder / 'cagrad')
  assert whole == over_run(metrics(folder / 'cagrad'))
  shares = whole['balancing/share/ctr'], whole['balancing/share/ctcvr']
  assert sum(shares) == pytest.approx(1, rel=1e-6)
  assert {'balancing/total', 'balancing/ratio/ctr|ctcvr'} <= set(whole)
  for kind in ('cosine', 'conflict', 'norm_ratio', 'both'):
    for part in ('all', 'tables', 'towers'):
      assert f'balancing/{kind}/{part}/ctr|ctcvr' in whole
  lines = [line for line in metrics(folder / 'cagrad') if 'train/loss' in line]
  assert [line['step'] for line in lines] == [5, 6, 10, 12]
  values = [line['train/balancing/total'] for line in lines]
  assert whole['balancing/total'] == pytest.approx(
      np.average(values, weights=[5, 1, 4, 2]), rel=1e-12)
  assert min(values) < whole['balancing/total'] < max(values)


def test_what_a_sweep_foretells_is_what_a_run_records(folder, finished):
  """So that records may be columns of a results table."""
  keys = lambda tree: checks.run_keys(tree, str(finished.data), {})
  tree = config('cagrad', **{'balancing.towers': 'weighted'})
  assert set(recorded(folder / 'cagrad')) <= keys(tree)
  assert not any('balancing' in key for key in keys(config()))


def test_a_replay_has_the_mean_weights_of_its_run(folder):
  run = Replayed.open('../cagrad', str(folder / 'new'))
  whole = recorded(folder / 'cagrad')
  total = whole['balancing/total']
  assert run.weights == {'': {
      term: whole[f'balancing/share/{term}'] * total
      for term in ('ctr', 'ctcvr')}}
  assert (run.towers, run.parts) == ('weighted', 'all')
  assert run.noted['weights'] == run.weights
  assert run.noted['params_sha256']
  settings, _ = resolve([Settings.read(replay())], [str(folder / 'new')])
  assert settings[0].balancing.towers == 'weighted'


def changed(run, copy, drop=(), **values):
  """A copy of a run with other results, as if it had come to them."""
  shutil.copytree(run, copy)
  path = copy / 'results.json'
  saved = json.loads(path.read_text())
  saved = {k: v for k, v in saved.items() if not k.startswith(tuple(drop))}
  path.write_text(json.dumps(saved | values))
  manifest = json.loads((copy / 'manifest.json').read_text())
  manifest.pop('ended')
  (copy / 'manifest.json').write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    'changes, words',
    [
        ({'balancing.of': '../none'}, 'none is not the folder of a run'),
        ({'balancing.of': '.'}, 'is the folder of the run itself'),
        ({'balancing.of': '../plain'}, 'recorded no weights, because'),
        ({'balancing.of': '../begun'}, 'begun is not finished'),
        ({'balancing.of': '../never'}, 'no batch of that run had rows of all'),
        ({'balancing.of': '../altered'}, 'differs from what this run wrote'),
        ({'balancing.of': None}, "and only for it"),
        ({'balancing.name': 'pcgrad'}, "for 'replay' and only"),
        ({'balancing.towers': 'own'}, 'which has that of the run balancing.of'),
        ({'balancing.parts': 'each'}, 'which has that of the run balancing.of'),
        ({'loss_weights.ctcvr': 2.0}, 'ctcvr is 2.0 in this run and 1.0 in'),
        ({'loss_weights.cvr_clicked': 1.0},
         r"\['ctcvr', 'ctr', 'cvr_clicked'\] in this run and \['ctcvr'"),
    ],
)
def test_what_cannot_be_replayed(changes, words, folder, finished, tmp_path):
  run = folder / 'cagrad'
  for name in ('cagrad', 'plain'):
    os.symlink(folder / name, tmp_path / name)
  shutil.copytree(run, tmp_path / 'begun')
  (tmp_path / 'begun' / 'results.json').unlink()
  changed(run, tmp_path / 'never',
          ('balancing/share', 'balancing/total', 'balancing/ratio'))
  shutil.copytree(run, tmp_path / 'altered')
  path = tmp_path / 'altered' / 'results.json'
  path.write_text(path.read_text().replace('"balancing/total": ', '"x": '))
  tree = replay(**changes)
  with pytest.raises(InputError, match=words) as refused:
    train_and_evaluate(
        tree, str(tmp_path / 'new'), str(finished.data))
  assert '\n' not in str(refused.value)
  assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize('key, value, there', [
    ('towers', 'own', 'weighted'), ('parts', 'each', 'all')])
def test_towers_and_parts_are_those_of_the_run(key, value, there, folder):
  """Also in a sweep, whose idle keys other points may read."""
  tree = replay(**{f'balancing.{key}': value})
  with pytest.raises(InputError, match=f"'{value}' in this run and '{there}'"):
    resolve([Settings.read(tree)], [str(folder / 'new')])


def test_a_path_leads_from_the_run(folder, monkeypatch):
  monkeypatch.chdir(folder)
  with pytest.raises(InputError, match='relative to the folder of the run, is'):
    Replayed.open('cagrad', str(folder / 'new'))
  assert Replayed.open(str(folder / 'cagrad'), 'anywhere').weights


def flat(**configs):
  return {
      name: flatten(with_run_section(tree.to_dict()))
      for name, tree in configs.items()}


def test_replays_are_one_program_and_come_last():
  """Those of runs with the same towers; none before the run that it names."""
  configs = flat(
      r1=replay('../pcgrad'), r2=replay('../mgda', learning_rate=1.0),
      r3=replay('../own'), r4=replay('../rlw'), again=replay('../r1'),
      out=replay('/elsewhere'), out2=replay('/elsewhere', init_seed=3),
      each=replay('../parts'), pcgrad=config('pcgrad'), mgda=config('mgda'),
      own=config('random', **{'balancing.towers': 'own'}),
      rlw=config('random'), parts=config('mgda', **{'balancing.parts': 'each'}))
  groups = replica_groups(configs, 8)
  assert groups == [
      ['r1', 'r2', 'r3'], ['r4'], ['again'], ['out', 'out2'], ['each'],
      ['pcgrad'], ['mgda'], ['own'], ['rlw'], ['parts']]
  one, *others = bundles(groups, configs)
  assert one[-1] == ['again'] and one[-2] == ['r1', 'r2', 'r3']
  assert sorted(name for names in one[:-2] for name in names) == [
      'mgda', 'own', 'pcgrad']
  assert others == [
      [['rlw'], ['r4']], [['out', 'out2']], [['parts'], ['each']]]
  circle = flat(a=replay('../b'), b=replay('../a'))
  with pytest.raises(InputError, match='or weights of each other'):
    bundles([['a'], ['b']], circle)


def test_a_sweep_puts_numbers_of_a_method_side_by_side():
  configs = flat(
      a=config('cagrad', **{'balancing.c': 0.1}),
      b=config('cagrad', **{'balancing.c': 0.9}),
      c=config('cagrad', **{'balancing.c': 0.9, 'balancing.gram': 'exact'}))
  assert replica_groups(configs, 8) == [['a', 'b'], ['c']]


def test_a_refit_replays_the_same_run(folder, finished, train):
  path = folder / 'deeper' / 'again'
  tree = replay(refit_of=str(folder / 'cagrad'))
  with pytest.raises(InputError, match='balancing.of=../cagrad leads to'):
    resolve_config(tree, str(path))


@pytest.mark.long
def test_constant_weights_are_static_ones(folder, train):
  train(replay(), folder / 'replay')
  weights = Replayed.open(str(folder / 'cagrad')).weights['']
  train(
      config(**{f'loss_weights.{k}': w for k, w in weights.items()}),
      folder / 'static')
  one, two = results(folder / 'replay'), results(folder / 'static')
  scores = [k for k, v in two.items() if k.startswith('test/') and v]
  assert len(scores) > 10
  for key in scores:
    assert one[key] == pytest.approx(two[key], rel=1e-5), key
  # The others are another run.
  other = results(folder / 'cagrad')
  assert other['test/ctcvr/logloss'] != pytest.approx(
      one['test/ctcvr/logloss'], rel=1e-5)
  whole = recorded(folder / 'replay')
  total = sum(weights.values())
  assert whole['balancing/total'] == pytest.approx(total, rel=1e-6)
  for term, weight in weights.items():
    assert whole[f'balancing/share/{term}'] == pytest.approx(
        weight / total, rel=1e-6)


@pytest.mark.long
def test_a_run_that_is_killed_has_the_record_of_the_whole(
    folder, finished, tmp_path, train, monkeypatch
):
  tree = config('cagrad', **{'balancing.towers': 'weighted'})
  killed(tree, tmp_path / 'run', finished.data, monkeypatch)
  # What people do to metrics.jsonl is not in the results.
  path = tmp_path / 'run' / 'metrics.jsonl'
  _, *rest = path.read_text().splitlines(keepends=True)
  path.write_text(''.join(rest))
  train(tree, tmp_path / 'run')
  assert recorded(tmp_path / 'run') == recorded(folder / 'cagrad')
  assert fingerprint(tmp_path / 'run') == fingerprint(folder / 'cagrad')


@pytest.mark.long
def test_where_reports_fall_does_not_matter(folder, tmp_path, train):
  tree = config('cagrad', **{'balancing.towers': 'weighted', 'log_every': 2})
  train(tree, tmp_path / 'run')
  whole = recorded(folder / 'cagrad')
  for key, value in recorded(tmp_path / 'run').items():
    assert whole[key] == pytest.approx(value, rel=1e-5, abs=1e-6), key


@pytest.mark.long
def test_a_replay_resumes_with_the_run_that_it_began_with(
    folder, finished, tmp_path, train, monkeypatch
):
  shutil.copytree(folder / 'cagrad', tmp_path / 'cagrad')
  killed(replay(), tmp_path / 'run', finished.data, monkeypatch)
  noted = json.loads((tmp_path / 'run' / 'manifest.json').read_text())
  assert noted['replayed_run'] == Replayed.open(str(folder / 'cagrad')).noted
  (tmp_path / 'cagrad').rename(tmp_path / 'away')
  with pytest.raises(InputError, match='cagrad is not the folder of a run'):
    train(replay(), tmp_path / 'run')
  train(config('mgda'), tmp_path / 'cagrad')
  with pytest.raises(InputError, match='cannot go on: balancing.of has other'):
    train(replay(), tmp_path / 'run')
  shutil.rmtree(tmp_path / 'cagrad')
  (tmp_path / 'away').rename(tmp_path / 'cagrad')
  train(replay(), tmp_path / 'run')
  train(replay(), tmp_path / 'whole')
  assert fingerprint(tmp_path / 'run') == fingerprint(tmp_path / 'whole')
  assert recorded(tmp_path / 'run') == recorded(tmp_path / 'whole')


@pytest.mark.long
def test_replays_of_two_methods_are_replicas(folder, finished, train):
  """Each with its own weights; those of other towers are trained apart."""
  train(config('imtl_g', **{'balancing.towers': 'weighted'}), folder / 'imtl_g')
  train(config('pcgrad'), folder / 'own')
  names = ('cagrad', 'imtl_g')
  runs = [str(folder / f'of-{name}') for name in names]
  trees = [replay(f'../{name}') for name in names]
  home = str(folder / 'group')
  with pytest.raises(InputError, match="'weighted' and 'own'. Train them one"):
    train_replicas(
        [trees[0], replay('../own')], runs, str(finished.data), home)
  train_replicas(trees, runs, str(finished.data), home)
  totals = {}
  for name, run in zip(names, runs):
    saved = Replayed.open(str(folder / name)).weights['']
    totals[name] = recorded(run)['balancing/total']
    assert totals[name] == pytest.approx(sum(saved.values()), rel=1e-6)
    assert results(run)['replicas'] == 2
  assert totals['imtl_g'] == pytest.approx(1, rel=1e-5)
  assert totals['cagrad'] != pytest.approx(1, rel=1e-2)
  # The replay of a replay is that replay.
  again = Replayed.open(str(folder / 'of-cagrad'))
  assert (again.towers, again.parts) == ('weighted', 'all')
  for term, weight in Replayed.open(str(folder / 'cagrad')).weights[''].items():
    assert again.weights[''][term] == pytest.approx(weight, rel=1e-5)


@pytest.mark.long
@pytest.mark.parametrize('weight, said', [(0.2, True), (0.0, False)])
def test_towers_without_parameters_of_a_single_task(
    weight, said, folder, train, capsys
):
  """With a loss of clicked CVR two terms train each tower."""
  tree = config('pcgrad', **{
      'balancing.towers': 'own', 'loss_weights.cvr_clicked': weight})
  train(tree, folder / f'towers-{weight}')
  printed = capsys.readouterr().err
  assert ("balancing.towers is 'own', which has no effect" in printed) == said


@pytest.mark.long
@pytest.mark.parametrize('window, said', [(1, False), (100, True)])
def test_a_run_shorter_than_its_windows(window, said, folder, train, capsys):
  train(
      config('dwa', **{'balancing.window': window}), folder / f'dwa-{window}')
  printed = capsys.readouterr().err
  assert ("'dwa' gives all tasks the same weight for its" in printed) == said


@pytest.mark.long
def test_parts_have_their_own_weights(folder, train):
  train(config('pcgrad', **{'balancing.parts': 'each'}), folder / 'each')
  run = Replayed.open(str(folder / 'each'))
  assert (run.parts, run.towers) == ('each', 'own')
  assert set(run.weights) == {'tables', 'towers'}
  train(replay('../each'), folder / 'of-each')
  whole, there = recorded(folder / 'of-each'), recorded(folder / 'each')
  for part in ('tables', 'towers'):
    for term in ('ctr', 'ctcvr'):
      key = f'balancing/share/{part}/{term}'
      assert whole[key] == pytest.approx(there[key], rel=1e-5)
    key = f'balancing/total/{part}'
    assert whole[key] == pytest.approx(there[key], rel=1e-5)
