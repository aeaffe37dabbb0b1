"""A training whose processes are started by an engine, with one killed.

The numbers are those of processes that are started by hand with --coordinator,
uninterrupted.
"""

import os
import signal
import subprocess
import time

import pytest

from tests import ROOT
from tests.engines.test_on_ray import HAS_RAY, needs_ray, program
from tests.parallel import test_processes as by_hand
from tests.training.test_end_to_end import command, metrics, results

pytestmark = pytest.mark.long
MORE = ('--config.num_epochs=4',)


def start(folder, data_dir, *flags):
  return subprocess.Popen(
      command(str(folder), data_dir, *by_hand.FLAGS, *MORE, *flags),
      cwd=ROOT, text=True, env=dict(
          os.environ, JAX_PLATFORMS='cpu', XLA_FLAGS=''),
      stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def process_of(folder, number):
  """The id of a process of a run, as its heartbeat says it."""
  for _ in range(600):
    for path in folder.glob(f'.processes/*/{number}'):
      _, _, who = path.read_text('utf-8').partition(' process ')
      if who:
        return int(who.split()[0])
    time.sleep(0.05)
  raise AssertionError('there is no heartbeat')


def test_killed_then_stopped(tmp_path):
  """With Ray where it is; then on with processes of this machine."""
  data_dir, whole = str(tmp_path / 'data'), str(tmp_path / 'whole')
  codes, texts = by_hand.end(by_hand.start(whole, data_dir, 2, *MORE))
  assert codes == [0, 0], texts
  engine = 'ray' if HAS_RAY else 'local'
  folder = tmp_path / 'run'
  lines = folder / 'metrics.jsonl'
  started = start(
      folder, data_dir, f'--engine={engine}', '--num_processes=2')
  by_hand.until(lines, 4, [started])
  os.kill(process_of(folder, 1), signal.SIGKILL)
  time.sleep(2)  # What it had begun to write is there.
  by_hand.until(lines, lines.read_text('utf-8').count('\n') + 2, [started])
  started.send_signal(signal.SIGTERM)
  out, err = started.communicate(timeout=240)
  assert started.returncode == 75, err
  assert ('warning: process 1 was lost, by signal 9 (SIGKILL). All start again'
          ' at the last checkpoint (failure 1 of 3).') in err
  assert 'error: stopped by SIGTERM, saved at step' in err
  assert 'Going on at step' in out and 'Next: ' not in out
  started = start(folder, data_dir, '--engine=local', '--num_processes=2')
  out, err = started.communicate(timeout=240)
  assert started.returncode == 0, err
  assert 'Going on at step' in out and out.count('Next: ') == 1
  expected, ours = results(whole), results(str(folder))
  assert expected.keys() == ours.keys() and len(ours) > 100
  # NaN is no number that differs.
  differing = {k for k, v in expected.items() if ours[k] != v and v == v}
  assert differing <= {'examples_per_second', 'train_seconds'}
  hashes = [
      [(line['step'], line.get('train/batch_hash')) for line in metrics(f)]
      for f in (whole, str(folder))]
  assert hashes[0] == hashes[1]
  # The command on record is one that was typed.
  origin = (folder / 'origin.json').read_text('utf-8')
  assert '--engine=local --num_processes=2' in origin
  assert '--process_id' not in origin


@needs_ray
def test_jax_trainer(tmp_path):
  """On a Ray that pretends to have two GPUs: each process gets one."""
  done = program(
      '-m', 'tests.engines.trained_program', 'die', str(tmp_path))
  assert done.returncode == 0, done.stderr
  assert '0 of 2 at 127.0.0.1, GPU 0' in done.stdout
  assert ('warning: process 1 was lost, by signal 9 (SIGKILL). All start'
          ' again') in done.stderr
  assert sorted(os.listdir(tmp_path)) == ['0', '1']  # No file of ray.train.
  assert [(tmp_path / k).read_text('utf-8') for k in '01'] == ['xx', 'xx']
