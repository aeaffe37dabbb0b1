"""Whole runs: the contract's files, resuming to the bit, errors as users see.

A killed run is a real process that gets SIGKILL between two checkpoints.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

from esmm_jax.workdir.checkpoint import Checkpoints
import jax
import numpy as np
import pytest

from tests import ROOT

# Of the wall clock: finite and positive, but other numbers each time.
TIMED = ('examples_per_second', 'train_seconds')
SMOKE = (
    '--config=configs/esmm.py:smoke',
    '--config.evals_per_epoch=4',
    '--config.log_every=7',
    '--config.model.dropout=0.1',
    # The first evaluation has the largest loss: what is selected then lies
    # before the kill, and the resumed run must know it.
    '--config.selection.metric=valid/ctr/logloss',
    '--config.selection.mode=max',
)


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp('data'))


def command(workdir, data_dir, *more, program='train'):
  return [
      sys.executable,
      '-m',
      f'experiments.{program}',
      f'--workdir={workdir}',
      f'--data_dir={data_dir}',
      *more,
  ]


def environment(devices=1):
  flag = f'--xla_force_host_platform_device_count={devices}'
  return dict(os.environ, XLA_FLAGS=flag, JAX_PLATFORMS='cpu')


def run(workdir, data_dir, *more, devices=1, program='train'):
  return subprocess.run(
      command(workdir, data_dir, *more, program=program),
      cwd=ROOT,
      env=environment(devices),
      capture_output=True,
      text=True,
      timeout=300,
  )


def run_and_kill(workdir, data_dir, *more, devices=1):
  """Starts a run and kills it when its second checkpoint is there."""
  process = subprocess.Popen(
      command(workdir, data_dir, *more),
      cwd=ROOT,
      env=environment(devices),
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
  )
  folder = os.path.join(workdir, 'checkpoints')
  deadline = time.monotonic() + 200
  while time.monotonic() < deadline and process.poll() is None:
    steps = os.listdir(folder) if os.path.isdir(folder) else []
    if sum(s.isdigit() for s in steps) >= 2:
      break
    time.sleep(0.005)
  process.send_signal(signal.SIGKILL)
  assert process.wait() == -signal.SIGKILL, 'The run ended before the kill.'


def results(workdir):
  """Every key of results.json but those of the wall clock."""
  with open(os.path.join(workdir, 'results.json'), encoding='utf-8') as f:
    values = json.load(f)
  assert all(0 < values.pop(key) < np.inf for key in TIMED)
  return values


def metrics(workdir):
  with open(os.path.join(workdir, 'metrics.jsonl'), encoding='utf-8') as f:
    lines = [json.loads(line) for line in f]
  return [{k: v for k, v in line.items() if k != 'time'} for line in lines]


def fingerprint(workdir):
  """A hash of every array in the last checkpoint, by its place in the tree."""
  checkpoints = Checkpoints(str(workdir))
  arrays = checkpoints.restore_as_saved()
  checkpoints.close()
  hashes = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    data = np.asarray(leaf).tobytes()
    hashes[jax.tree_util.keystr(path)] = hashlib.sha256(data).hexdigest()
  return hashes


@pytest.mark.long
@pytest.mark.parametrize('devices', [1, 4])
def test_killed_and_resumed_equals_uninterrupted(devices, tmp_path, data_dir):
  whole, killed = str(tmp_path / 'whole'), str(tmp_path / 'killed')
  done = run(whole, data_dir, *SMOKE, devices=devices)
  assert done.returncode == 0, done.stderr
  run_and_kill(killed, data_dir, *SMOKE, devices=devices)
  assert not os.path.exists(os.path.join(killed, 'results.json'))
  resumed = run(killed, data_dir, *SMOKE, devices=devices)
  assert resumed.returncode == 0, resumed.stderr
  assert 'Going on at step' in resumed.stdout + resumed.stderr
  assert fingerprint(killed) == fingerprint(whole)
  assert results(killed) == results(whole)
  assert results(whole)['selected_step'] == 20 < results(whole)['steps']
  assert metrics(killed) == metrics(whole)
