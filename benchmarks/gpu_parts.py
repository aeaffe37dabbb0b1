"""The measurements of `benchmarks.gpu`, each for itself."""

from collections.abc import Callable, Iterable
import contextlib
import glob
import os
import sys
import tempfile
import time
from typing import Any, NamedTuple

from esmm_jax.data.batching.batches import Batches
from esmm_jax.embeddings import sums as row_sums
from esmm_jax.parallel.layout import Layout
from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.training.resident import Resident
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import common, step_parts
from experiments import load

WAYS = {
    'ours': row_sums.sums_without_contention,
    'xla': row_sums.sums_by_scatter,
}
_CALLS = 5
_RATE = 0.1
# SGD in float32 on two kinds of devices.
_TOLERANCE = 1e-5


class Work(NamedTuple):
  """The amount of work.

  Attributes:
    rows: Rows of the embedding table.
    batch_sizes: Examples of a batch, ascending.
    replicas: Models trained at once.
    windows: Timed windows of a step.
    steps: Steps of a window.
    parity_steps: Steps that are compared with a CPU.
    config: Of the whole run.
  """

  rows: int
  batch_sizes: tuple[int, ...]
  replicas: tuple[int, ...]
  windows: int
  steps: int
  parity_steps: int
  config: str


FULL = Work(
    1_000_000, (1024, 4096, 16_384, 65_536), (1, 16), 3, 40, 200,
    'configs/esmm.py',
)
TINY = Work(1000, (64,), (1, 2), 1, 2, 3, 'configs/esmm.py:smoke')


def draws(num: int, size: int) -> dict[str, np.ndarray]:
  """Draws rows of a table: uniform, Zipf and of two.

  Args:
    num: Rows of the table.
    size: Numbers to draw.
  """
  rng = np.random.default_rng(0)
  each = {
      'uniform': rng.integers(0, num, size),
      'zipf': np.minimum(num ** rng.random(size), num - 1),
      'two': rng.choice([0, num - 1], size),
  }
  return {name: index.astype(np.int32) for name, index in each.items()}


def time_sums(batch_size: int) -> None:
  """Times the gradient of rows, in both ways, by how often a row is taken."""
  size = batch_size * common.NUM_FIELDS
  num = size // 2
  values = jnp.ones((size, common.EMBED_DIM))
  for draw, index in draws(num, size).items():
    for name, way in WAYS.items():
      call = jax.jit(way, static_argnames='num')
      index = jnp.asarray(index)
      call(index, values, num=num).block_until_ready()
      times = []
      for _ in range(_CALLS):
        start = time.perf_counter()
        call(index, values, num=num).block_until_ready()
        times.append(time.perf_counter() - start)
      common.emit(
          f'sums_{draw}_{name}',
          num,
          batch_size,
          float(np.median(times)) * 1e3,
      )


def compare_with_cpu(data: Any, work: Work) -> None:
  """Prints how far SGD on the device is from SGD on a CPU, in float32."""
  source, schema = data
  size = work.batch_sizes[0]
  batches = Batches(source, schema, size)
  plan = step_parts.make_plan(
      schema, size, micro_batches=1, optimizer='sgd'
  )
  hyper = step_parts.make_hyper(1)._replace(
      learning_rate=np.full(1, _RATE, np.float32)
  )
  hyper = jax.device_get(hyper)
  begin = step_parts.beginning(plan, schema, batches, 1)
  after = []
  with jax.default_matmul_precision('highest'):
    for device in (jax.devices()[0], jax.devices('cpu')[0]):
      layout = Layout(None, [device])
      feed = step_parts.OnDevice(plan, batches, layout, 0, work.parity_steps)
      state = layout.put_state(jax.tree.map(jnp.copy, begin))
      state = feed.advance(state, 0, work.parity_steps, hyper)
      after.append(jax.device_get((state.table, state.net)))
  largest = lambda a, b: max(
      float(np.abs(x - y).max())
      for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b))
  )
  difference = largest(*after)
  common.print_line({
      'name': 'parity',
      'rows': work.rows,
      'batch_size': size,
      'steps': work.parity_steps,
      'moved': largest(after[1], jax.device_get((begin.table, begin.net))),
      'largest_difference': difference,
      'as_on_cpu': difference <= _TOLERANCE,
  })


