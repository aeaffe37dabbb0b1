"""One process of `benchmarks.memory`.

  python -m benchmarks.memory_process PART ROWS OPTIMIZER FOLDER PORT NUM K

PART is `train` or `restore`; NUM processes are connected through PORT, this
one is number K. Prints what it measured as one JSON object.
"""

import functools
import json
import sys
import time
from typing import Any

from esmm_jax.doctor.allocator import keep_scratch
from esmm_jax.embeddings.lookup import gather_rows, init_table, scatter_rows
from esmm_jax.optim import tables as table_optim
from esmm_jax.parallel import processes
from esmm_jax.parallel.layout import Layout, MeshOptions
from esmm_jax.training import memory, selection
from esmm_jax.training.settings import Settings
from esmm_jax.workdir.checkpoint import Checkpoints
import jax
import numpy as np

from benchmarks import common
from experiments import load

TOUCHED, STEPS = 50_000, 20


def main(
    part: str, rows: int, optimizer: str, folder: str, port: str, num: int,
    process: int,
) -> None:
  """Measures one size in this process and prints its line."""
  keep_scratch()
  if num > 1:
    processes.join(f'127.0.0.1:{port}', num, process)
  layout = Layout(MeshOptions(1, 1, num))
  config = load.config('configs/esmm.py')
  config.model.embed_dim = common.EMBED_DIM
  if optimizer == 'adam_bfloat16':
    config.table_moments = 'bfloat16'
  else:
    config.table_optimizer = optimizer
  config.run.mesh.rows = num
  settings = Settings.read(config)
  tx = table_optim.table_optimizer(settings.table, settings.optimizer, 1)
  init = functools.partial(_init, tx, rows, layout.padded(rows))
  if part == 'restore':
    line = _restore(rows, init, folder, layout)
  else:
    line = _train(tx, rows, init, folder, layout)
    request = memory.Request(
        rows, 1, 1, TOUCHED, common.EMBED_DIM, settings.table,
        settings.optimizer, settings.run.mesh, True,
    )
    needed = memory.needed(request)
    line['said_bytes'] = sum(p.bytes for p in needed)
  print(json.dumps(line))


def _init(tx: Any, rows: int, padded: int) -> dict[str, Any]:
  """Initialises a table [padded, 1, D] and its optimizer's state."""
  keys = jax.random.split(jax.random.key(0), 1)
  table = init_table(keys, rows, padded, common.EMBED_DIM, 0.01, 1 << 16)
  return {'table': table, 'table_opt': tx.init(table)}


def _train(
    tx: Any, rows: int, init: Any, folder: str, layout: Layout
) -> dict[str, Any]:
  """Measures initialisation, a copy, steps and a checkpoint."""
  peak, line = common.Peak(), {}
  shardings = None
  with layout.active():
    if layout.num_devices > 1:
      shardings = layout.shardings(jax.eval_shape(init))
    state = jax.jit(init, out_shardings=shardings)()
    state = jax.block_until_ready(state)
    line['init_bytes'] = peak.take()
    best = jax.block_until_ready(selection.copy({'table': state['table']}))
    line['best_bytes'] = peak.take()
    state, times = _steps(tx, rows, state, layout, shardings, peak)
  line['step_bytes'] = peak.take()
  checkpoints = Checkpoints(folder, rows)
  start = time.perf_counter()
  step = layout.put_state(np.ones(1, np.int32))
  tree = {'state': state, 'best': best, 'step': step}
  checkpoints.save(1, tree, {})
  line['save_seconds'] = round(time.perf_counter() - start, 2)
  line['save_bytes'] = peak.take()
  checkpoints.close()
  return {'ms': round(sorted(times)[STEPS // 2] * 1e3, 3)} | line


def _steps(
    tx: Any,
    rows: int,
    state: Any,
    layout: Layout,
    shardings: Any,
    peak: common.Peak,
) -> tuple[Any, list[float]]:
  """Takes steps on TOUCHED rows; returns the state and seconds of each."""

  def update(state, at):
    touched = gather_rows(state['table'], at)
    opt, num = state['table_opt'], len(state['table'])
    directions, opt = tx.update(touched, opt, touched, at, num)
    table = scatter_rows(state['table'], at, touched - 0.01 * directions)
    return {'table': table, 'table_opt': opt}

  at = np.arange(TOUCHED, dtype=np.int32) * (rows // TOUCHED)
  at = layout.put_state(at)
  update = jax.jit(update, donate_argnums=0, out_shardings=shardings)
  state = jax.block_until_ready(update(state, at))
  peak.take()  # What compiling took is no part of a step.
  times = []
  for _ in range(STEPS):
    start = time.perf_counter()
    state = jax.block_until_ready(update(state, at))
    times.append(time.perf_counter() - start)
  return state, times


def _restore(
    rows: int, init: Any, folder: str, layout: Layout
) -> dict[str, Any]:
  """Measures the reading of what `_train` has saved."""
  with layout.active():
    state = jax.eval_shape(init)
  like = {
      'state': state,
      'best': {'table': state['table']},
      'step': jax.ShapeDtypeStruct((1,), 'int32'),
  }
  like = layout.abstract(like)
  peak = common.Peak()
  checkpoints = Checkpoints(folder, rows)
  start = time.perf_counter()
  tree = jax.block_until_ready(checkpoints.restore(like)[0])
  seconds = time.perf_counter() - start
  most = peak.take()
  checkpoints.close()
  del tree
  return {'restore_seconds': round(seconds, 2), 'restore_bytes': most}


if __name__ == '__main__':
  _part, _rows, *_texts, _port, _num, _k = sys.argv[1:]
  main(_part, int(_rows), *_texts, _port, int(_num), int(_k))
