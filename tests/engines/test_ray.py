"""The engine of Ray, where it is installed."""

import importlib.util
import os
import subprocess
import sys

from esmm_jax.engines import choice
from esmm_jax.types import InputError
import pytest

from tests import ROOT

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec('ray') is None,
    reason="needs Ray: pip install 'esmm_jax[cluster]'")
# In a process of its own: Ray leaves threads and handlers behind.
CODE = """
import sys
from esmm_jax.engines import choice
from esmm_jax.types import InputError
from tests.engines import doing

folder = sys.argv[1]
told = []
with choice.using('ray', 2), choice.opened(0) as engine:
  results = lambda function, shared: list(
      engine.map(function, shared, range(6), folder, told.append))
  assert results(doing.times, 3) == [0, 3, 6, 9, 12, 15] and sum(told) == 15
  numbers, has_jax = zip(*results(doing.process, None))
  assert len({*numbers}) <= 2 and not any(has_jax)
  try:
    results(doing.refused, None)
  except InputError as e:
    assert str(e) == 'part 2 is wrong.'
  told.clear()
  assert results(doing.killed, (folder, 2)) == [0, 1, 2, 3, 4, 5]
  assert sum(told) == 60
  try:
    results(doing.killed, (folder, 9))
  except InputError as e:
    assert str(e).startswith('a worker of Ray was lost 3 times at part 2 of 6')
print('done')
"""
PREPARE = """
import sys
from esmm_jax.data.tabular import rows
from esmm_jax.engines import choice
from tests.data.tabular import test_workers as log

rows.READ_ROWS = 16
import pathlib
folder = pathlib.Path(sys.argv[1])
files = log.write(log.log(), folder / 'log', 'row groups')
options = log.OPTIONS | log.CASES['history']
one = log.prepared(folder / '1', files, 'local', 1, **options)
assert one == log.prepared(folder / '2', files, 'ray', 2, **options) != {}
print('done')
"""


@needs_ray
@pytest.mark.long
@pytest.mark.parametrize('code', [CODE, PREPARE])
def test_ray(code, tmp_path):
  done = subprocess.run(
      [sys.executable, '-c', code, str(tmp_path)], cwd=ROOT, text=True,
      capture_output=True, check=False)
  assert (done.returncode, done.stdout[-5:]) == (0, 'done\n'), done.stderr


@needs_ray
@pytest.mark.long
def test_no_such_cluster():
  with choice.using('ray', 2, '127.0.0.1:1'):
    with pytest.raises(InputError, match='--ray_address=127.0.0.1:1: '):
      with choice.opened(0):
        pass


def test_without_ray(monkeypatch):
  monkeypatch.setitem(sys.modules, 'ray', None)
  with choice.using('ray', 2):
    with pytest.raises(InputError, match=(
        r"^--engine=ray needs Ray, .* pip install 'esmm_jax\[cluster\]'\.$")):
      with choice.opened(0):
        pass
  assert 'RAY_USAGE_STATS_ENABLED' not in os.environ


def test_an_address_is_of_ray():
  with pytest.raises(InputError, match='--ray_address=a:1 is of --engine=ray'):
    with choice.using('local', 2, 'a:1'):
      pass
