"""Times the train step of ESMM on tables of several sizes.

  python -m benchmarks.step --rows=1e5,1e6,1e7 --batch_size=4096
  python -m benchmarks.step --rows=1e6 --lists=5 --list_len=20

Prints one JSON object a line, for each of --kinds: `lazy` updates the table
rows that a batch touches and `dense` all rows, both on batches that lie on the
device; `train` is the lazy step with its input pipeline, and `resident` the
same from a training set in device memory. `matrix_share` is the rate of
floating-point operations in the towers' matrix products, as a share of the rate
that the largest of these products reaches alone, measured in turn with the
step. `cpu_ms` is the processor time of a step, all threads, and `first_seconds`
the time of the first steps, with the compilation.
"""

from collections.abc import Callable
import time
from typing import Any

from absl import flags
from esmm_jax.data.batching.batches import Batches
from esmm_jax.parallel.layout import Layout
from esmm_jax.schema import Schema
from esmm_jax.training.feeding import Streamed
from esmm_jax.training.resident import Resident
from esmm_jax.training.state import init_state
from esmm_jax.training.state import TracedHyperparameters
from esmm_jax.training.state import TrainState
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import common
from benchmarks.step_parts import LOSS_WEIGHTS, make_plan, OnDevice, WARM_UP
from experiments import cli

FEEDS = {'train': Streamed, 'resident': Resident}
KINDS = ('lazy', 'dense', *FEEDS)

_ROWS = common.define_rows('1e5,1e6,1e7', 'Rows of the embedding table.')
_BATCH_SIZE = common.define_batch_size()
_REPLICAS = flags.DEFINE_integer('replicas', 1, 'Models trained at once.')
_LISTS = flags.DEFINE_integer(
    'lists', 0, 'Of the 23 fields so many are lists, at most 22.', 0, 22
)
_LIST_LEN = flags.DEFINE_integer('list_len', 20, 'Longest list.', 1)
_KINDS = flags.DEFINE_list(
    'kinds', ['lazy', 'train', 'dense'], f'Of {", ".join(KINDS)}.'
)
flags.register_validator(
    'kinds', set(KINDS).issuperset, f'must be of {", ".join(KINDS)}.'
)
_MICRO = flags.DEFINE_integer('micro_batches', 0, 'As the config key.')
_WINDOWS = flags.DEFINE_integer('windows', 5, 'Timed windows; median counts.')
_STEPS = flags.DEFINE_integer('steps', 40, 'Steps of a window.')
flags.adopt_module_key_flags(common)


def flops_per_example() -> int:
  """Counts the operations of the two towers' products, forward and backward."""
  widths = (common.NUM_FIELDS * common.EMBED_DIM, *common.TOWER_UNITS, 1)
  forward = 2 * 2 * sum(a * b for a, b in zip(widths, widths[1:]))
  return 3 * forward


def bare_product(batch: int) -> Callable[[], float]:
  """Returns a function that measures the step's largest product, in FLOP/s."""
  inner, outer = common.NUM_FIELDS * common.EMBED_DIM, 2 * common.TOWER_UNITS[0]
  x = jnp.ones((batch, inner))
  w = jnp.ones((inner, outer))
  product = jax.jit(jnp.matmul)
  product(x, w).block_until_ready()
  repeats = max(4, 80_000 // batch)

  def measure() -> float:
    start = time.perf_counter()
    for _ in range(repeats):
      product(x, w).block_until_ready()
    seconds = (time.perf_counter() - start) / repeats
    return 2 * batch * inner * outer / seconds

  return measure


def time_windows(
    feed: Any, state: TrainState, steps: int, product: Callable[[], float]
) -> tuple[TrainState, list[tuple[float, float, float]], float]:
  """Times windows of `steps` steps, and the bare product before each.

  Returns:
    The last state; milliseconds of a step, those of processor time and FLOP/s
    of the product, one value a window; seconds of the steps before them, with
    the compilation.
  """
  hyper = TracedHyperparameters(
      jnp.full(_REPLICAS.value, 1e-3),
      {k: jnp.full(_REPLICAS.value, w) for k, w in LOSS_WEIGHTS.items()},
  )
  begin = time.perf_counter()
  state = feed.advance(state, 0, WARM_UP, hyper)
  jax.block_until_ready(state)
  first_seconds = time.perf_counter() - begin
  windows = []
  for first in range(WARM_UP, WARM_UP + steps * _WINDOWS.value, steps):
    rate = product()
    start, cpu = time.perf_counter(), time.process_time()
    state = feed.advance(state, first, first + steps, hyper)
    jax.block_until_ready(state)
    cpu = (time.process_time() - cpu) / steps * 1e3
    windows.append(((time.perf_counter() - start) / steps * 1e3, cpu, rate))
  return state, windows, first_seconds


def measure(
    kind: str,
    data: tuple[common.MemorySource, Schema],
    rows: int,
    batch_size: int,
    product: Callable[[], float],
) -> None:
  """Times one kind of step and prints its line."""
  source, schema = data
  dense, num = kind == 'dense', _REPLICAS.value
  batches = Batches(source, schema, batch_size, compacted=not dense)
  plan = make_plan(
      schema, batch_size, dense, micro_batches=_MICRO.value
  )
  state = init_state(
      plan,
      schema.num_rows,
      common.EMBED_DIM,
      list(range(num)),
      batches(0),
      list(LOSS_WEIGHTS),
      0.01,
  )
  layout = Layout(None, jax.devices()[:1])
  state = layout.put_state(state)
  # A dense step on a large table takes a second.
  steps = max(2, _STEPS.value // (4 if dense else 1))
  total = steps * _WINDOWS.value + WARM_UP
  feed = FEEDS.get(kind, OnDevice)(plan, batches, layout, 0, total)
  state, windows, first = time_windows(feed, state, steps, product)
  times, cpu, products = zip(*windows)
  ms = float(np.median(times))
  flops = flops_per_example() * batch_size * num
  # Over the product of the same window: the machine's speed changes from one
  # minute to the next.
  ratios = [flops / t * 1e3 / p for t, p in zip(times, products)]
  common.emit(
      kind if kind in FEEDS else f'step_{kind}',
      rows,
      batch_size,
      ms,
      examples=batch_size * num,
      replicas=num,
      ms_min=round(min(times), 3),
      ms_max=round(max(times), 3),
      cpu_ms=round(float(np.median(cpu)), 3),
      first_seconds=round(first, 1),
      lists=_LISTS.value,
      traces=feed.traces,
      gflops=round(flops / ms / 1e6, 1),
      bare_product_gflops=round(float(np.median(products)) / 1e9, 1),
      matrix_share=round(float(np.median(ratios)), 3),
      table_bytes=int(state.table.nbytes),
      peak_rss_bytes=common.peak_rss(),
  )
  feed.close()


def main() -> None:
  for rows in common.counts(_ROWS.value):
    data = common.make_data(rows, _LISTS.value, _LIST_LEN.value)
    for batch_size in common.counts(_BATCH_SIZE.value):
      product = bare_product(batch_size)
      for kind in _KINDS.value:
        measure(kind, data, rows, batch_size, product)


if __name__ == '__main__':
  cli.run(main)
