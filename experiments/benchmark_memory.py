"""The memory part of `experiments.benchmark`: what a large table takes.

A process of its own for each size and optimizer, because a peak never falls,
and another one that restores what the first has saved.
"""

from collections.abc import Iterator
import functools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from esmm_jax.types import InputError

_DIM, _TOUCHED, _STEPS = 18, 50_000, 20


def measure(
    rows: int, optimizer: str, parent: str | None
) -> Iterator[dict[str, Any]]:
  """Yields the peaks of one size.

  Args:
    rows: Of the table.
    optimizer: A config's `table_optimizer`, or `adam_bfloat16`.
    parent: Where the checkpoint goes.
  """
  with tempfile.TemporaryDirectory(dir=parent) as folder:
    found = {'name': 'memory', 'rows': rows, 'optimizer': optimizer}
    for part in ('train', 'restore'):
      done = subprocess.run(
          [sys.executable, '-m', __name__, part, str(rows), optimizer, folder],
          capture_output=True,
          text=True,
          check=False,
      )
      if done.returncode:
        raise InputError(f'{rows} rows: {done.stderr.strip()[-500:]}')
      found |= json.loads(done.stdout.splitlines()[-1])
    yield found


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


def main(part: str, rows: int, optimizer: str, folder: str) -> None:
  """Measures one size in this process and prints it."""
  from esmm_jax import table_optim
  from esmm_jax.allocator import keep_scratch
  from experiments import load
  import jax

  keep_scratch()
  config = load.config('configs/esmm.py')
  config.model.embed_dim = _DIM
  if optimizer == 'adam_bfloat16':
    config.table_moments = 'bfloat16'
  else:
    config.table_optimizer = optimizer
  tx = table_optim.table_optimizer(config, 1)
  init = jax.jit(functools.partial(_init, tx, rows))
  if part == 'train':
    found = _train(tx, rows, init, folder)
    from esmm_jax import memory

    needed = memory.needed(config, rows, 1, 1, _TOUCHED)
    found['said_bytes'] = sum(p.bytes for p in needed)
  else:
    found = _restore(init, folder)
  print(json.dumps(found))


def _init(tx: Any, rows: int, key: Any) -> dict[str, Any]:
  from esmm_jax.train_state import init_table

  table = init_table(key[None], rows, _DIM, 0.01)
  return {'table': table, 'table_opt': tx.init(table)}


def _train(tx: Any, rows: int, init: Any, folder: str) -> dict[str, Any]:
  """Peaks and times of initialisation, steps and a checkpoint."""
  from esmm_jax import selection
  from esmm_jax.checkpoint import Checkpoints
  from esmm_jax.optim import put_rows, take_rows
  import jax
  import jax.numpy as jnp

  peak, found = Peak(), {}
  state = jax.block_until_ready(init(jax.random.key(0)))
  found['init_bytes'] = peak.take()
  best = jax.block_until_ready(selection.copy({'table': state['table']}))
  found['best_bytes'] = peak.take()

  def move(state, at):
    small = take_rows(state['table'], at)
    opt = state['table_opt']
    directions, opt = tx.update(small, opt, small, at, rows)
    table = put_rows(state['table'], at, small - 0.01 * directions)
    return {'table': table, 'table_opt': opt}

  at = jnp.arange(_TOUCHED, dtype=jnp.int32) * (rows // _TOUCHED)
  move = jax.jit(move, donate_argnums=0)
  state = jax.block_until_ready(move(state, at))
  peak.take()
  times = []
  for _ in range(_STEPS):
    start = time.perf_counter()
    state = jax.block_until_ready(move(state, at))
    times.append(time.perf_counter() - start)
  found['step_bytes'] = peak.take()
  checkpoints = Checkpoints(folder)
  start = time.perf_counter()
  tree = {'state': state, 'best': best, 'step': jnp.int32(1)}
  checkpoints.save(1, tree, {})
  found['save_seconds'] = round(time.perf_counter() - start, 2)
  found['save_bytes'] = peak.take()
  checkpoints.close()
  return {'ms': round(sorted(times)[_STEPS // 2] * 1e3, 3)} | found


def _restore(init: Any, folder: str) -> dict[str, Any]:
  """Peak and time of reading what `_train` has saved."""
  from esmm_jax.checkpoint import Checkpoints
  from esmm_jax.sharding import Layout
  import jax

  state = jax.eval_shape(init, jax.random.key(0))
  like = {
      'state': state,
      'best': {'table': state['table']},
      'step': jax.ShapeDtypeStruct((), 'int32'),
  }
  like = Layout().abstract(like)
  peak = Peak()
  checkpoints = Checkpoints(folder)
  start = time.perf_counter()
  tree = jax.block_until_ready(checkpoints.restore(like)[0])
  seconds = time.perf_counter() - start
  found = peak.take()
  checkpoints.close()
  del tree
  return {'restore_seconds': round(seconds, 2), 'restore_bytes': found}


if __name__ == '__main__':
  main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4])
