"""Killed anywhere and started again: the numbers of the uninterrupted run.

A kill is a SIGKILL of a process. `make test-kill` does many at random moments
(ESMM_KILLS says how many) and says where they hit.
"""

import collections
import json
import os
import random
import signal
import subprocess
import sys
import time

from esmm_jax.training.feeding import Streamed
from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.training.predict import SplitPredictor
from esmm_jax.training.resident import Resident
from esmm_jax.types import InputError
from esmm_jax.workdir.stopping import EXIT_CODE, Stopped
import pytest

from tests import ROOT
from tests.parallel import forking
from tests.training import test_end_to_end as whole_runs
from tests.training.killing import PLACES
from tests.training.test_end_to_end import command, fingerprint, metrics
from tests.training.test_end_to_end import results
from tests.training.test_whole_runs import smoke

data_dir = whole_runs.data_dir
KILLS = int(os.environ.get('ESMM_KILLS', '0'))
FLAGS = (
    '--config=configs/esmm.py:smoke',
    '--config.dataset.num_train=12000',
    '--config.dataset.num_valid=4000',
    '--config.dataset.num_test=4000',
    '--config.evals_per_epoch=6',
    '--config.log_every=3',
    '--config.model.dropout=0.1',
    '--config.selection.metric=valid/ctr/logloss',
    '--config.selection.mode=max',
)


def start(arguments):
  # Compiled as quickly as can be: all runs are compiled alike.
  env = dict(
      os.environ, JAX_PLATFORMS='cpu', JAX_DISABLE_MOST_OPTIMIZATIONS='1')
  return subprocess.Popen(
      arguments, cwd=ROOT, env=env, text=True,
      stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(arguments):
  process = start(arguments)
  output, _ = process.communicate(timeout=300)
  assert process.returncode == 0, output
  return output


def run(*arguments):
  """Runs a command in a process of its own; its exit code and output."""
  program = forking.Program(
      'tests.training.killing', JAX_DISABLE_MOST_OPTIMIZATIONS='1')
  done = program.run(*command(*arguments)[3:])
  return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory, data_dir):
  folder = str(tmp_path_factory.mktemp('runs') / 'whole')
  code, output = run(folder, data_dir, *FLAGS)
  assert code == 0, output
  return folder


def assert_equal(folder, uninterrupted):
  assert fingerprint(folder) == fingerprint(uninterrupted)
  assert metrics(folder) == metrics(uninterrupted)
  assert results(folder) == results(uninterrupted)
  left = [n for n in os.listdir(folder) if n.endswith('.tmp')]
  assert not left or all('results.json' in n for n in left), left


@pytest.mark.slow
def test_killed_at_every_place(tmp_path, data_dir, uninterrupted):
  """One run, killed at one place after the other."""
  folder = str(tmp_path / 'run')
  places = [
      ('claimed', 1), ('saving', 1), ('half_line', 3), ('unsealed', 2),
      ('evaluating', 2), ('stepping', 5), ('results', 1)]
  assert {place for place, _ in places} == set(PLACES)
  for place, number in places:
    code, output = run(folder, data_dir, *FLAGS, place, str(number))
    assert code == -signal.SIGKILL, (place, output)
    assert not os.path.exists(os.path.join(folder, 'results.json'))
  code, output = run(folder, data_dir, *FLAGS)
  assert code == 0 and 'Going on at step 24' in output, output
  assert_equal(folder, uninterrupted)


def state_of(folder):
  """Where a kill hit, by what it left."""
  if not os.path.isdir(folder):
    return 'before the folder was there'
  checkpoints = os.path.join(folder, 'checkpoints')
  names = os.listdir(checkpoints) if os.path.isdir(checkpoints) else []
  steps = {n for n in names if n.isdigit()}
  if any('tmp' in n and not n.endswith('.json') for n in names):
    return 'while a checkpoint was written'
  if any(f'{step}.seal.json' not in names for step in steps):
    return 'before a checkpoint was sealed'
  if os.path.exists(os.path.join(folder, 'results.json')):
    return 'after the end'
  with open(os.path.join(folder, 'metrics.jsonl'), 'a+', encoding='utf-8') as f:
    f.seek(0)
    lines = f.read().splitlines()
  last = int(lines[-1].split('"step": ')[1].split(',')[0]) if lines else 0
  if not steps:
    return 'before the first checkpoint'
  saved = max(map(int, steps))
  if last > saved and last % 4 == 0:
    return 'after an evaluation, before its checkpoint'
  return 'while training or evaluating'


