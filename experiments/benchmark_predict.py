"""Latency of scoring rows: a Predictor, and the exported program."""

from collections.abc import Callable, Iterator, Sequence
import os
import tempfile
import time
from typing import Any

from configs import esmm
from esmm_jax.schema import Schema
from esmm_jax.serving import exporting, restore
from esmm_jax.serving.predictor import Predictor
from esmm_jax.types import Batch
import jax
import jax.numpy as jnp
import numpy as np

_SECONDS = 2.0  # Of each measurement, if that is more than three calls.


def measure(
    source: Any,
    schema: Schema,
    embed_dim: int,
    tower_units: Sequence[int],
    sizes: Sequence[int],
    batch_size: int,
) -> Iterator[dict[str, Any]]:
  """Times calls, one after the other, columns in and probabilities out.

  Args:
    source: Rows to score, as a data source.
    schema: Their fields.
    embed_dim: D.
    tower_units: Of both towers.
    sizes: Rows of a call.
    batch_size: Of the predictor.

  Returns:
    Arguments of `benchmark.emit`: the median in ms, and beside it the 95th
    percentile, the first call, which compiles, and bytes of the export.
  """
  predictor = _predictor(schema, embed_dim, tower_units, batch_size)
  names = [f.name for f in schema.fields]
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, 'exported')
    written = exporting.export(predictor, path)
    program, params = exporting.load(path)

    def exported(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
      return jax.device_get(program(params, columns))

    for rows in sizes:
      columns = source.read(0, rows, names)
      if len(columns[names[0]]) < rows:
        raise ValueError(f'there are no {rows} rows to score.')
      for name, call in (
          ('predict', predictor.predict),
          ('predict_exported', exported),
      ):
        first, times = _times(call, columns)
        yield dict(
            name=name,
            rows=rows,
            batch_size=batch_size,
            ms=float(np.median(times)),
            examples=rows,
            ms_95=round(float(np.percentile(times, 95)), 3),
            ms_first=round(first, 1),
            calls=len(times),
            program_bytes=written['model'],
            params_bytes=written['params'],
        )


def _times(
    call: Callable[..., Any], columns: dict[str, np.ndarray]
) -> tuple[float, list[float]]:
  """Milliseconds of the first call, and of those after it."""
  times: list[float] = []
  while len(times) < 4 or sum(times[1:]) < _SECONDS * 1e3:
    start = time.perf_counter()
    call(columns)
    times.append((time.perf_counter() - start) * 1e3)
  return times[0], times[1:]


def _predictor(
    schema: Schema,
    embed_dim: int,
    tower_units: Sequence[int],
    batch_size: int,
) -> Predictor:
  """An ESMM with random parameters."""
  config = esmm.get_config()
  config.model.tower_units = tuple(tower_units)
  from esmm_jax.training.settings import Settings

  plan = restore.plan(Settings.read(config), schema)
  width = embed_dim * plan.model.num_tables
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
