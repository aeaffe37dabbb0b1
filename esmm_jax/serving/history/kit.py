"""Raw rows -> the inputs of an exported model, with what was known of them.

The `encode.py` of a run with a history is this module's `load`. It needs numpy,
pyarrow and numba.

    sys.path.insert(0, 'exported')
    import encode
    rows = encode.load()
    features = rows.encode({'user': [7], 'item': [9], 'time': [1650000000]})
    rows.observe({...}, {'click': [1], 'conversion': [0]})
"""

from collections.abc import Mapping
import os
from typing import Any

from esmm_jax.data.files import frames
from esmm_jax.data.history.state import saved
from esmm_jax.data.history.state.store import Observed
from esmm_jax.data.tabular.encoder import Encoder, FOLDER
from esmm_jax.data.values.raw_values import Location
from esmm_jax.schema import Schema
from esmm_jax.serving import inputs
from esmm_jax.serving.history.state import History
from esmm_jax.serving.kit.rows import parts, Rows
from esmm_jax.types import Columns, InputError
import numpy as np


class RawRows(Rows):
  """Encodes raw rows as the run did, and looks their history up.

  Attributes:
    schema: See `Rows`.
    encoder: See there.
    names: The columns that `encode` reads, those of the history too.
    history: The history.
  """

  def __init__(self, schema: Schema, encoder: Encoder, history: History):
    """Takes the parts; `load` reads them."""
    super().__init__(schema, encoder)
    self.history, self._inputs = history, encoder.inputs
    self.names += [n for n in history.names if n not in encoder.raw_names]

  def _encoded(
      self, encoder: Encoder, rows: dict[str, Any], at: Location
  ) -> Columns:
    encoded = super()._encoded(encoder, rows, at)
    return encoded | self.history.encode(rows, at)

  def observe(
      self, columns: Any, labels: Mapping[str, Any]
  ) -> Observed:
    """Adds rows whose labels are known, as `Predictor.observe` does.

    Args:
      columns: See `encode`; with the columns of numbers whose means are asked
        for.
      labels: Label of the schema -> 0 or 1 of each row, [n]; of a regression
        numbers. A later event is 1 only where the one before is.

    Returns:
      How many rows were added, and left out: those of the log, and those that
      were observed before.

    Raises:
      InputError: A column or label is missing, or a value is not possible.
    """
    at, reading = Location('columns'), self.history.reading
    names = list(dict.fromkeys([*self.names, *reading.numbers]))
    read = frames.read(columns, names, at.where, inputs.READS)
    joint = _joint(labels, self.history, read.num_rows)
    is_kept = np.ones(read.num_rows, bool)
    return self.history.observe(
        read.columns, at, joint, is_kept, self._inputs
    )


def load(folder: str) -> RawRows:
  """Reads the encoder and the history of an export.

  Args:
    folder: Of the export. The files of the history are checked; check all with
      `description.json`.

  Raises:
    InputError: It has none, or a file was changed.
  """
  schema, encoder, about = parts(folder)
  held = saved.load(os.path.join(folder, FOLDER)) if encoder else None
  if encoder is None or held is None:
    raise InputError(f'{folder} is no export of a run with a history.')
  history = History(held)
  history.as_of = about['as_of']
  return RawRows(schema, encoder, history)


def _joint(
    labels: Mapping[str, Any], history: History, num: int
) -> dict[str, np.ndarray]:
  """Returns labels as arrays [num], checked."""
  arrays: dict[str, np.ndarray] = {}
  tasks = history.reading.tasks
  for task in tasks:
    if task.label not in labels:
      raise InputError(f'labels: {task.label!r} is missing.')
    values = np.asarray(labels[task.label])
    if values.shape != (num,):
      raise InputError(
          f'labels: {task.label!r} has the shape {values.shape}, and there are'
          f' {num} rows.'
      )
    if task.kind == 'binary' and not np.isin(values, (0, 1)).all():
      raise InputError(f'labels: {task.label!r} must be 0 or 1.')
    arrays[task.label] = values.astype(
        np.int8 if task.kind == 'binary' else np.float32
    )
  of_name = {task.name: task.label for task in tasks}
  for task in tasks:
    before = arrays[of_name[task.parent]] if task.parent else 1
    if ((arrays[task.label] != 0) & (before == 0)).any():
      raise InputError(
          f'labels: {task.label!r} is not 0 in a row where'
          f' {of_name[task.parent]!r} is 0.'
      )
  return arrays
