"""Measures speed and memory; one JSON object a line.

  python -m experiments.benchmark step [--rows=1e5,1e6,1e7] [--batch_size=4096]
  python -m experiments.benchmark data
  python -m experiments.benchmark auc [--rows=43000000]
  python -m experiments.benchmark ali_ccp [--rows=4e6]
  python -m experiments.benchmark memory [--rows=1e6,1e7] \
    [--table_optimizer=adam,adam_bfloat16,rowwise_adagrad]
  python -m experiments.benchmark predict [--rows=1,1000,100000]

step: the train step of ESMM (23 fields, dimension 18, towers 360-200-80, Adam)
on tables of several sizes, touched rows only and dense; `train`, the same with
its input pipeline; and `resident`, the same from a training set in device
memory (`--kinds`). `matrix_share` is the floating-point operations of the
towers' products over the time, as a share of what the largest product alone
reaches, measured in turn with the step. data: reading the default funnel,
shuffled. auc: the exact AUC of that many scores. ali_ccp: preparing that many
skeleton rows of random raw files, comparing what was prepared with what was
written, and making batches of it; takes scratch space in --data_dir. memory:
peaks of a table and its optimizer: made, copied, stepped and saved. predict:
the same model with a table of 1e6 rows scores that many rows a call, as
`esmm_jax.load` gives it and exported.
"""

import functools
import json
import resource
import time
from typing import Any

from absl import flags

from experiments import cli

NUM_FIELDS = 23
EMBED_DIM = 18
TOWER_UNITS = (360, 200, 80)
# Shares of the vocabulary that the fields have: three large, many small.
SHARES = (0.55, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01) + (0.04 / 16,) * 16
EXAMPLES = 1_000_000

_ROWS = flags.DEFINE_list(
    'rows',
    None,
    'Rows of the table (step), scores (auc), or rows (ali_ccp, predict).',
)
_BATCH_SIZE = flags.DEFINE_list('batch_size', ['4096'], 'Examples of a step.')
_REPLICAS = flags.DEFINE_integer('replicas', 1, 'Replicas trained at once.')
_KINDS = flags.DEFINE_list('kinds', ['lazy', 'train', 'dense'], 'For step.')
_TABLE_OPTIMIZER = flags.DEFINE_list(
    'table_optimizer', ['adam', 'rowwise_adagrad'], 'For memory.'
)
_PROCESSES = flags.DEFINE_integer(
    'processes', 1, 'For memory: processes that share the rows of the table.'
)
_MICRO = flags.DEFINE_integer('micro_batches', 0, 'As the config key.')
_WINDOWS = flags.DEFINE_integer('windows', 5, 'Timed windows; median counts.')
_STEPS = flags.DEFINE_integer('steps', 40, 'Steps of a window.')
flags.DEFINE_bool(
    'keep_scratch', True, 'Whether freed memory is kept for the next step.'
)
cli.define_data_dir()
flags.adopt_module_key_flags(cli)


class MemorySource:
  """Columns in memory, read as a data set is."""

  def __init__(self, columns: dict[str, Any]):
    self._columns = columns

  def __len__(self) -> int:
    return len(self._columns['click'])

  def read(self, start, stop, names):
    return {n: self._columns[n][start:stop] for n in names}


class Held:
  """A feed whose batches are on the device before the first step."""

  def __init__(self, plan, batches, layout, start: int, total: int):
    from esmm_jax.training.step import train_step
    import jax

    self._step = jax.jit(
        functools.partial(train_step, plan=plan), donate_argnums=0
    )
    held = [layout.put_batch(b) for b in batches.iterate(start, total)]
    self._held = iter(held)

  @property
  def traces(self) -> int:
    return self._step._cache_size()

  def advance(self, state, start: int, stop: int, hyper):
    for _ in range(start, stop):
      state = self._step(state, next(self._held), hyper)
    return state

  def close(self) -> None:
    pass


def emit(name: str, rows: int, batch_size: int, ms: float, **more) -> None:
  examples = more.pop('examples', batch_size)
  line = {
      'name': name,
      'rows': rows,
      'batch_size': batch_size,
      'replicas': _REPLICAS.value,
      'ms': round(ms, 3),
      'examples_per_second': round(examples / ms * 1e3),
      **more,
  }
  print(json.dumps(line), flush=True)


