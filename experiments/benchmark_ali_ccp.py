"""The Ali-CCP part of `experiments.benchmark`: preparing, and making batches.

Random raw files of the published shape are written, prepared by
`experiments.prepare_data` in a process of its own, compared with what was
written, and read as batches on one thread.
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
from typing import Any

from esmm_jax.types import InputError

# Skeleton rows of a session in the random files, about.
ROWS_PER_SESSION = 54
_TEST_SHARE = 0.1
_BATCHES = 200


def measure(
    rows: int, batch_size: int, parent: str | None
) -> Iterator[dict[str, Any]]:
  """Yields a measurement after the other.

  Args:
    rows: Skeleton rows of both splits, about.
    batch_size: Examples of a batch.
    parent: Where the scratch folder is made; None: where the system has it.
  """
  from esmm_jax.data.ali_ccp.dataset import AliCcp
  from esmm_jax.data.ali_ccp.check import differences
  from esmm_jax.data.ali_ccp.random_files import write_random

  if parent:
    os.makedirs(parent, exist_ok=True)
  with tempfile.TemporaryDirectory(dir=parent) as folder:
    raw, small, data = (os.path.join(folder, n) for n in ('raw', 'small', 'd'))
    for split in ('train', 'test'):
      write_random(small, split, 200)
    _prepare(small, small)  # The parser is compiled and kept.
    sessions = {'test': max(1, int(_TEST_SHARE * rows / ROWS_PER_SESSION))}
    sessions['train'] = max(1, rows // ROWS_PER_SESSION - sessions['test'])
    written = sum(write_random(raw, s, n) for s, n in sessions.items())
    size = sum(e.stat().st_size for e in os.scandir(raw))
    seconds, cpu, rss, temporary = _prepare(raw, data)
    yield {
        'name': 'prepare',
        'rows': written,
        'batch_size': 0,
        'ms': seconds * 1e3,
        'examples': written,
        'raw_bytes': size,
        'cpu_seconds': round(cpu, 2),
        'rows_per_cpu_second': round(written / cpu),
        'raw_mb_per_cpu_second': round(size / cpu / 1e6, 1),
        'peak_rss_bytes': rss,
        'temporary_bytes': temporary,
        'prepared_bytes': _bytes(data),
    }
    builder = AliCcp.from_options(data_dir=data)
    start = time.perf_counter()
    found = differences(builder, sessions)
    yield {
        'name': 'compare',
        'rows': written,
        'batch_size': 0,
        'ms': (time.perf_counter() - start) * 1e3,
        'examples': written,
        'values': found.pop('values'),
        'differences': found,
    }
    yield from _batches(builder, batch_size)


def _batches(builder: Any, batch_size: int) -> Iterator[dict[str, Any]]:
  """Reads and makes batches of the training split, on this thread."""
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
    groups = [np.ptp(b.groups.of) + 1 for b in batches.iterate(0, num)]
    seconds = time.perf_counter() - start
    yield {
        'name': name,
        'rows': len(source),
        'batch_size': batch_size,
        'ms': seconds / num * 1e3,
        'examples': batch_size,
        'group_run': run,
        'sessions_per_batch': round(float(np.mean(groups)), 1),
        'slots': builder.schema.num_slots,
        'cpu_seconds': round(time.process_time() - cpu, 2),
    }


def _prepare(raw: str, data: str) -> tuple[float, float, int, int]:
  """Seconds, CPU seconds, peak memory and temporary bytes of the program."""
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
  return seconds, cpu, after.ru_maxrss * 1024, most[0]


def _bytes(folder: str, part: str = '') -> int:
  """Of the files in a folder, or of those below folders of a name."""
  total = 0
  for root, _, files in os.walk(folder):
    if part and part not in root.split(os.sep):
      continue
    for name in files:
      with contextlib.suppress(FileNotFoundError):
        total += os.path.getsize(os.path.join(root, name))
  return total
