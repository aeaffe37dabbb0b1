"""Searches as a program, killed and continued too."""

import csv
import json
import shlex
import signal
import subprocess
import sys
import time

from esmm_jax.tuning import early_end
import pytest

from tests import ROOT
from tests.parallel import forking
from tests.tuning.test_search import needs_optuna

SMALL = (
    '--config=configs/esmm.py:smoke', '--config.dataset.num_train=4000',
    '--config.dataset.num_valid=3000', '--config.dataset.num_test=3000',
    '--config.batch_size=256', '--config.evals_per_epoch=4')
METRIC = 'valid/ctcvr/logloss'


@pytest.fixture(scope='module')
def program():
  with forking.Program('experiments.tune') as made:
    yield made


@pytest.mark.slow
@pytest.mark.parametrize('flags, code, words', [
    ([], 2, '--space is not set'),
    (['--space=lerning_rate=0:1'], 1, "Did you mean 'learning_rate'?"),
    (['--space=dataset.test_split=["test", ""]'], 1, 'no trial sees the test'),
    (['--space=log_every=[1, 2]'], 1, 'it is of the machine'),
    (['--space=batch_size=64:128'], 1, 'sets it; leave one of them out'),
    (['--space=model.tower_units=[(8,), "a"]'], 1, 'must be of type tuple'),
    (['--space=model.embed_dim=1:2', '--config.selection.metric='], 1,
     'the config has none'),
    (['--space=model.embed_dim=1:2', '--config.dataset.test_split=test'], 1,
     'has no test split'),
])
def test_refused(program, tmp_path, flags, code, words):
  done = program.run(
      *SMALL, f'--workdir={tmp_path}/t', f'--data_dir={tmp_path}/data', *flags)
  assert (done.returncode, words in done.stderr) == (code, True), done.stderr
  assert done.stderr.count('\n') == 1 and not (tmp_path / 't').exists()


def read(folder):
  with open(folder / 'trials.csv', encoding='utf-8') as f:
    return list(csv.DictReader(f))


@needs_optuna
@pytest.mark.long
def test_killed_and_continued(program, tmp_path):
  """The same trials and numbers; none sees the test split but the last."""
  space = ('--space=learning_rate=log:1e-5:1e-1',
           '--space=loss_weights.ctr=.5:2')
  data = f'--data_dir={tmp_path}/data'
  about = (*SMALL, *space, data, '--sampler=random', '--replicas=6')
  one, two = tmp_path / 'one', tmp_path / 'two'
  done = program.run(*about, f'--workdir={one}', '--trials=8')
  assert done.returncode == 0, done.stderr
  command = [sys.executable, '-m', 'experiments.tune', *about,
             f'--workdir={two}']
  child = subprocess.Popen(  # pylint: disable=consider-using-with
      [*command, '--trials=6'], cwd=ROOT, stdout=subprocess.DEVNULL)
  while not list(two.glob('runs/*/metrics.jsonl')) and child.poll() is None:
    time.sleep(0.02)
  child.send_signal(signal.SIGKILL)
  child.wait()
  assert not (two / 'trials.csv').exists()
  done = program.run(*about, f'--workdir={two}', '--trials=6')
  assert done.returncode == 0 and len(read(two)) == 6, done.stderr
  done = program.run(*about, f'--workdir={two}', '--trials=8')
  assert done.returncode == 0, done.stderr
  trials = read(two)
  assert trials == read(one)
  states = {t['state'] for t in trials}
  assert states == {'complete', 'pruned'}
  for trial in trials:
    folder = two / 'runs' / trial['run']
    results = json.loads((folder / 'results.json').read_text('utf-8'))
    lines = (folder / 'metrics.jsonl').read_text('utf-8')
    assert not [k for k in results if k.startswith('test/')]
    assert 'test/' not in lines
    evaluations = [
        line[METRIC] for line in map(json.loads, lines.splitlines())
        if METRIC in line]
    assert len(evaluations) == int(trial['evaluations'])
    if trial['state'] == 'complete':
      assert float(trial[METRIC]) == min(evaluations) == results[METRIC]
      assert len(evaluations) == 4 and results['steps'] == 16
    else:
      assert results['steps'] < 16 and trial[METRIC] == ''
  best = min((t for t in trials if t[METRIC]), key=lambda t: float(t[METRIC]))
  last = shlex.split(done.stdout.splitlines()[-1])
  assert f'--config.learning_rate={best["learning_rate"]}' in last
  with forking.Program('experiments.train') as train:
    assert last[:3] == ['python', '-m', 'experiments.train']
    done = train.run(*last[3:])
  assert done.returncode == 0, done.stderr
  results = json.loads((two / 'best' / 'results.json').read_text('utf-8'))
  assert abs(results[METRIC] - float(best[METRIC])) < 1e-5
  assert 0.3 < results['test/ctr/auc'] < 1
  done = program.run(*about, f'--workdir={two}', '--seed=1')
  assert done.returncode == 1 and 'with the seed 0' in done.stderr


@pytest.mark.long
def test_a_replica_that_ends_early(tmp_path):
  """It has the evaluation at which it ended; the other one is as it was."""
  import esmm_jax
  from configs import esmm

  configs = [esmm.get_config('smoke') for _ in range(2)]
  for config, rate in zip(configs, (1e-2, 1e-3)):
    config.update_from_flattened_dict({
        'dataset.num_train': 4000, 'dataset.num_valid': 3000,
        'dataset.num_test': 3000, 'batch_size': 256, 'evals_per_epoch': 4,
        'learning_rate': rate})
  data = str(tmp_path / 'data')

  def train(place):
    folders = [str(tmp_path / place / name) for name in 'ab']
    return esmm_jax.train_replicas(
        configs, folders, data, home=str(tmp_path / place / 'group'))

  whole = train('whole')
  steps = []

  def watch(folder, step, metrics):
    assert metrics[METRIC] > 0
    steps.append((folder[-1], step))
    return folder.endswith('a') and step == 8

  with early_end.watching(watch):
    ended = train('ended')
  assert steps == [
      ('a', 4), ('b', 4), ('a', 8), ('b', 8), ('b', 12)]
  assert [r['steps'] for r in ended] == [8, 16]
  assert ended[0]['selected_step'] <= 8
  numbers = lambda r: {
      k: v for k, v in r.items() if k.startswith(('valid/', 'test/ctr/'))}
  assert numbers(ended[1]) == numbers(whole[1])
