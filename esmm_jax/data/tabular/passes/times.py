"""The pass over the times alone, for a split by time or a history."""

from typing import Any, NamedTuple

from esmm_jax.data.tabular.passes.parts import evenly, Part
from esmm_jax.data.tabular.rows import Log
from esmm_jax.data.tabular.time_ends import Column, Shape, Shapes
from esmm_jax.data.values.raw_values import Times
from esmm_jax.engines.engine import Engine, Tell
from esmm_jax.types import InputError
import numpy as np


class _Read(NamedTuple):
  """The times of a part.

  Attributes:
    values: [n].
    shapes: Of each chunk.
    error: Of the chunk behind them, if it has one.
  """

  values: np.ndarray
  shapes: list[Shape]
  error: InputError | None


def _read(shared: tuple[Log, str], part: Part, tell: Tell) -> _Read:
  """Reads the times of a part."""
  del tell  # The bar is of the passes over all columns.
  log, name = shared
  values, shapes, error = [np.zeros(0, np.int64)], [], None
  try:
    for chunk in log.chunks(part.spans, names=[name]):
      piece = chunk.times(name)
      shapes.append(Shape.of(chunk.location, piece))
      values.append(piece.values)
  except InputError as e:
    error = e
  return _Read(np.concatenate(values), shapes, error)


def all_times(engine: Engine, log: Log, name: str, folder: str) -> Column:
  """Reads the times of all rows.

  Args:
    engine: Reads the parts.
    log: The log.
    name: Of the column.
    folder: For files of the engine.

  Raises:
    InputError: A value is no time, or rows differ in the form of time.
  """

  def read(parts: list[Part]) -> Column:
    results = engine.map(_read, (log, name), parts, folder, lambda rows: None)
    return _column(name, results)

  _, column = evenly(log, engine.workers, read)
  return column


def _column(name: str, results: Any) -> Column:
  """Joins the times of all parts."""
  shapes, pieces, kinds, zones = Shapes(name), [], [], set()
  for part in results:
    for shape in part.shapes:
      shapes.add(shape)
      kinds.append(shape.kind)
      zones.add(shape.zone)
    if part.error is not None:
      raise part.error
    pieces.append(part.values)
  if not kinds:
    return Column(name, Times(np.zeros(0), 'number'), '')
  values = np.concatenate(pieces)
  del pieces
  values.sort()  # In place: a log's times are large.
  zone = zones.pop() if len(zones) == 1 else ''
  return Column(name, Times(values, kinds[0], zone), shapes.form())
