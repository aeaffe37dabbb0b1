"""Columns of new rows -> probabilities."""

from collections.abc import Mapping
import functools
import os
from typing import Any

from esmm_jax.data.batching.padding import slots_and_weights
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.data.tabular.encoder import Encoder, FOLDER
from esmm_jax.schema import Schema
from esmm_jax.serving import calibration, inputs
from esmm_jax.serving.restore import restore, Trained
from esmm_jax.tasks import spaces
from esmm_jax.training.predict import scores
from esmm_jax.training.settings import Settings
from esmm_jax.training.step import predict_step
from esmm_jax.types import Array, Batch, Columns, Groups, InputError
import jax
import numpy as np
import pyarrow as pa

# Rows of the smaller batches; a request is padded to the next size, so that
# nothing is compiled for each number of rows.
_SIZES = (1, 32, 1024)


class Predictor:
  """Scores rows with a trained model.

  Attributes:
    config: The run's config.
    schema: The fields that the model reads, and the tasks.
    results: What the run's results.json holds.
    folder: The run's; '' where the model is of no run.
    batch_size: Rows of the largest batch.
    names: The columns that `predict` reads.
  """

  def __init__(self, trained: Trained, batch_size: int | None = None):
    """Makes one; `load` is the usual way.

    Args:
      trained: Model and parameters.
      batch_size: Rows of the largest batch; default: `eval_batch_size`.
    """
    self.config, self.schema = trained.config, trained.schema
    self.results, self.folder = trained.results, trained.folder
    run = Settings.read(self.config).run
    self.batch_size = batch_size or run.eval_batch_size
    if self.batch_size < 1:
      raise InputError(f'batch_size is {batch_size}; it must be at least 1.')
    self.sizes = [s for s in _SIZES if s < self.batch_size] + [self.batch_size]
    self.trained = trained
    self._step = jax.jit(functools.partial(predict_step, plan=trained.plan))
    self._encoder = _encoder(self.folder, self.schema)
    own = self._encoder is not None
    self.names = (
        list(self._encoder.raw_names) if own else inputs.needed(self.schema)
    )

  def predict(
      self,
      columns: Mapping[str, Any],
      calibrated: str = 'none',
      joint: str = 'product',
      where: str = 'columns',
      first_row: int = 0,
  ) -> dict[str, np.ndarray]:
    """Probabilities of rows.

    Args:
      columns: Name -> array, list or pyarrow array [N], the columns `names`;
        others are not looked at; or a pyarrow table of them. Where the run has
        an encoder they are raw columns, as in its files, and values never seen
        in training are taken as there. Otherwise they are ids and numbers, as
        the data set has them (`inputs.encoded`).
      calibrated: `none`, or `platt` or `isotonic` after experiments.calibrate.
      joint: Calibrated only: `product` makes p_ctcvr of the calibrated p_ctr
        and p_cvr, `own` takes the calibration of p_ctcvr itself.
      where: What to call the columns in messages.
      first_row: Number of the first row, in messages.

    Returns:
      `p_ctr`, `p_cvr` (given the click, of every row), `p_ctcvr` and so on for
      other tasks, float32 [N]; `predicted_NAME` of a regression.

    Raises:
      InputError: A column is missing, a value is not possible, or the run is
        not calibrated.
    """
    outputs = self.outputs(self.encode(columns, where, first_row))
    return self.scores(outputs, calibrated, joint)

  def encode(
      self, columns: Mapping[str, Any], where: str, first_row: int = 0
  ) -> Columns:
    """Columns as `predict` takes them -> those of the schema."""
    if isinstance(columns, pa.Table):
      inputs.require(self.names, columns.column_names, where)
      columns = {name: columns[name] for name in self.names}
    if self._encoder is not None:
      inputs.require(self.names, columns, where)
      columns = self._encoder.encode(columns, where, first_row)
    return inputs.encoded(self.schema, columns, where, first_row)

  def outputs(
      self, columns: Columns, whole: bool = False
  ) -> dict[str, np.ndarray]:
    """Log-odds (values of a regression) of rows that are encoded.

    Args:
      columns: Field -> column, as a data set holds it; those of groups too.
      whole: Whether all batches are of `batch_size` rows, as those of a run
        are: the last bit may depend on the size.

    Returns:
      Output -> float32 [n]: `ctr`, `cvr`, `ctcvr`, say.
    """
    arrays, num = _arrays(self.schema, columns)
    params = self.trained.params
    made = []
    for start in range(0, num, self.batch_size):
      stop = min(start + self.batch_size, num)
      sizes = self.sizes[-1:] if whole else self.sizes
      size = next(s for s in sizes if s >= stop - start)
      batch = _batch([a[start:stop] for a in arrays], size)
      made.append(
          self._step(params['table'], params['net'], params['stats'], batch)[0]
      )
    names = dict.fromkeys(s.output for s in spaces(self.schema.tasks))
    return {
        name: np.concatenate(
            [np.zeros(0, np.float32), *(np.asarray(m[name])[0] for m in made)]
        )[:num]
        for name in names
    }

  def scores(
      self, outputs: Mapping[str, Array], calibrated: str, joint: str
  ) -> dict[str, np.ndarray]:
    """Outputs -> what `predict` returns."""
    if calibrated != 'none':
      found = calibration.read(self.folder, calibrated)
      outputs = calibration.apply(
          found, calibrated, joint, outputs, self.schema.tasks
      )
    return scores(outputs, self.schema.tasks)

  def split_outputs(
      self, builder: ColumnarBuilder, split: str
  ) -> dict[str, np.ndarray]:
    """Outputs of a split of the run's own data, in file order."""
    source = builder.as_data_source(split)
    step = 16 * self.batch_size
    pieces = [
        self.outputs(source.joined(low, low + step), whole=True)
        for low in range(0, len(source), step)
    ]
    return {k: np.concatenate([p[k] for p in pieces]) for k in pieces[0]}