@pytest.mark.skipif(not KILLS, reason='set ESMM_KILLS, or make test-kill')
def test_killed_at_random(tmp_path, data_dir, uninterrupted):
  rng = random.Random(0)
  hits, done, runs = collections.Counter(), 0, 0
  while done < KILLS:
    folder = str(tmp_path / str(runs))
    runs += 1
    while done < KILLS:
      process = start(command(folder, data_dir, *FLAGS))
      wait = rng.uniform(0.0, 2.5)
      sign = os.path.join(folder, 'tensorboard')
      before = len(os.listdir(sign)) if os.path.isdir(sign) else 0
      while process.poll() is None:
        if os.path.isdir(sign) and len(os.listdir(sign)) > before:
          break
        time.sleep(0.001)
      time.sleep(wait)
      process.kill()
      process.communicate()
      if process.returncode != -signal.SIGKILL:
        assert process.returncode == 0
        break
      done += 1
      hits[state_of(folder)] += 1
      print(f'{done} kills', end='\r', flush=True)
    finish(command(folder, data_dir, *FLAGS))
    assert_equal(folder, uninterrupted)
  print(f'{done} kills in {runs} runs, no difference:')
  for state, number in hits.most_common():
    print(f'{number:4d}  {state}')


# SIGTERM.


def short(**more):
  return smoke('esmm', **{
      'dataset.num_train': 5000, 'log_every': 3, 'evals_per_epoch': 2,
      'model.dropout': 0.1, **more})


@pytest.mark.slow
@pytest.mark.usefixtures('quick_test')
@pytest.mark.parametrize(
    'choice', ['off', pytest.param('on', marks=pytest.mark.long)])
def test_sigterm_saves_between_evaluations(
    data_dir, tmp_path, monkeypatch, choice, capfd
):
  """Asked at step 7 of 20, it stops at the next report and goes on there.

  With other data it does not; with a damaged checkpoint from the one before.
  """
  whole, folder = str(tmp_path / 'whole'), str(tmp_path / 'run')
  config = short(device_resident=choice)
  train_and_evaluate(config, whole, data_dir)
  kind = Resident if choice == 'on' else Streamed
  advance = kind.advance

  def terminated(self, state, start, stop, hyper):
    if start == 6:
      os.kill(os.getpid(), signal.SIGTERM)
    return advance(self, state, start, stop, hyper)

  before = signal.getsignal(signal.SIGTERM)
  with monkeypatch.context() as m:
    m.setattr(kind, 'advance', terminated)
    with pytest.raises(Stopped, match='saved at step 9 of 20') as e:
      train_and_evaluate(config, folder, data_dir)
  assert e.value.code == EXIT_CODE == 75
  assert signal.getsignal(signal.SIGTERM) == before
  assert sorted(os.listdir(os.path.join(folder, 'checkpoints'))) == [
      '5', '5.seal.json', '9', '9.seal.json']
  if choice == 'on':
    path = os.path.join(folder, 'manifest.json')
    with open(path, encoding='utf-8') as f:
      began = f.read()
    # As of an earlier version, which has no identity to compare.
    other = json.loads(began.replace('sha256 ', 'sha256 0'))
    del other['identity']
    with open(path, 'w', encoding='utf-8') as f:
      json.dump(other, f)
    with pytest.raises(InputError, match='cannot go on: data is synthetic'):
      train_and_evaluate(config, folder, data_dir)
    with open(path, 'w', encoding='utf-8') as f:
      f.write(began.replace('"jax": "', '"jax": "0.'))
    for root, _, files in os.walk(os.path.join(folder, 'checkpoints', '9')):
      for name in files:
        with open(os.path.join(root, name), 'ab') as f:
          f.write(b'x')
  capfd.readouterr()
  train_and_evaluate(config, folder, data_dir)
  said = ''.join(capfd.readouterr())
  assert f'Going on at step {5 if choice == "on" else 9} of 20' in said
  assert ('checkpoints/9 is damaged' in said) == (choice == 'on')
  assert ('warning: This run began with jax 0.' in said) == (choice == 'on')
  assert_equal(folder, whole)


@pytest.mark.slow
@pytest.mark.usefixtures('quick_test')
def test_sigterm_while_evaluating(data_dir, tmp_path, monkeypatch):
  config, folder = short(), str(tmp_path / 'run')
  metrics_of = SplitPredictor.metrics

  def terminated(self, *arguments):
    os.kill(os.getpid(), signal.SIGTERM)
    return metrics_of(self, *arguments)

  monkeypatch.setattr(SplitPredictor, 'metrics', terminated)
  with pytest.raises(Stopped, match='saved at step 5 of 20'):
    train_and_evaluate(config, folder, data_dir)
  assert [line['step'] for line in metrics(folder)] == [3, 5]


@pytest.mark.slow
def test_sigterm_as_a_user_sees_it(data_dir, tmp_path):
  folder = str(tmp_path / 'run')
  process = start(command(folder, data_dir, *FLAGS, '--config.num_epochs=50'))
  while process.poll() is None and not os.path.exists(
      os.path.join(folder, 'checkpoints', '4.seal.json')):
    time.sleep(0.01)
  process.send_signal(signal.SIGTERM)
  output, _ = process.communicate(timeout=100)
  assert process.returncode == EXIT_CODE, output
  assert 'stopped by SIGTERM, saved at step' in output.splitlines()[-1]


def test_only_python_is_needed_to_read_the_exit_code():
  done = subprocess.run(
      [sys.executable, '-c', 'import esmm_jax.workdir.stopping as s, sys;'
       'assert "jax" not in sys.modules; raise s.Stopped("x")'],
      cwd=ROOT, check=False)
  assert done.returncode == EXIT_CODE