def time_step(
    kind: str, data: Any, work: Work, batch_size: int, replicas: int
) -> None:
  """Times a step with its feed; its line has the device's peak memory."""
  step_parts.measure(
      kind,
      data,
      work.rows,
      batch_size,
      step_parts.bare_product(batch_size),
      step_parts.Timing(replicas, work.windows, work.steps, 1),
  )


def print_memory() -> None:
  """Prints the most memory that was in use on the device, if it says that."""
  stats = jax.devices()[0].memory_stats() or {}
  common.print_line({
      'name': 'device_memory',
      'peak_bytes': stats.get('peak_bytes_in_use'),
      'limit_bytes': stats.get('bytes_limit'),
  })


def profile_step(data: Any, work: Work, batch_size: int) -> None:
  """Prints the kernels of a step, and how long the device waits for some."""
  source, schema = data
  batches = Batches(source, schema, batch_size)
  plan = step_parts.make_plan(schema, batch_size, micro_batches=1)
  layout = Layout(None, jax.devices()[:1])
  state = layout.put_state(step_parts.beginning(plan, schema, batches, 1))
  first, last = step_parts.WARM_UP, step_parts.WARM_UP + work.steps
  feed = Resident(plan, batches, layout, 0, last)
  hyper = step_parts.make_hyper(1)
  state = jax.block_until_ready(feed.advance(state, 0, first, hyper))
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      jax.block_until_ready(feed.advance(state, first, last, hyper))
    spans = device_spans(folder)
  feed.close()
  line = {
      'name': 'profile', 'rows': work.rows, 'batch_size': batch_size,
      'steps': work.steps, 'kernels_per_step': None, 'idle_share': None,
  }
  if spans:
    line['kernels_per_step'] = round(len(spans) / work.steps, 1)
    line['idle_share'] = round(idle_share(spans), 3)
  else:
    line['why'] = 'the profile has no plane of a device'
  common.print_line(line)


def device_spans(folder: str) -> list[tuple[float, float]]:
  """Reads from a profile when kernels ran: beginnings and ends, ns."""
  spans = []
  pattern = os.path.join(glob.escape(folder), '**', '*.xplane.pb')
  for path in glob.glob(pattern, recursive=True):
    for plane in jax.profiler.ProfileData.from_file(path).planes:
      if not plane.name.startswith('/device:'):
        continue
      for line in plane.lines:
        if 'Stream' in line.name:
          spans += [
              (e.start_ns, e.start_ns + e.duration_ns) for e in line.events
          ]
  return spans


def idle_share(spans: Iterable[tuple[float, float]]) -> float:
  """Returns the share of time, from first to last, in which nothing ran.

  Args:
    spans: Beginnings and ends, in any order; some may overlap.
  """
  spans = sorted(spans)
  begin, end = spans[0]
  first, idle = begin, 0.0
  for begin, after in spans:
    idle += max(0.0, begin - end)
    end = max(end, after)
  return idle / (end - first) if end > first else 0.0


def run_funnel(work: Work, data_dir: str | None) -> None:
  """Times a whole run, from its data to its metrics."""
  config = load.config(work.config)
  config.evals_per_epoch = 1
  start = time.perf_counter()
  with tempfile.TemporaryDirectory() as folder:
    workdir = os.path.join(folder, 'run')
    with contextlib.redirect_stdout(sys.stderr):  # Lines there are JSON.
      results = train_and_evaluate(config, workdir, data_dir)
  seconds = time.perf_counter() - start
  size = config.batch_size
  examples = results['steps'] * size
  common.emit(
      'funnel',
      examples,
      size,
      seconds * 1e3,
      examples=examples,
      train_seconds=results['train_seconds'],
      train_examples_per_second=round(results['examples_per_second']),
      auc=results['test/ctcvr/auc'],
  )


def tried(name: str, part: Callable[[], None]) -> bool:
  """Runs a part; returns False, with a line, where the device fails it.

  Args:
    name: Of the part.
    part: It may need more memory than there is, or a CPU that JAX cannot use.
  """
  try:
    part()
  except RuntimeError as e:
    why = str(e).partition('\n')[0]
    common.print_line({'name': 'failed', 'part': name, 'why': why})
    return False
  return True
