"""Times the scoring of rows: a Predictor, and the exported program.

  python -m benchmarks.predict --rows=1,1000,100000

Prints one JSON object a line: calls one after the other, columns in and
probabilities out, with a table of 1e6 rows, through `esmm_jax.load`'s Predictor
and through its export. `ms` is the median, `ms_95` the 95th percentile,
`ms_first` the first call, which compiles; `cpu_seconds_per_million` is the
processor time of a million rows, all threads.
"""

from collections.abc import Callable
import os
import tempfile
import time
from typing import Any

from absl import flags
from configs import esmm
from esmm_jax.schema import Schema
from esmm_jax.serving import exporting, restore
from esmm_jax.serving.predictor import Predictor
from esmm_jax.training.settings import Settings
from esmm_jax.types import Batch, InputError
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import common
from experiments import cli

SECONDS = 2.0  # Of each measurement, if that is more than three calls.
TABLE_ROWS = 1_000_000

_ROWS = common.define_rows('1,1000,100000', 'Rows of a call.')
_BATCH_SIZE = common.define_batch_size()
flags.adopt_module_key_flags(common)


def main() -> None:
  source, schema = common.make_data(TABLE_ROWS)
  sizes = common.counts(_ROWS.value)
  if max(sizes) > len(source):
    raise InputError(
        f'--rows={max(sizes)}: a call may have at most {len(source):,} rows.'
    )
  for batch_size in common.counts(_BATCH_SIZE.value):
    measure(source, schema, sizes, batch_size)


def measure(
    source: common.MemorySource,
    schema: Schema,
    sizes: list[int],
    batch_size: int,
) -> None:
  """Times calls of several sizes and prints their lines.

  Args:
    source: Rows to score.
    schema: Their fields.
    sizes: Rows of a call.
    batch_size: Of the predictor.
  """
  predictor = make_predictor(schema, batch_size)
  names = [f.name for f in schema.fields]
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, 'exported')
    written = exporting.export(predictor, path)
    program, params = exporting.load(path)

  def exported(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return jax.device_get(program(params, columns))

  for rows in sizes:
    columns = source.read(0, rows, names)
    for name, call in (
        ('predict', predictor.predict),
        ('predict_exported', exported),
    ):
      first, times, cpu = time_calls(call, columns)
      common.emit(
          name,
          rows,
          batch_size,
          float(np.median(times)),
          examples=rows,
          ms_95=round(float(np.percentile(times, 95)), 3),
          ms_first=round(first, 1),
          calls=len(times),
          cpu_seconds_per_million=round(cpu / rows * 1e6, 3),
          program_bytes=written['model'],
          params_bytes=written['params'],
      )


def time_calls(
    call: Callable[..., Any], columns: dict[str, np.ndarray]
) -> tuple[float, list[float], float]:
  """Returns the milliseconds of the first call, and of those after it.

  Last comes the median processor time of those after it, in seconds.
  """
  times: list[float] = []
  processor: list[float] = []
  while len(times) < 4 or sum(times[1:]) < SECONDS * 1e3:
    start, cpu = time.perf_counter(), time.process_time()
    call(columns)
    processor.append(time.process_time() - cpu)
    times.append((time.perf_counter() - start) * 1e3)
  return times[0], times[1:], float(np.median(processor[1:]))


def make_predictor(schema: Schema, batch_size: int) -> Predictor:
  """Makes an ESMM with random parameters."""
  config = esmm.get_config()
  config.model.tower_units = common.TOWER_UNITS
  plan = restore.plan(Settings.read(config), schema)
  width = common.EMBED_DIM * plan.model.num_tables
  slots = jnp.zeros((1, schema.num_slots), jnp.int32)
  none = jnp.zeros((1, 0))
  one = Batch(jnp.zeros(0, jnp.int32), slots, none, none, {}, jnp.ones(1))
  table = jax.random.normal(jax.random.key(0), (schema.num_rows, 1, width))
  net = plan.model.init(jax.random.key(1), table[:1, 0], one)['params']
  params = {
      'table': 0.01 * table,
      'net': jax.tree.map(lambda x: x[None], net),
      'stats': {},
  }
  trained = restore.Trained(config, schema, plan, params)
  return Predictor(trained, batch_size)


if __name__ == '__main__':
  cli.run(main)
