"""Engines: order, errors, lost workers, and what is chosen."""

import os
import subprocess
import sys

from esmm_jax.engines import choice
from esmm_jax.engines.engine import InProcess
from esmm_jax.engines.local import Processes
from esmm_jax.types import InputError
import numpy as np
import pytest

from tests import ROOT
from tests.engines import doing


@pytest.fixture(scope='module')
def two():
  engine = Processes(2)
  yield engine
  engine.close()


def mapped(engine, function, shared, parts, folder):
  """The results, and the rows that were told of."""
  told = []
  results = list(engine.map(function, shared, parts, str(folder), told.append))
  assert not [n for n in os.listdir(folder) if n.endswith('.pickle')]
  return results, sum(told)


def test_results_come_in_order(two, tmp_path):
  for engine in (InProcess(), two):
    results = mapped(engine, doing.times, 3, range(9), tmp_path)
    assert results == ([3 * k for k in range(9)], sum(range(9)))
  assert mapped(two, doing.times, 3, [], tmp_path) == ([], 0)


def test_workers_are_other_processes_without_jax(two, tmp_path):
  (results, _) = mapped(two, doing.process, None, range(6), tmp_path)
  numbers, has_jax = zip(*results)
  assert 1 <= len({*numbers}) <= 2 and os.getpid() not in numbers
  assert not any(has_jax)


def test_the_first_error_counts(two, tmp_path):
  for engine in (InProcess(), two):
    results = engine.map(doing.refused, None, range(6), str(tmp_path), len)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(InputError, match='^part 2 is wrong.$'):
      next(results)
  with pytest.raises(RuntimeError, match='(?s)Local.*of this process alone'):
    mapped(two, doing.odd, None, [0], tmp_path)


@pytest.mark.parametrize('num', [1, 2])
def test_a_killed_worker_is_replaced(num, two, tmp_path, capsys):
  shared = str(tmp_path), num
  results, told = mapped(two, doing.killed, shared, range(4), tmp_path)
  assert (results, told) == ([0, 1, 2, 3], 40)
  assert (tmp_path / 'tried-1').read_text('utf-8') == 'x' * (num + 1)
  assert capsys.readouterr().err.splitlines() == [
      'warning: a worker process was lost, by signal 9 (SIGKILL); another one'
      ' does part 2 of 4 again.'] * num


@pytest.mark.usefixtures('capsys')
def test_a_worker_that_is_killed_each_time(two, tmp_path):
  with pytest.raises(InputError, match=(
      r'^a worker process was lost, by signal 9 \(SIGKILL\), 3 times at part 2'
      r' of 4\. Where memory runs out, .* set fewer --workers\.')):
    mapped(two, doing.killed, (str(tmp_path), 9), range(4), tmp_path)
  assert (tmp_path / 'tried-1').read_text('utf-8') == 'xxx'


def test_mapped_arrays_are_not_copied(two, tmp_path):
  shared = {'array': doing.array_in(str(tmp_path))}
  ((result,), _) = mapped(two, doing.mapped, shared, [0], tmp_path)
  assert result == (str(tmp_path / 'array.npy'), 45)
  shared = {'array': np.arange(4) + shared['array'][:4]}
  with pytest.raises(AttributeError, match='filename'):
    mapped(two, doing.mapped, shared, [0], tmp_path)


def test_workers_end_with_their_program(tmp_path):
  """Without a word, where it is killed and they are at work."""
  code = (
      'import os, signal\n'
      'from esmm_jax.engines.local import Processes\n'
      'from tests.engines import doing\n'
      'end = lambda rows: os.kill(os.getpid(), signal.SIGKILL)\n'
      f'folder = {str(tmp_path)!r}\n'
      'list(Processes(1).map(doing.endless, None, [0], folder, end))\n')
  # The pipe of stderr ends with the last process that has it.
  done = subprocess.run(
      [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True,
      check=False, timeout=60)
  assert (done.returncode, done.stdout, done.stderr) == (-9, '', '')


def test_the_number_of_workers(monkeypatch):
  monkeypatch.setattr(choice, 'cores', lambda: 4)

  def workers(num_bytes):
    with choice.opened(num_bytes) as engine:
      return engine.workers

  assert [workers(n << 20) for n in (0, 255, 256, 400, 512, 10**5)] == [
      1, 1, 2, 3, 4, 4]
  with choice.using(workers=3):
    assert workers(0) == 3
    with choice.using(workers=1):
      assert workers(1 << 40) == 1
    assert workers(0) == 3
  assert workers(0) == 1


@pytest.mark.parametrize('engine, workers, words', [
    ('local', 0, r'workers is 0; .* in \[1, 1024\]'),
    ('local', 1025, r'workers is 1025; .* in \[1, 1024\]'),
    ('slurm', 2, "engine is 'slurm'"),
])
def test_refused(engine, workers, words):
  with pytest.raises(InputError, match=words):
    with choice.using(engine, workers):
      pass
