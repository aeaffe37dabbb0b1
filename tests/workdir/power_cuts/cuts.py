"""States of the disk after power cuts, and runs that resume from them."""

import hashlib
import os
import pathlib
import re
import shutil
import sys

from pyarrow import parquet

from tests import ROOT
from tests.parallel import forking
from tests.training.test_end_to_end import fingerprint, metrics, results
from tests.workdir.power_cuts import recorded

FLAGS = (
    '--config=configs/esmm.py:smoke',
    '--config.dataset.num_train=1500',
    '--config.dataset.num_valid=300',
    '--config.dataset.num_test=300',
    '--config.num_epochs=1',
    '--config.evals_per_epoch=3',
    '--config.log_every=2',
    '--config.batch_size=250',
    '--config.save_predictions=true',
)
# Read by nobody, or only to be removed: what is in them makes no other state.
UNREAD = re.compile(
    r'(/tensorboard/|[^/]*orbax-checkpoint-tmp[^/]*/'
    r'|/incomplete\.[^/]*/|\.partial(/|$)|/sha256\.json$)')


class Cut:
  """A state of the disk after a power cut.

  Attributes:
    point: Operations done before.
    operation: The last of them.
    loss: Of `recorded.LOSSES`.
    tree: As `Disk.after` returns it.
  """

  def __init__(self, point, operation, loss, tree):
    self.point, self.loss, self.tree = point, loss, tree
    self.operation = ' '.join(map(str, operation[:2]))

  def __str__(self):
    return f'{self.point}, after {self.operation}: {self.loss}'

  def write(self, folder):
    for path, data in self.tree.items():
      path = folder / path
      if data is None:
        path.mkdir(parents=True, exist_ok=True)
      else:
        path.write_bytes(data)


def _key(tree):
  """A hash of what programs read of a state."""
  seen = hashlib.sha256()
  entries = set()
  for path, data in tree.items():
    unread = UNREAD.search('/' + path)
    if unread:
      path, data = '/' + path, b''
      path = path[: unread.end()]
      path = re.sub(r'\.[^./]{8}\.partial', '.partial', path)
    digest = '' if data is None else hashlib.sha256(data).hexdigest()
    entries.add(f'{path} {digest}\n')
  for entry in sorted(entries):
    seen.update(entry.encode())
  return seen.hexdigest()


def cuts(operations, disk=None):
  """Yields a `Cut` for each state that no earlier one equals."""
  disk, seen = disk or recorded.Disk(), set()
  for point, operation in enumerate(operations, start=1):
    disk.apply(*operation)
    for loss in (*recorded.LOSSES, recorded.CHANCE):
      tree = disk.after(loss, seed=point)
      key = _key(tree)
      if key not in seen:
        seen.add(key)
        yield Cut(point, operation, loss, tree)


class Runs:
  """The uninterrupted run, its operations, and runs after power cuts.

  Attributes:
    operations: Of the uninterrupted run.
  """

  def __init__(self, home, prepares=False):
    """Trains the uninterrupted run; `prepares` says if it prepares its data."""
    self._home, self._prepares = pathlib.Path(home), prepares
    self._number = 0
    env = dict(JAX_COMPILATION_CACHE_DIR=os.path.join(home, 'compiled'),
               JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS='0',
               JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES='-1',
               JAX_DISABLE_MOST_OPTIMIZATIONS='1')
    self._program = forking.Program('experiments.train', **env)
    whole = self._home / 'whole'
    if not prepares:
      done = self._run(self._home / 'first')
      assert done.returncode == 0, done.stderr
    whole.mkdir()
    self.operations = recorded.record(
        [sys.executable, '-m', 'experiments.train', *self._flags(whole)],
        whole, os.path.join(home, 'trace'), cwd=ROOT,
        env=os.environ | env | {'JAX_PLATFORMS': 'cpu'})
    self._whole = self._outcome(whole / 'run')

  def close(self):
    self._program.__exit__()

  def _flags(self, folder):
    data = folder if self._prepares else self._home
    return [*FLAGS, f'--workdir={folder}/run', f'--data_dir={data}/data']

  def _run(self, folder):
    return self._program.run(*self._flags(folder))

  def resumed(self, cut):
    """Runs the command on a state; returns what is wrong then, or ''."""
    self._number += 1
    folder = self._home / f'cut{self._number}'
    folder.mkdir()
    cut.write(folder)
    done = self._run(folder)
    try:
      if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ['']
        return f'rc {done.returncode}: {lines[-1][:300]}'
      outcome = self._outcome(folder / 'run')
      return ', '.join(k for k in outcome if outcome[k] != self._whole[k])
    except Exception as e:  # What cannot be read is another outcome.
      return f'{type(e).__name__}: {e}'
    finally:
      shutil.rmtree(folder)

  def _outcome(self, run):
    scores = parquet.read_table(run / 'predictions' / 'test.parquet')
    return {
        'results.json': results(run),
        'metrics.jsonl': metrics(run),
        'checkpoint': fingerprint(run),
        'predictions': scores.to_pydict(),
    }