def peak_rss() -> int:
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def make_data(num_rows: int):
  """1M examples with Zipf ids over `num_rows` rows, and their schema."""
  from esmm_jax.schema import Field, Schema
  import numpy as np

  rng = np.random.default_rng(0)
  sizes = np.maximum((np.asarray(SHARES) / sum(SHARES) * num_rows), 10)
  sizes = sizes.astype(int)
  columns = {}
  for k, size in enumerate(sizes):
    ids = size ** rng.random(EXAMPLES)
    columns[f'field_{k}'] = np.minimum(ids, size - 1).astype(np.int32)
  click = rng.random(EXAMPLES) < 0.04
  columns['click'] = click.astype(np.int8)
  columns['conversion'] = (click & (rng.random(EXAMPLES) < 0.1)).astype(np.int8)
  fields = [
      Field(f'field_{k}', vocab_size=int(s)) for k, s in enumerate(sizes)
  ]
  return MemorySource(columns), Schema(tuple(fields))


def flops_per_example() -> int:
  """Of the two towers' products, forward and backward."""
  widths = (NUM_FIELDS * EMBED_DIM, *TOWER_UNITS, 1)
  forward = 2 * 2 * sum(a * b for a, b in zip(widths, widths[1:]))
  return 3 * forward


def bare_product(batch: int):
  """A function that gives the FLOP/s of the step's largest product alone."""
  import jax
  import jax.numpy as jnp

  inner, outer = NUM_FIELDS * EMBED_DIM, 2 * TOWER_UNITS[0]
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


