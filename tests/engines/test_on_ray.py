"""The engine of Ray, in a process of its own: it forks, and JAX has threads."""

import importlib.util
import json
import os
import subprocess
import sys

from esmm_jax.engines import choice, on_ray
from esmm_jax.types import InputError
import pytest

from tests import ROOT

HAS_RAY = importlib.util.find_spec('ray') is not None
needs_ray = pytest.mark.skipif(
    not HAS_RAY, reason="Ray is not installed: pip install 'esmm_jax[cluster]'")


def program(*command, **env):
  return subprocess.run(
      [sys.executable, *command], cwd=ROOT, capture_output=True, text=True,
      check=False, env=dict(os.environ, **env), timeout=200)


@needs_ray
@pytest.mark.long
def test_a_ray_of_its_own():
  """Order, errors, lost workers; who can reach it; and that it ends."""
  # An address in the environment leads nowhere.
  done = program('-m', 'tests.engines.ray_program', RAY_ADDRESS='192.0.2.1:1')
  assert done.returncode == 0, done.stderr
  answers = json.loads(done.stdout.splitlines()[-1])  # Ray prints, too.
  assert answers['order'] == [[3 * k for k in range(9)], sum(range(9))]
  assert answers['none'] == [[], 0] and answers['environment']
  numbers, has_jax = zip(*answers['processes'])
  assert 1 <= len({*numbers}) <= 2 and not any(has_jax)
  assert answers['first'] == [[0, 1], 'part 2 is wrong.']
  assert answers['killed'] == [[0, 1, 2, 3], 40]
  (results, error) = answers['always']
  assert results == [0]
  assert error.startswith(
      'a worker of Ray was lost, by ActorDiedError, 3 times at part 2 of 4 (')
  warnings = done.stderr.splitlines()
  assert warnings[0] == (
      'warning: RAY_ADDRESS=192.0.2.1:1 is not looked at: a Ray is started on'
      ' this machine. --ray_address names a cluster.')
  assert warnings[1:] == [
      'warning: a worker of Ray was lost, by ActorDiedError; another one does'
      ' part 2 of 4 again.'] * 3
  assert answers['usage'] == ['RAY_USAGE_STATS_ENABLED=0']
  assert answers['left'] == 1
  # 127.0.0.1, and the same as an address of IPv6.
  assert {*answers['listening']} <= {
      '0100007F', '0000000000000000FFFF00000100007F'}
  assert sum(answers['listening'].values()) >= 4


def test_without_ray(monkeypatch):
  """One line; also where it is there, as if it were not."""
  monkeypatch.setitem(sys.modules, 'ray', None)
  with pytest.raises(InputError, match=r"needs Ray.*'esmm_jax\[cluster\]'"):
    with choice.using('ray', 2), choice.opened(0):
      pass
  with pytest.raises(InputError, match='ray_address=x:1 applies only to'):
    with choice.using('local', 2, 'x:1'):
      pass


def test_nothing_imports_ray():
  """But an engine of Ray that is opened."""
  code = (
      'import sys, esmm_jax, experiments.predict\n'
      'from esmm_jax import serving\n'
      'from esmm_jax.engines import choice, on_ray\n'
      'from esmm_jax.serving import BatchScorer, scoring\n'
      'with choice.using("local", 1), choice.opened(0): pass\n'
      'print([m for m in sys.modules if m.split(".")[0] == "ray"])\n')
  done = program('-c', code)
  assert (done.returncode, done.stdout) == (0, '[]\n'), done.stderr


class Cluster:
  """A Ray of few processors, which the program has joined by itself."""

  def __init__(self, cores):
    self.cores = cores

  def is_initialized(self):
    return True

  def cluster_resources(self):
    return {'CPU': self.cores}

  def shutdown(self):
    raise AssertionError('it is not ours')


def test_more_workers_than_processors(monkeypatch):
  monkeypatch.setitem(sys.modules, 'ray', Cluster(3.0))
  with pytest.raises(InputError, match='--workers=4: the cluster has 3 proc'):
    on_ray.OnRay(4)
  engine = on_ray.OnRay()
  assert engine.workers == 3
  engine.close()
