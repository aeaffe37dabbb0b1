"""The memory part of `experiments.benchmark`: what a large table takes.

A process of its own for each size and optimizer, because a peak never falls.
"""

from collections.abc import Iterator
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from esmm_jax.types import InputError

_DIM, _TOUCHED = 18, 50_000


def measure(
    rows: int, optimizer: str, parent: str | None
) -> Iterator[dict[str, Any]]:
  """Yields the peaks of one size.

  Args:
    rows: Of the table.
    optimizer: A config's `table_optimizer`, or `adam_bfloat16`.
    parent: Where the checkpoint goes.
  """
  command = [sys.executable, '-m', 'experiments.benchmark_memory']
  done = subprocess.run(
      [*command, str(rows), optimizer, parent or tempfile.gettempdir()],
      capture_output=True,
      text=True,
      check=False,
  )
  if done.returncode:
    raise InputError(f'{rows} rows: {done.stderr.strip()[-500:]}')
  yield json.loads(done.stdout.splitlines()[-1])


class Peak:
  """The most memory that the process has had since it was asked last."""

  def __init__(self):
    self._most = 0
    threading.Thread(target=self._watch, daemon=True).start()

  def _watch(self):
    while True:
      self._most = max(self._most, resident())
      time.sleep(0.01)

  def take(self) -> int:
    """The peak in bytes; begins anew."""
    found, self._most = max(self._most, resident()), 0
    return found


def resident() -> int:
  """Bytes that the process has now."""
  with open('/proc/self/statm', encoding='ascii') as f:
    return int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def main(rows: int, optimizer: str, parent: str) -> None:
  """Measures one size in this process and prints it."""
  from esmm_jax import memory, selection, table_optim
  from esmm_jax.allocator import keep_scratch
  from esmm_jax.checkpoint import Checkpoints
  from experiments import load
  import jax
  import jax.numpy as jnp

  keep_scratch()
  config = load.config('configs/esmm.py')
  config.model.embed_dim = _DIM
  if optimizer == 'adam_bfloat16':
    config.table_moments = 'bfloat16'
  else:
    config.table_optimizer = optimizer
  tx = table_optim.table_optimizer(config, 1)
  peak, peaks = Peak(), {}
  before = resident()

  def note(name: str) -> None:
    peaks[f'{name}_bytes'] = peak.take() - before

  @jax.jit
  def init(key):
    from esmm_jax.train_state import init_table

    table = init_table(key[None], rows, _DIM, 0.01)
    return {'table': table, 'opt': tx.init(table)}

  state = jax.block_until_ready(init(jax.random.key(0)))
  note('init')
  best = jax.block_until_ready(selection.copy({'table': state['table']}))
  note('best')

  @jax.jit
  def touched(k):
    return jnp.sort(jax.random.permutation(jax.random.key(k), rows)[:_TOUCHED])

  def move(state, at):
    from esmm_jax.optim import put_rows, take_rows

    small = take_rows(state['table'], at)
    directions, opt = tx.update(small, state['opt'], small, at, rows)
    table = put_rows(state['table'], at, small - 0.01 * directions)
    return {'table': table, 'opt': opt}

  at = jnp.arange(_TOUCHED, dtype=jnp.int32) * (rows // _TOUCHED)
  move = jax.jit(move, donate_argnums=0)
  state = jax.block_until_ready(move(state, at))
  peak.take()
  times = []
  for _ in range(20):
    start = time.perf_counter()
    state = jax.block_until_ready(move(state, at))
    times.append(time.perf_counter() - start)
  note('step')
  with tempfile.TemporaryDirectory(dir=parent) as folder:
    checkpoints = Checkpoints(folder)
    tree = {'state': state, 'best': best}
    start = time.perf_counter()
    checkpoints.save(1, tree, {})
    seconds = time.perf_counter() - start
    note('save')
    checkpoints.close()
  needed = memory.needed(config, rows, 1, 1, _TOUCHED)
  print(json.dumps({
      'name': 'memory',
      'rows': rows,
      'optimizer': optimizer,
      'ms': round(sorted(times)[10] * 1e3, 3),
      'said_bytes': sum(p.bytes for p in needed),
      **peaks,
      'save_seconds': round(seconds, 2),
  }))


if __name__ == '__main__':
  main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
