"""Several processes train one run: as one, saved by all, ended together.

`python -m pytest -s -m long tests/parallel/test_processes.py` prints the
differences.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time

from esmm_jax.parallel import heartbeats, processes
from esmm_jax.types import InputError
import jax
import numpy as np
import pytest

from tests import ROOT
from tests.parallel.test_devices import largest_difference
from tests.training.test_end_to_end import command, metrics, results

FLAGS = (
    '--config=configs/esmm.py:smoke',
    '--config.dataset.num_train=12000',
    '--config.dataset.num_valid=4000',
    '--config.dataset.num_test=4000',
    '--config.evals_per_epoch=4',
    '--config.log_every=5',
    '--config.optimizer.name=sgd',
    '--config.learning_rate=0.1',
    '--config.num_epochs=1',
)


def start(folder, data_dir, num, *more):
  """Starts the processes of a run."""
  with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    port = s.getsockname()[1]
  together = (f'--coordinator=127.0.0.1:{port}', f'--num_processes={num}')
  env = dict(os.environ, JAX_PLATFORMS='cpu', XLA_FLAGS='')
  return [
      subprocess.Popen(
          command(
              str(folder), data_dir, *FLAGS, *more, *(
                  (*together, f'--process_id={k}') if num > 1 else ())),
          cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE,
          stderr=subprocess.STDOUT)
      for k in range(num)]


def end(started, timeout=240):
  """(exit codes, what each printed); none is left."""
  try:
    texts = [p.communicate(timeout=timeout)[0] for p in started]
    return [p.returncode for p in started], texts
  finally:
    for p in started:
      p.kill()


def until(path, lines, started):
  """Waits until a file has so many lines."""
  for _ in range(1200):
    if os.path.exists(path):
      with open(path, encoding='utf-8') as f:
        if f.read().count('\n') >= lines:
          return
    assert all(p.poll() is None for p in started), end(started)
    time.sleep(0.1)
  raise AssertionError(end(started, 1))


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp('data'))


@pytest.fixture(scope='module')
def alone(tmp_path_factory, data_dir):
  folder = tmp_path_factory.mktemp('alone') / 'run'
  codes, texts = end(start(folder, data_dir, 1))
  assert codes == [0], texts
  return folder


@pytest.mark.long
@pytest.mark.parametrize('num, more', [
    (2, ()), (2, ('--config.mesh.rows=2',)), (4, ('--config.mesh.rows=2',))])
def test_as_one(num, more, alone, data_dir, tmp_path):
  folder = tmp_path / 'run'
  codes, texts = end(start(folder, data_dir, num, *more))
  assert codes == [0] * num, texts
  worst = largest_difference(alone, folder)
  print(f'{num} processes {more}: largest difference {worst:.2e}')
  assert worst <= 1e-6
  for mine, theirs in zip(
      metrics(str(folder)), metrics(str(alone)), strict=True):
    assert mine['step'] == theirs['step']
    # The same examples in the same order, whoever trains on them.
    assert mine.get('train/batch_hash') == theirs.get('train/batch_hash')
  ours, others = results(str(folder)), results(str(alone))
  for key in ('test/ctcvr/logloss', 'test/ctr/auc', 'num_params', 'steps'):
    assert ours[key] == pytest.approx(others[key], rel=1e-5)
  assert not os.path.exists(folder / heartbeats.FOLDER)
  # One speaks.
  assert f'Each of {num} processes exchanges' in texts[0]
  assert 'Next:' in texts[0] and not any('Next:' in t for t in texts[1:])


@pytest.mark.long
def test_parts_of_data_with_groups(tmp_path):
  """Each reads its part of a batch; at the end of an epoch some have none.

  101 rows in batches of 16: the last one has 5. With as many devices in one
  process, whose batches are read as a whole.
  """
  num, ends = 4, []
  for together in (1, num):
    with socket.socket() as s:
      s.bind(('127.0.0.1', 0))
      port = s.getsockname()[1]
    flags = f'--xla_force_host_platform_device_count={num // together}'
    program = [sys.executable, '-m', 'tests.parallel.feeds', 'together']
    started = [
        subprocess.Popen(
            [*program, str(port), str(together), str(k),
             str(tmp_path / f'{together}-{k}')],
            cwd=ROOT, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(os.environ, JAX_PLATFORMS='cpu', XLA_FLAGS=flags))
        for k in range(together)]
    codes, texts = end(started)
    assert codes == [0] * together, texts
    lines = [json.loads(text.splitlines()[-1]) for text in texts]
    assert all(line == lines[0] for line in lines)
    ends.append(lines[0])
  one, several = ends
  assert one['hash'] == several['hash'] and several['traces'] == 1
  # A list of a part: its ids by field, in no table more than that has; groups.
  part = 16 // num
  ids = min(part, 11) + min(2 * part, 5) + min(part, 6)
  groups = min(part, several['groups'])
  assert several['lists'] == 4 * num * (ids + groups) and not one['lists']
  worst = 0
  with np.load(tmp_path / '1-0.npz') as a, np.load(
      tmp_path / f'{num}-0.npz') as b:
    for name in a:
      worst = max(worst, np.abs(a[name] - b[name]).max(initial=0))
  print(f'{num} processes, groups: largest difference {worst:.2e}')
  assert worst <= 1e-6


@pytest.mark.long
def test_each_predicts_the_labels_of_a_frozen_run(alone, data_dir, tmp_path):
  more = (
      '--config.estimator=ips', '--config.estimator_options.propensity=frozen',
      f'--config.estimator_options.frozen_run={alone}')
  for num in (1, 2):
    codes, texts = end(start(tmp_path / str(num), data_dir, num, *more))
    assert codes == [0] * num, texts
  one, two = (metrics(str(tmp_path / str(num))) for num in (1, 2))
  for a, b in zip(one, two, strict=True):
    assert a.get('train/batch_hash') == b.get('train/batch_hash')
  assert one[0]['train/batch_hash'] != metrics(str(alone))[0][
      'train/batch_hash']  # The labels are in it.
  assert largest_difference(tmp_path / '1', tmp_path / '2') <= 1e-6


@pytest.mark.long
@pytest.mark.parametrize('method', ['gradvac', 'famo'])
def test_balanced_as_one(method, data_dir, tmp_path):
  """The weights, and what is on record of them: a method with a state."""
  more = (f'--config.balancing.name={method}', '--config.balancing.measure')
  for num in (1, 2):
    codes, texts = end(start(tmp_path / str(num), data_dir, num, *more))
    assert codes == [0] * num, texts
  one, two = (results(str(tmp_path / str(num))) for num in (1, 2))
  keys = {k for k in one if k.startswith('balancing/')}
  assert {'balancing/share/ctr', 'balancing/cosine/all/ctr|ctcvr'} <= keys
  assert keys == {k for k in two if k.startswith('balancing/')}
  for key in keys:
    assert two[key] == pytest.approx(one[key], rel=1e-4), key
  assert one['balancing/share/ctr'] != 0.5
  worst = largest_difference(tmp_path / '1', tmp_path / '2')
  print(f'{method}: largest difference {worst:.2e}')
  assert worst <= 1e-5


@pytest.mark.long
@pytest.mark.parametrize('before, after', [(2, 1), (1, 2), (4, 2)])
def test_another_number_resumes(before, after, alone, data_dir, tmp_path):
  """SIGTERM to one of them: all save, and others resume."""
  folder = tmp_path / 'run'
  rows = lambda n: (f'--config.mesh.rows={n}',)
  started = start(folder, data_dir, before, *rows(before))
  until(folder / 'metrics.jsonl', 2, started)
  started[-1].send_signal(signal.SIGTERM)
  codes, texts = end(started)
  assert codes == [75] * before, texts
  assert 'saved at step' in texts[0]
  codes, texts = end(start(folder, data_dir, after, *rows(after)))
  assert codes == [0] * after, texts
  assert 'Going on at step' in texts[0]
  worst = largest_difference(alone, folder)
  print(f'{before} processes, then {after}: largest difference {worst:.2e}')
  assert worst <= 1e-6
  steps = [line['step'] for line in metrics(str(folder))]
  assert steps == [line['step'] for line in metrics(str(alone))]


@pytest.mark.long
@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize('which', [0, 1])
def test_a_lost_process_ends_the_others(how, which, data_dir, tmp_path):
  folder = tmp_path / 'run'
  started = start(
      folder, data_dir, 2, '--peer_timeout=5', '--config.num_epochs=400')
  until(folder / 'metrics.jsonl', 3, started)
  began = time.monotonic()
  started[which].send_signal(how)
  other = started[1 - which]
  text, _ = other.communicate(timeout=90)
  seconds = time.monotonic() - began
  started[which].kill()
  started[which].communicate()
  print(f'{how.name} of process {which}: {seconds:.0f} s, code'
        f' {other.returncode}: {text.splitlines()[-1]}')
  assert other.returncode == processes.EXIT_CODE, text
  assert f'error: process {which} (process ' in text or (
      # JAX itself says that the service of the first process is gone.
      (how, which) == (signal.SIGKILL, 0)
      and 'another task died' in text), text


GLOO = (
    'UNKNOWN: Gloo %s failed: [gloo/transport/tcp/pair.cc:547] Connection'
    ' closed by peer [127.0.0.1]:54992')
BARRIER = 'DEADLINE_EXCEEDED: Barrier timed out. Id: b::0.'
LOST = jax.errors.JaxRuntimeError


@pytest.mark.parametrize('error, expected', [
    # As two processes raised them when one was killed.
    (ValueError(GLOO % 'all-reduce'), True),
    (LOST(GLOO % 'AllGather'), True),
    (LOST(BARRIER), True),
    (ConnectionResetError('reset'), True),
    (LOST('INTERNAL: NCCL operation failed: remote error'), True),
    (LOST('RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.'), False),
    (LOST('INTERNAL: no kernel image'), False),
    (ValueError('The number of connections must be positive.'), False),
    (KeyError('connection'), False),
])
def test_is_connection_error(error, expected):
  assert processes.is_connection_error(error) == expected


@pytest.mark.parametrize('arguments, words', [
    (('host:1', None, 0), 'needs --num_processes'),
    (('host:1', 2, 2), '--process_id=2 must be from 0 to 1'),
    (('host', 2, 0), 'must be HOST:PORT'),
    (('host:x', 2, 0), 'must be HOST:PORT'),
])
def test_what_cannot_be_joined(arguments, words):
  with pytest.raises(InputError, match=words):
    processes.join(*arguments)


def test_alone_nothing_is_waited_for(tmp_path):
  assert processes.is_first()
  assert processes.any_of(True) and not processes.any_of(False)
  with heartbeats.watching(str(tmp_path), 1.0), processes.first_alone('x'):
    processes.wait_for_all('x')
  assert not os.listdir(tmp_path)


def test_needs_a_coordinator(tmp_path):
  done = subprocess.run(
      [sys.executable, '-m', 'experiments.train', FLAGS[0],
       f'--workdir={tmp_path}', '--num_processes=2'],
      cwd=ROOT, text=True, capture_output=True, check=False)
  assert done.returncode == 1 and 'need --coordinator' in done.stderr


@pytest.mark.skipif(not os.path.exists('/proc/net/tcp'), reason='not Linux')
def test_the_coordinator_listens_where_it_is_told(tmp_path):
  """At 127.0.0.1 alone, and not at every address of the machine."""
  with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    port = s.getsockname()[1]
  program = (
      'import time; from esmm_jax.parallel import processes;'
      f' processes.join("127.0.0.1:{port}", 1, 0); print("joined", flush=True);'
      ' time.sleep(60)')
  one = subprocess.Popen(
      [sys.executable, '-c', program], cwd=ROOT, text=True,
      env=dict(os.environ, JAX_PLATFORMS='cpu'), stdout=subprocess.PIPE,
      stderr=subprocess.PIPE)
  try:
    assert 'joined' in one.stdout.readline()
    listening = []
    for name in ('tcp', 'tcp6'):
      with open(f'/proc/net/{name}', encoding='utf-8') as f:
        rows = [line.split() for line in f.readlines()[1:]]
      listening += [
          r[1] for r in rows if r[3] == '0A' and int(r[1][-4:], 16) == port]
  finally:
    one.kill()
    one.communicate()
  # Of 127.0.0.1, as IPv4 and as IPv6 has it, with the bytes of words reversed.
  assert listening and {a.partition(':')[0] for a in listening} <= {
      '0100007F', '0000000000000000FFFF00000100007F'}