def load(
    run: str, batch_size: int | None = None, data_dir: str | None = None
) -> Predictor:
  """The predictor of a finished run, with the parameters that it chose.

  Args:
    run: Its folder.
    batch_size: Rows of the largest batch; default: the run's eval_batch_size.
    data_dir: See `restore`.

  Raises:
    InputError: There is no finished run.
  """
  return Predictor(restore(run, data_dir), batch_size)


def _encoder(folder: str, schema: Schema) -> Any:
  """What makes ids of raw columns, or None where the run has none."""
  path = os.path.join(folder, FOLDER)
  if not folder or not os.path.isdir(path):
    return None
  return Encoder.load(path).select([f.name for f in schema.fields])


def _arrays(schema: Schema, columns: Columns) -> tuple[list[Array], int]:
  """Slots, weights and floats of rows, and slots and weights of groups."""
  num = len(columns[schema.fields[0].name])
  floats = np.empty((num, len(schema.float_fields)), np.float32)
  for j, f in enumerate(schema.float_fields):
    floats[:, j] = columns[f.name]
  arrays = [
      *slots_and_weights(schema, schema.row_part, columns, num), floats]
  if schema.group_part.num_slots:
    arrays += slots_and_weights(schema, schema.group_part, columns, num)
  return arrays, num


def _batch(arrays: list[Array], size: int) -> Batch:
  """A batch padded to `size` by its last row. Each row is its own group."""
  num = len(arrays[0])
  place = np.minimum(np.arange(size), num - 1)
  slots, weights, floats, *group = (a[place] for a in arrays)
  return Batch(
      rows=np.zeros(0, np.int32),
      slots=slots,
      weights=weights,
      floats=floats,
      labels={},
      where=(np.arange(size) < num).astype(np.float32),
      groups=Groups(*group, np.arange(size, dtype=np.int32)) if group else None,
  )
