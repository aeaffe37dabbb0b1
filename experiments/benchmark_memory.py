"""The memory part of `experiments.benchmark`: what a large table takes.

A process of its own for each size and optimizer, because a peak never falls,
and another one that restores what the first has saved.
"""

from collections.abc import Iterator
import functools
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from esmm_jax.types import InputError

_DIM, _TOUCHED, _STEPS = 18, 50_000, 20


def measure(
    rows: int, optimizer: str, parent: str | None, processes: int = 1
) -> Iterator[dict[str, Any]]:
  """Yields the peaks of one size, of one process.

  Args:
    rows: Of the table.
    optimizer: A config's `table_optimizer`, or `adam_bfloat16`.
    parent: Where the checkpoint goes.
    processes: Processes that share the rows of the table.
  """
  with tempfile.TemporaryDirectory(dir=parent) as folder:
    found = {'name': 'memory', 'rows': rows, 'optimizer': optimizer}
    found |= {'processes': processes}
    for part in ('train', 'restore'):
      found |= _started((part, str(rows), optimizer, folder), processes)
    yield found


def _started(arguments: tuple[str, ...], num: int) -> dict[str, Any]:
  """What the first of `num` processes found."""
  with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    port = str(s.getsockname()[1])
  started = [
      subprocess.Popen(
          [sys.executable, '-m', __name__, *arguments, port, str(num), str(k)],
          stdout=subprocess.PIPE,
          stderr=subprocess.PIPE,
          text=True,
      )
      for k in range(num)
  ]
  texts = [p.communicate() for p in started]
  for process, (_, errors) in zip(started, texts):
    if process.returncode:
      raise InputError(f'{arguments[1]} rows: {errors.strip()[-500:]}')
  return json.loads(texts[0][0].splitlines()[-1])


class Peak:
  """The most memory that the process has had since it was asked last."""

  def __init__(self):
    self._before = resident()
    self._most = 0
    threading.Thread(target=self._watch, daemon=True).start()

  def _watch(self):
    while True:
      self._most = max(self._most, resident())
      time.sleep(0.01)

  def take(self) -> int:
    """The peak in bytes, above what there was first; begins anew."""
    found, self._most = max(self._most, resident()), 0
    return found - self._before


def resident() -> int:
  """Bytes that the process has now."""
  with open('/proc/self/statm', encoding='ascii') as f:
    return int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def main(
    part: str, rows: int, optimizer: str, folder: str, port: str, *place: int
) -> None:
  """Measures one size in this process, `place[1]` of `place[0]`."""
  from esmm_jax.parallel import processes
  from esmm_jax.optim import tables as table_optim
  from esmm_jax.doctor.allocator import keep_scratch
  from esmm_jax.parallel.layout import Layout, MeshOptions
  from esmm_jax.training.settings import Settings
  from experiments import load

  keep_scratch()
  if place[0] > 1:
    processes.join(f'127.0.0.1:{port}', *place)
  layout = Layout(MeshOptions(1, 1, place[0]))
  config = load.config('configs/esmm.py')
  config.model.embed_dim = _DIM
  if optimizer == 'adam_bfloat16':
    config.table_moments = 'bfloat16'
  else:
    config.table_optimizer = optimizer
  config.run.mesh.rows = place[0]
  settings = Settings.read(config)
  tx = table_optim.table_optimizer(settings.table, settings.optimizer, 1)
  init = functools.partial(_init, tx, rows, layout.padded(rows))
  if part == 'restore':
    found = _restore(rows, init, folder, layout)
  else:
    found = _train(tx, rows, init, folder, layout)
    from esmm_jax.training import memory

    needed = memory.needed(
        memory.Request(
            rows, 1, 1, _TOUCHED, _DIM, settings.table, settings.optimizer,
            settings.run.mesh, True,
        )
    )
    found['said_bytes'] = sum(p.bytes for p in needed)
  print(json.dumps(found))


def _init(tx: Any, rows: int, padded: int) -> dict[str, Any]:
  from esmm_jax.embeddings.lookup import init_table
  import jax

  keys = jax.random.split(jax.random.key(0), 1)

  table = init_table(keys, rows, padded, _DIM, 0.01, 1 << 16)
  return {'table': table, 'table_opt': tx.init(table)}


def _train(
    tx: Any, rows: int, init: Any, folder: str, layout: Any
) -> dict[str, Any]:
  """Peaks and times of initialisation, steps and a checkpoint."""
  from esmm_jax.training import selection
  from esmm_jax.workdir.checkpoint import Checkpoints
  from esmm_jax.embeddings.lookup import gather_rows, scatter_rows
  import jax
  import numpy as np

  peak, found = Peak(), {}
  where = None
  with layout.active():
    if layout.num_devices > 1:
      where = layout.shardings(jax.eval_shape(init))
    state = jax.jit(init, out_shardings=where)()
    state = jax.block_until_ready(state)
    found['init_bytes'] = peak.take()
    best = jax.block_until_ready(selection.copy({'table': state['table']}))
    found['best_bytes'] = peak.take()

    def move(state, at):
      small = gather_rows(state['table'], at)
      opt, num = state['table_opt'], len(state['table'])
      directions, opt = tx.update(small, opt, small, at, num)
      table = scatter_rows(state['table'], at, small - 0.01 * directions)
      return {'table': table, 'table_opt': opt}

    at = np.arange(_TOUCHED, dtype=np.int32) * (rows // _TOUCHED)
    at = layout.put_state(at)
    move = jax.jit(move, donate_argnums=0, out_shardings=where)
    state = jax.block_until_ready(move(state, at))
    peak.take()
    times = []
    for _ in range(_STEPS):
      start = time.perf_counter()
      state = jax.block_until_ready(move(state, at))
      times.append(time.perf_counter() - start)
  found['step_bytes'] = peak.take()
  checkpoints = Checkpoints(folder, rows)
  start = time.perf_counter()
  step = layout.put_state(np.ones(1, np.int32))
  tree = {'state': state, 'best': best, 'step': step}
  checkpoints.save(1, tree, {})
  found['save_seconds'] = round(time.perf_counter() - start, 2)
  found['save_bytes'] = peak.take()
  checkpoints.close()
  return {'ms': round(sorted(times)[_STEPS // 2] * 1e3, 3)} | found


def _restore(
    rows: int, init: Any, folder: str, layout: Any
) -> dict[str, Any]:
  """Peak and time of reading what `_train` has saved."""
  from esmm_jax.workdir.checkpoint import Checkpoints
  import jax

  with layout.active():
    state = jax.eval_shape(init)
  like = {
      'state': state,
      'best': {'table': state['table']},
      'step': jax.ShapeDtypeStruct((1,), 'int32'),
  }
  like = layout.abstract(like)
  peak = Peak()
  checkpoints = Checkpoints(folder, rows)
  start = time.perf_counter()
  tree = jax.block_until_ready(checkpoints.restore(like)[0])
  seconds = time.perf_counter() - start
  found = peak.take()
  checkpoints.close()
  del tree
  return {'restore_seconds': round(seconds, 2), 'restore_bytes': found}


if __name__ == '__main__':
  main(
      sys.argv[1], int(sys.argv[2]), *sys.argv[3:6], *map(int, sys.argv[6:])
  )
