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


@needs_ray
@pytest.mark.long
def test_preparing(tmp_path):
  done = subprocess.run(
      [sys.executable, '-c', PREPARE, str(tmp_path)], cwd=ROOT, text=True,
      capture_output=True, check=False)
  assert (done.returncode, done.stdout[-5:]) == (0, 'done\n'), done.stderr


@needs_ray
@pytest.mark.long
def test_no_such_cluster():
  with choice.using('ray', 2, '127.0.0.1:1'):
    with pytest.raises(InputError, match='--ray_address=127.0.0.1:1: '):
      with choice.opened(0):
        pass
