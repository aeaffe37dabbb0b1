"""Sweeps whose groups are trained by several processes, in slots and shards."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from tests import ROOT
from tests.engines import ray_program
from tests.engines.test_on_ray import needs_ray
from tests.experiments import test_cluster_docs as cluster_docs
from tests.sweeps.test_sweep import run, start, write_table

ROWS = dict(
    one=('learning_rate', 1e-2), two=('learning_rate', 1e-3),
    three=('batch_size', 256))
# Keys of results.json that tell of time.
TIMED = ('train_seconds', 'examples_per_second')


def everything(workdir):
  """Run -> its results, but for what tells of time."""
  every = {}
  for name in sorted(os.listdir(workdir / 'runs')):
    with open(workdir / 'runs' / name / 'results.json', encoding='utf-8') as f:
      every[name] = {
          k: v for k, v in json.load(f).items() if k not in TIMED}
  return every


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
  """The table, data, and results of a sweep of one process."""
  folder = tmp_path_factory.mktemp('alone')
  path = write_table(folder, 1, **ROWS)
  data, workdir = f'--data_dir={folder / "data"}', folder / 'sweep'
  done = run('sweep', path, workdir, data, '--replicas=1')
  assert done.returncode == 0, done.stderr
  return path, data, everything(workdir)


def command(pid):
  try:
    with open(f'/proc/{pid}/cmdline', encoding='utf-8', errors='replace') as f:
      return f.read()
  except OSError:
    return ''


def send(process, word, number, workdir):
  """Sends a signal to a descendant of a sweep, once a run has a checkpoint."""
  deadline = time.monotonic() + 500
  while time.monotonic() < deadline and process.poll() is None:
    begun = [
        path for path in workdir.glob('runs/*/checkpoints/[0-9]*')
        if not (path.parents[1] / 'results.json').exists()]
    pids = [
        pid for pid in ray_program.descendants(process.pid)
        if word in command(pid) and pid != process.pid]
    if begun and pids:
      os.kill(pids[0], number)
      return
    time.sleep(.01)
  pytest.fail(f'no {word}: {process.communicate()}')


def begin(path, workdir, *more):
  return start('sweep', path, workdir, *more, text=True,
               stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.long
@pytest.mark.parametrize('more', [
    ('--slots=2',),
    pytest.param(('--engine=ray', '--workers=2'), marks=needs_ray),
], ids=['slots', 'ray'])
def test_signals_and_losses(more, alone, tmp_path):
  """The numbers are those of one process, whatever happens on the way."""
  path, data, expected = alone
  workdir = tmp_path / 'sweep'
  flags = (path, workdir, data, '--replicas=1', *more)
  # To the program: its processes save their runs.
  process = begin(*flags)
  send(process, 'sweeping.child', 0, workdir)
  process.send_signal(signal.SIGTERM)
  out, errors = process.communicate(timeout=500)
  assert process.returncode == 75, errors
  assert errors.splitlines()[-1].startswith('error: stopped by SIGTERM; ')
  # Before its name each line has that of the run.
  saved = [s for s in errors.splitlines() if ', saved at step ' in s]
  assert saved and all(s.partition(': ')[0] in expected for s in saved)
  # To one of the processes.
  process = begin(*flags)
  send(process, 'sweeping.child', signal.SIGTERM, workdir)
  out, errors = process.communicate(timeout=500)
  assert process.returncode == 75, errors
  assert 'its process was stopped, and so is the sweep' in errors
  # A loss, of the process or of the actor of Ray that it belongs to.
  process = begin(*flags)
  word = 'ray::_Actor' if '--engine=ray' in more else 'sweeping.child'
  send(process, word, signal.SIGKILL, workdir)
  out, errors = process.communicate(timeout=500)
  assert process.returncode == 0, errors
  (warning,) = [s for s in errors.splitlines() if s.startswith('warning: ')]
  assert ': its process was lost, by ' in warning
  assert warning.endswith('; another one goes on from the last checkpoint.')
  assert 'Done: 3 of 3 runs' in out
  assert everything(workdir) == expected


@pytest.mark.long
def test_the_job_array_of_the_docs(alone, tmp_path):
  """Its tasks start at once, from an empty data_dir; none has a server."""
  path, _, expected = alone
  (script,) = [s for s in cluster_docs.blocks('bash') if 'scontrol' in s]
  for old, new in (
      ('my_table.py', path), ('/shared/runs/table', tmp_path / 'sweep'),
      ('/shared/data', f'{tmp_path / "data"} --replicas=1')):
    assert old in script
    script = script.replace(old, str(new))
  # srun runs its words, and what is asked of scontrol is noted.
  for name, text in (
      ('srun', '"$@"'), ('scontrol', f'echo "$@" >> {tmp_path}/asked'),
      ('python', f'{sys.executable} "$@"')):
    (tmp_path / name).write_text(f'#!/bin/sh\nexec {text}\n'.replace(
        'exec echo', 'echo'))
    (tmp_path / name).chmod(0o755)
  environment = dict(
      os.environ, PATH=f'{tmp_path}:{os.environ["PATH"]}', JAX_PLATFORMS='cpu',
      JAX_DISABLE_MOST_OPTIMIZATIONS='1', SLURM_ARRAY_TASK_COUNT='4',
      SLURM_JOB_ID='17')
  tasks = [
      subprocess.Popen(
          ['bash', '-c', script], cwd=ROOT, text=True, stdout=subprocess.PIPE,
          stderr=subprocess.PIPE,
          env=environment | {'SLURM_ARRAY_TASK_ID': str(k)})
      for k in range(4)]
  ends = [task.communicate(timeout=500) for task in tasks]
  assert [task.returncode for task in tasks] == [0] * 4, ends
  for k, (out, _) in enumerate(ends):  # The last one has no group.
    assert f'Done: {int(k < 3)} of 3 runs (shard {k}/4).' in out
  assert everything(tmp_path / 'sweep') == expected
  prepared = list((tmp_path / 'data').rglob('sha256.json'))
  assert len(prepared) == 1 and not (tmp_path / 'asked').exists()


@pytest.mark.parametrize('k', [2, 3])
def test_the_commands_of_the_docs(k, tmp_path):
  """Their flags are those of the program."""
  command = cluster_docs.blocks('')[k].replace('\\\n', ' ')
  words = shlex.split(command.replace('my_table.py', write_table(
      tmp_path, 1, **ROWS)).replace('/shared', str(tmp_path)))
  assert words[:3] == ['python', '-m', 'experiments.sweep']
  path, workdir = (w.partition('=')[2] for w in words[3:5])
  done = run('sweep', path, workdir, *words[5:], '--dry_run')
  assert done.returncode == 0, done.stderr
  assert '0 of 3 runs are finished.' in done.stdout


@pytest.mark.parametrize('flags, code, words', [
    (('--slots=0',), 2, 'flag --slots=0'),
    (('--engine=ray', '--slots=2'), 1, '--slots=2 applies only to --engine'),
    (('--resources=GPU=1',), 1, '--resources=GPU=1 applies only to --engine'),
    (('--engine=ray', '--resources=GPU'), 1, '--resources=GPU: GPU must be'),
    (('--shard=3/3',), 1, '--shard=3/3 is not i/n'),
])
def test_refused(flags, code, words, tmp_path):
  path = write_table(tmp_path, 1, **ROWS)
  done = run('sweep', path, tmp_path / 'sweep', *flags)
  assert done.returncode == code and words in done.stderr
  assert not (tmp_path / 'sweep').exists()
