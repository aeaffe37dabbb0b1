"""Data that Ray prepares, and a cluster that is not there."""

import subprocess
import sys

from esmm_jax.engines import choice
from esmm_jax.types import InputError
import pytest

from tests import ROOT
from tests.engines.test_on_ray import needs_ray

# In a process of its own: Ray leaves threads and handlers behind.
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

PREPARE_ALI_CCP = """
import pathlib
import sys
from benchmarks.ali_ccp_files import write_random
from esmm_jax.data.ali_ccp import chunks, stored
from tests.data.ali_ccp import test_workers as ali_ccp

chunks.CHUNK_BYTES, stored.SHARD_ROWS = 50_000, 600
folder = pathlib.Path(sys.argv[1])
for split, num in (('train', 40), ('test', 10)):
  write_random(str(folder / 'raw'), split, num)
one, two = (
    ali_ccp.prepared(folder / engine, folder / 'raw', engine, k)
    for engine, k in (('local', 1), ('ray', 2)))
assert one == two != {}
print('done')
"""
PREPARE_SIMULATOR = """
import sys
from esmm_jax.data.simulator import dataset
from tests.data.simulator import test_workers as simulator

dataset.SHARD_ROWS = 700
one, two = (
    simulator.prepared(f'{sys.argv[1]}/{name}', name, k, **simulator.DELAYED)
    for name, k in (('local', 1), ('ray', 2)))
assert one == two != {}
print('done')
"""


@needs_ray
@pytest.mark.long
@pytest.mark.parametrize(
    'code', [PREPARE, PREPARE_ALI_CCP, PREPARE_SIMULATOR],
    ids=['log', 'ali_ccp', 'simulator'])
def test_preparing(code, tmp_path):
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
