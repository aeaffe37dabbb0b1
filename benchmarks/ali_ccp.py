"""Times the way from Ali-CCP's raw files to batches; one JSON object a line.

  python -m benchmarks.ali_ccp --rows=4e6 --batch_size=4096 --data_dir=DIR

Random raw files of the published shape are written, prepared by
`experiments.prepare_data` in a process of its own (`prepare`), compared with
what was written (`compare`), and read as batches on one thread (`batches...`).
The files take scratch space in --data_dir, about 0.7 GB for 1e6 rows.
"""

from collections.abc import Iterator
import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, NamedTuple

from absl import flags
from esmm_jax.types import InputError

from benchmarks import common
from experiments import cli

_ROWS_PER_SESSION = 54  # Skeleton rows of a session in the files, about.
_TEST_SHARE = 0.1
_BATCHES = 200  # At most so many are timed.

_ROWS = common.define_rows('4e6', 'Skeleton rows of both splits, about.')
_BATCH_SIZE = flags.DEFINE_integer('batch_size', 4096, 'Examples of a batch.')
cli.define_data_dir()
flags.adopt_module_key_flags(cli)
flags.adopt_module_key_flags(common)


def main() -> None:
  for rows in common.counts(_ROWS.value):
    for line in measure(rows, _BATCH_SIZE.value, flags.FLAGS.data_dir):
      common.emit(**line)


def measure(
    rows: int, batch_size: int, parent: str | None
) -> Iterator[dict[str, Any]]:
  """Prepares random files and yields one measurement after the other.

  Args:
    rows: Skeleton rows of both splits, about.
    batch_size: Examples of a batch.
    parent: Folder for the scratch folder; None: the system's.

  Yields:
    Arguments of `common.emit`.

  Raises:
    InputError: The files could not be prepared.
  """
  from benchmarks.ali_ccp_check import differences
  from benchmarks.ali_ccp_files import write_random
  from esmm_jax.data.ali_ccp.dataset import AliCcp

  if parent:
    os.makedirs(parent, exist_ok=True)
  with tempfile.TemporaryDirectory(dir=parent) as folder:
    raw, small, data = (os.path.join(folder, n) for n in ('raw', 'small', 'd'))
    for split in ('train', 'test'):
      write_random(small, split, 200)
    _prepare(small, small)  # Numba compiles and caches; that is not timed.
    sessions = {'test': max(1, int(_TEST_SHARE * rows / _ROWS_PER_SESSION))}
    sessions['train'] = max(1, rows // _ROWS_PER_SESSION - sessions['test'])
    written = sum(write_random(raw, s, n) for s, n in sessions.items())
    yield _timed_preparation(raw, data, written)
    builder = AliCcp.from_options(data_dir=data)
    start = time.perf_counter()
    different = differences(builder, sessions)
    seconds = time.perf_counter() - start
    yield _line(
        'compare',
        written,
        0,
        seconds,
        written,
        values=different.pop('values'),
        differences=different,
    )
    yield from _batches(builder, batch_size)


def _line(
    name: str,
    rows: int,
    batch_size: int,
    seconds: float,
    examples: int,
    **more: Any,
) -> dict[str, Any]:
  """Returns the arguments of `common.emit`."""
  return {
      'name': name,
      'rows': rows,
      'batch_size': batch_size,
      'ms': seconds * 1e3,
      'examples': examples,
      **more,
  }


def _timed_preparation(raw: str, data: str, rows: int) -> dict[str, Any]:
  """Measures the preparation of `rows` skeleton rows of the folder `raw`."""
  size = _bytes(raw)
  cost = _prepare(raw, data)
  return _line(
      'prepare',
      rows,
      0,
      cost.seconds,
      rows,
      raw_bytes=size,
      cpu_seconds=round(cost.cpu_seconds, 2),
      rows_per_cpu_second=round(rows / cost.cpu_seconds),
      raw_mb_per_cpu_second=round(size / cost.cpu_seconds / 1e6, 1),
      peak_rss_bytes=cost.peak_rss,
      temporary_bytes=cost.temporary,
      prepared_bytes=_bytes(data),
  )


def _batches(builder: Any, batch_size: int) -> Iterator[dict[str, Any]]:
  """Times batches of the training split, read and arranged on this thread."""
  from esmm_jax.data.batching.batches import Batches
  import numpy as np

  source = builder.as_data_source('train')
  for name, run, compacted in (
      ('batches', 1, False),
      ('batches_compacted', 1, True),
      ('batches_runs', 16, False),
      ('batches_runs_compacted', 16, True),
  ):
    batches = Batches(
        source,
        builder.schema,
        batch_size,
        group_run=run,
        compacted=compacted,
    )
    num = min(_BATCHES, max(1, len(batches) - 1))
    start, cpu = time.perf_counter(), time.process_time()
    groups = [np.ptp(b.groups.segment_ids) + 1 for b in batches.iterate(0, num)]
    seconds = time.perf_counter() - start
    yield _line(
        name,
        len(source),
        batch_size,
        seconds / num,
        batch_size,
        group_run=run,
        sessions_per_batch=round(float(np.mean(groups)), 1),
        slots=builder.schema.num_slots,
        cpu_seconds=round(time.process_time() - cpu, 2),
    )


class _Cost(NamedTuple):
  """The resources of a preparation.

  Attributes:
    seconds: Wall time.
    cpu_seconds: Of all threads.
    peak_rss: Bytes of memory.
    temporary: Bytes of the temporary files at their largest.
  """

  seconds: float
  cpu_seconds: float
  peak_rss: int
  temporary: int


def _prepare(raw: str, data: str) -> _Cost:
  """Runs `experiments.prepare_data` and watches it."""
  command = [
      *(sys.executable, '-m', 'experiments.prepare_data'),
      *('--dataset=ali_ccp', f'--raw_dir={raw}', f'--data_dir={data}'),
  ]
  most = [0]
  ended = threading.Event()

  def watch():
    while not ended.wait(0.1):
      most[0] = max(most[0], _bytes(data, 'temporary'))

  thread = threading.Thread(target=watch, daemon=True)
  before = resource.getrusage(resource.RUSAGE_CHILDREN)
  start = time.perf_counter()
  thread.start()
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  seconds = time.perf_counter() - start
  ended.set()
  thread.join()
  if done.returncode:
    raise InputError(f'prepare_data failed: {done.stderr.strip()[-500:]}')
  after = resource.getrusage(resource.RUSAGE_CHILDREN)
  cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
  return _Cost(seconds, cpu, after.ru_maxrss * 1024, most[0])


def _bytes(folder: str, part: str = '') -> int:
  """Bytes of the files in a folder, or of those below folders named `part`."""
  total = 0
  for root, _, files in os.walk(folder):
    if part and part not in root.split(os.sep):
      continue
    for name in files:
      # The preparation deletes files while they are counted.
      with contextlib.suppress(FileNotFoundError):
        total += os.path.getsize(os.path.join(root, name))
  return total


if __name__ == '__main__':
  cli.run(main)