def step() -> None:
  """Times the train step."""
  from esmm_jax.optim import lazy, network
  from esmm_jax.data.batching.batches import Batches
  from esmm_jax.estimators import ESTIMATORS, funnel
  from esmm_jax.training.feeding import Resident, Streamed
  from esmm_jax.models import MODELS
  from esmm_jax.parallel.layout import Layout
  from esmm_jax.training.state import Hyper, init_state, MICRO_BATCH, Plan
  import jax
  import jax.numpy as jnp
  import numpy as np

  feeds = {'train': Streamed, 'resident': Resident}
  num = _REPLICAS.value
  weights = {'ctr': 1.0, 'ctcvr': 1.0, 'cvr_clicked': 0.0}
  hyper = Hyper(
      jnp.full(num, 1e-3), {k: jnp.full(num, w) for k, w in weights.items()}
  )
  for rows in map(int, map(float, _ROWS.value or ['1e5', '1e6', '1e7'])):
    source, schema = make_data(rows)
    model = MODELS['shared_embedding'](schema, TOWER_UNITS)
    for batch_size in map(int, _BATCH_SIZE.value):
      product = bare_product(batch_size)
      for kind in _KINDS.value:
        dense = kind == 'dense'
        batches = Batches(source, schema, batch_size, compacted=not dense)
        tx = network.optimizer(network.OptimizerOptions('adam'))
        row_tx = (lazy.densely if dense else lazy.lazily)(tx)
        micro = _MICRO.value or max(1, batch_size // MICRO_BATCH)
        plan = Plan(
            model=model,
            terms=ESTIMATORS['entire_space'].terms,
            outputs=functools.partial(funnel.outputs, tasks=schema.tasks),
            row_tx=row_tx,
            net_tx=tx,
            schedule=lambda step: 1.0,
            micro_batches=micro,
            dense=dense,
            one_by_one=jax.default_backend() == 'cpu',
        )
        state = init_state(
            plan,
            schema.num_rows,
            EMBED_DIM,
            list(range(num)),
            batches(0),
            list(weights),
            0.01,
        )
        steps = max(2, _STEPS.value // (4 if dense else 1))
        total = steps * _WINDOWS.value + 3
        layout = Layout(None, jax.devices()[:1])
        state = layout.put_state(state)
        feed = feeds.get(kind, Held)(plan, batches, layout, 0, total)
        state = feed.advance(state, 0, 3, hyper)
        jax.block_until_ready(state)
        times, products = [], []
        for k in range(_WINDOWS.value):
          products.append(product())
          start = time.perf_counter()
          first = 3 + k * steps
          state = feed.advance(state, first, first + steps, hyper)
          jax.block_until_ready(state)
          times.append((time.perf_counter() - start) / steps * 1e3)
        ms = float(np.median(times))
        # FLOP/s of the step over that of products in the same window: the
        # machine's speed changes from one minute to the next.
        flops = flops_per_example() * batch_size * num
        ratios = [flops / t * 1e3 / p for t, p in zip(times, products)]
        emit(
            kind if kind in feeds else f'step_{kind}',
            rows,
            batch_size,
            ms,
            examples=batch_size * num,
            ms_min=round(min(times), 3),
            ms_max=round(max(times), 3),
            traces=feed.traces,
            gflops=round(flops / ms / 1e6, 1),
            bare_product_gflops=round(float(np.median(products)) / 1e9, 1),
            matrix_share=round(float(np.median(ratios)), 3),
            table_bytes=int(state.table.nbytes),
            peak_rss_bytes=peak_rss(),
        )
        feed.close()
        del state, feed


def data() -> None:
  """Times reading the default funnel, shuffled, on one thread."""
  from esmm_jax.training import parts
  from esmm_jax.data.batching.batches import Batches

  builder = parts.dataset(
      {'name': 'synthetic_funnel', 'preset': 'default'}, flags.FLAGS.data_dir
  )
  source = builder.as_data_source('train')
  batch_size = int(_BATCH_SIZE.value[0])
  for name, compacted in (('data_read', False), ('data_compacted', True)):
    batches = Batches(source, builder.schema, batch_size, compacted=compacted)
    batches(0)
    start, cpu = time.perf_counter(), time.process_time()
    for batch in batches.iterate(0, len(batches)):
      del batch
    seconds = time.perf_counter() - start
    emit(
        name,
        len(source),
        batch_size,
        seconds / len(batches) * 1e3,
        examples=len(source) / len(batches),
        columns=len(builder.schema.fields) + len(builder.schema.labels),
        cpu_seconds=round(time.process_time() - cpu, 2),
    )


def auc() -> None:
  """Times the exact AUC."""
  from esmm_jax.metrics.ranking import auc as exact_auc
  import numpy as np

  for rows in map(int, map(float, _ROWS.value or ['1e6', '43e6'])):
    rng = np.random.default_rng(0)
    labels = (rng.random(rows, dtype=np.float32) < 0.04).astype(np.int8)
    scores = rng.standard_normal(rows, dtype=np.float32) + labels
    start = time.perf_counter()
    value = exact_auc(scores, labels)
    seconds = time.perf_counter() - start
    emit(
        'auc', rows, rows, seconds * 1e3, auc=value, peak_rss_bytes=peak_rss()
    )


def ali_ccp() -> None:
  """Times the way from Ali-CCP's raw files to batches."""
  from experiments import benchmark_ali_ccp

  batch_size = int(_BATCH_SIZE.value[0])
  for rows in map(int, map(float, _ROWS.value or ['4e6'])):
    for line in benchmark_ali_ccp.measure(
        rows, batch_size, flags.FLAGS.data_dir
    ):
      emit(**line)


def memory() -> None:
  """Measures what large tables take."""
  from experiments import benchmark_memory

  for rows in map(int, map(float, _ROWS.value or ['1e6', '1e7'])):
    for name in _TABLE_OPTIMIZER.value:
      for line in benchmark_memory.measure(
          rows, name, flags.FLAGS.data_dir, _PROCESSES.value
      ):
        print(json.dumps(line), flush=True)


def predict() -> None:
  """Times scoring."""
  from experiments import benchmark_predict

  source, schema = make_data(1_000_000)
  sizes = [int(float(r)) for r in _ROWS.value or ['1', '1000', '100000']]
  for batch_size in map(int, _BATCH_SIZE.value):
    for line in benchmark_predict.measure(
        source, schema, EMBED_DIM, TOWER_UNITS, sizes, batch_size
    ):
      emit(**line)


def main(argv: list[str]) -> None:
  programs = {
      'step': step,
      'data': data,
      'auc': auc,
      'ali_ccp': ali_ccp,
      'memory': memory,
      'predict': predict,
  }
  if len(argv) != 2 or argv[1] not in programs:
    raise cli.UsageError(
        f'name one of {", ".join(programs)}: python -m experiments.benchmark'
        ' step'
    )
  programs[argv[1]]()


if __name__ == '__main__':
  cli.run(main, positional=True)
