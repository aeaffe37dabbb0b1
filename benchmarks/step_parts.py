"""The step that benchmarks time, its batches, and how it is timed."""

from collections.abc import Callable
import functools
import itertools
import time
from typing import Any, NamedTuple

from esmm_jax.data.batching.batches import Batches
from esmm_jax.estimators import ESTIMATORS, funnel
from esmm_jax.estimators.contract import bind, Bound
from esmm_jax.models import MODELS
from esmm_jax.optim import lazy
from esmm_jax.optim import network as optim
from esmm_jax.parallel.layout import Layout, MeshOptions
from esmm_jax.schema import Schema
from esmm_jax.tasks import FUNNEL
from esmm_jax.training.feeding import Streamed
from esmm_jax.training.feeds.traffic import of_step
from esmm_jax.training.resident import Resident
from esmm_jax.training.state import init_state, MICRO_BATCH, StepSpec
from esmm_jax.training.state import TracedHyperparameters, TrainState
from esmm_jax.training.step import train_step
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import common

# Steps that are not timed.
WARM_UP = 3
# ESMM's.
ENTIRE_SPACE = bind('entire_space', ESTIMATORS['entire_space'], {}, FUNNEL)
FEEDS = {'train': Streamed, 'resident': Resident}
KINDS = ('lazy', 'dense', *FEEDS)


class Timing(NamedTuple):
  """The steps that are timed.

  Attributes:
    replicas: Models trained at once.
    windows: Timed windows; their median counts.
    steps: Steps of a window.
    micro_batches: As the config key.
    mesh: Devices along each axis.
  """

  replicas: int
  windows: int
  steps: int
  micro_batches: int = 0
  mesh: MeshOptions = MeshOptions(1, 1, 1)


def make_hyper(
    num: int, estimator: Bound = ENTIRE_SPACE
) -> TracedHyperparameters:
  """Makes the rates, loss weights and options of `num` models."""
  filled = lambda values: {k: jnp.full(num, v) for k, v in values.items()}
  return TracedHyperparameters(
      jnp.full(num, 1e-3),
      filled(estimator.weights),
      options=filled(estimator.traced),
  )


def beginning(
    plan: StepSpec,
    schema: Schema,
    batches: Batches,
    num: int,
    layout: Layout | None = None,
    estimator: Bound = ENTIRE_SPACE,
) -> TrainState:
  """Makes the state of `num` models before the first step."""
  return init_state(
      plan,
      schema.num_rows,
      common.EMBED_DIM,
      list(range(num)),
      batches(0),
      list(estimator.weights),
      0.01,
      layout,
  )


def make_plan(
    schema: Schema,
    batch_size: int,
    dense: bool = False,
    model: str = 'shared_embedding',
    micro_batches: int = 0,
    optimizer: str = 'adam',
    estimator: Bound = ENTIRE_SPACE,
) -> StepSpec:
  """Builds the step of ESMM, on touched rows or on all.

  Args:
    schema: The fields.
    batch_size: Examples of a batch.
    dense: Updates all rows of the table.
    model: Of the architecture.
    micro_batches: As the config key.
    optimizer: Of network and table.
    estimator: The objective.
  """
  tx = optim.optimizer(optim.OptimizerOptions(optimizer))
  on_cpu = jax.default_backend() == 'cpu'
  parts = max(1, batch_size // MICRO_BATCH) if on_cpu else 1
  heads = estimator.needs.heads
  return StepSpec(
      model=MODELS[model](schema, common.TOWER_UNITS, heads=heads),
      terms=estimator.terms,
      outputs=functools.partial(
          funnel.outputs,
          tasks=schema.tasks,
          output_interpretation=estimator.output_interpretation,
      ),
      row_tx=(lazy.densely if dense else lazy.lazily)(tx),
      net_tx=tx,
      schedule=lambda step: 1.0,
      micro_batches=micro_batches or parts,
      dense=dense,
      rescale=estimator.rescale,
      sees_step=estimator.sees_step,
      needs_uniform=estimator.needs_uniform,
      map_replicas_sequentially=on_cpu,
  )


class OnDevice:
  """A feed whose batches are on the device before the first step.

  After the last one it begins anew.
  """

  def __init__(self, plan, batches, layout, start: int, total: int):
    self._plan, self._layout, self._step = plan, layout, None
    self._touched = batches.capacity
    # A list, so that the pipeline has ended when the first step begins.
    self._batches = itertools.cycle(
        [layout.put_batch(b) for b in batches.iterate(start, total)]
    )

  @property
  def traces(self) -> int:
    return self._step._cache_size()

  def advance(self, state, start: int, stop: int, hyper):
    """Takes the steps [start, stop)."""
    if self._step is None:
      several = self._layout.num_devices > 1
      self._step = jax.jit(
          functools.partial(train_step, plan=self._plan),
          donate_argnums=0,
          out_shardings=self._layout.shardings(state) if several else None,
      )
    with self._layout.active():
      for _ in range(start, stop):
        state = self._step(state, next(self._batches), hyper)
    return state

  def exchanged(self, state):
    """Returns what a step exchanges between devices."""
    touched = state.table.shape[0] if self._plan.dense else self._touched
    return of_step(state, self._layout, self._plan.model.schema, touched)

  def close(self) -> None:
    pass


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
    feed: Any,
    state: TrainState,
    hyper: TracedHyperparameters,
    steps: int,
    product: Callable[[], float],
    timing: Timing,
) -> tuple[TrainState, list[tuple[float, float, float]], float]:
  """Times windows of `steps` steps, and the bare product before each.

  Returns:
    The last state; milliseconds of a step, those of processor time and FLOP/s
    of the product, one value a window; seconds of the steps before them, with
    the compilation.
  """
  begin = time.perf_counter()
  state = feed.advance(state, 0, WARM_UP, hyper)
  jax.block_until_ready(state)
  first_seconds = time.perf_counter() - begin
  windows = []
  for first in range(WARM_UP, WARM_UP + steps * timing.windows, steps):
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
    timing: Timing,
    **more: Any,
) -> None:
  """Times one kind of step and prints its line.

  Args:
    kind: One of `KINDS`.
    data: As `common.make_data` makes it.
    rows: For the line.
    batch_size: Examples of a batch.
    product: See `bare_product`.
    timing: How often, and of how many models.
    **more: Further keys of the line.
  """
  source, schema = data
  dense, num = kind == 'dense', timing.replicas
  batches = Batches(source, schema, batch_size, compacted=not dense)
  mesh = timing.mesh
  devices = jax.devices()[: mesh.replicas * mesh.data * mesh.rows]
  layout = Layout(mesh, devices)
  # As `training.program` has it with several devices.
  parts = timing.micro_batches if len(devices) == 1 else 1
  plan = make_plan(schema, batch_size, dense, micro_batches=parts)
  plan = plan._replace(map_replicas_sequentially=(
      plan.map_replicas_sequentially and mesh.replicas == 1
  ))
  state = layout.placed(beginning(plan, schema, batches, num, layout))
  # A dense step on a large table takes a second.
  steps = max(2, timing.steps // (4 if dense else 1))
  total = steps * timing.windows + WARM_UP
  feed = FEEDS.get(kind, OnDevice)(plan, batches, layout, 0, total)
  hyper = make_hyper(timing.replicas)
  if len(devices) > 1:
    hyper = layout.put_state(hyper)
  state, windows, first = time_windows(
      feed, state, hyper, steps, product, timing
  )
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
      traces=feed.traces,
      gflops=round(flops / ms / 1e6, 1),
      bare_product_gflops=round(float(np.median(products)) / 1e9, 1),
      matrix_share=round(float(np.median(ratios)), 3),
      devices=len(devices),
      bytes_exchanged=feed.exchanged(state).total,
      table_bytes=int(state.table.nbytes),
      peak_rss_bytes=common.peak_rss(),
      **more,
  )
  feed.close()
