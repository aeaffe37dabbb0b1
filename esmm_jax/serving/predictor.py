"""Scores rows with a trained model."""

from collections.abc import Iterator, Mapping
import functools
import os
from typing import Any

from esmm_jax import paths
from esmm_jax.data.files import frames
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.data.tabular import encoder_hashes
from esmm_jax.data.tabular.encoder import Encoder, FOLDER
from esmm_jax.data.tabular.unseen import Counts, Share
from esmm_jax.data.values.raw_values import Location
from esmm_jax.schema import Schema
from esmm_jax.serving import inputs, model_inputs
from esmm_jax.serving.evaluation import Evaluates, PIECE
from esmm_jax.serving.history.remembers import Remembers
from esmm_jax.serving.restore import restore, Trained
from esmm_jax.tasks import spaces
from esmm_jax.training.predict import scores
from esmm_jax.training.prediction import predict_step
from esmm_jax.training.settings import Settings
from esmm_jax.types import Array, Batch, Columns, InputError
from esmm_jax.workdir import manifest
from esmm_jax.workdir.identity import Stamp
import jax
import numpy as np

# Rows of smaller batches; requests are padded to these, so few are compiled.
_SIZES = (1, 32, 1024)


class Predictor(Evaluates, Remembers):
  """Scores rows with a trained model.

      >>> import esmm_jax
      >>> predictor = esmm_jax.load('runs/esmm')
      >>> columns = {name: [0, 1] for name in predictor.names}
      >>> columns['history'] = [[3, 4], []]
      >>> columns['history.weight'] = [[1.0, 0.5], []]
      >>> scores = predictor.predict(columns)
      >>> list(scores), scores['p_ctr'].shape
      (['p_ctr', 'p_cvr', 'p_ctcvr'], (2,))

  Attributes:
    config: The run's config.
    schema: The fields that the model reads, and the tasks.
    results: The content of the run's results.json.
    folder: The run's folder; '' if the model is not of a run.
    batch_size: Rows of the largest batch.
    sizes: Rows of the batches that are compiled, ascending.
    names: The columns that `predict` reads.
    unseen_in_log: Field -> shares of missing and unseen values in the log that
      was trained on; {} where they are not known.
    trained: Model and parameters; `members`: those that are averaged, one here.
  """

  def __init__(self, trained: Trained, batch_size: int | None = None):
    """Prepares a model for scoring; `load` is the usual way.

    Args:
      trained: Model and parameters.
      batch_size: Rows of the largest batch; default: `eval_batch_size`.

    Raises:
      InputError: `batch_size` is less than 1.
    """
    self.config, self.schema = trained.config, trained.schema
    self.results, self.folder = trained.results, trained.folder
    run = Settings.read(self.config).run
    self.batch_size = batch_size or run.eval_batch_size
    if self.batch_size < 1:
      raise InputError(f'batch_size is {batch_size}; it must be at least 1.')
    self.sizes = [s for s in _SIZES if s < self.batch_size] + [self.batch_size]
    self.trained, self.members = trained, (trained,)
    self._step = jax.jit(functools.partial(predict_step, plan=trained.plan))
    self._encoder = _encoder(self.folder, self.schema)
    self.unseen_in_log: dict[str, Share] = {}
    self.names = inputs.needed(self.schema)
    if self._encoder is not None:
      self.names = list(self._encoder.raw_names)
      encoder = os.path.join(self.folder, FOLDER)
      self.unseen_in_log = Counts.load(encoder).shares()
      self._read_history(encoder)

  @functools.cached_property
  def stamp(self) -> Stamp:
    """The run and its parameters, for what is made with them."""
    return self.trained.stamp or Stamp.of('', 0, self.trained.params)

  @property
  def num_compiled(self) -> int:
    """The number of batch sizes that have been compiled."""
    return self._step._cache_size()  # type: ignore[attr-defined] # No stub.

  def predict(
      self,
      columns: Any,
      calibrated: str = 'none',
      joint: str = 'product',
      where: str = 'columns',
      first_row: int = 0,
  ) -> dict[str, np.ndarray]:
    """Predicts probabilities of rows.

    Args:
      columns: N rows with the columns `names`; others are ignored. A pandas or
        polars DataFrame, a pyarrow Table, RecordBatch, reader or Dataset, a
        dict of lists or arrays, a list of dicts, or what else `frames` has. If
        the run has an encoder they are raw columns, as in its files, and
        values never seen in training are encoded as there. Otherwise they are
        ids and numbers, as the data set has them (`inputs.encoded`).
      calibrated: `none`, or `platt` or `isotonic` after experiments.calibrate.
      joint: Calibrated only: `product` multiplies the calibrated p_ctr and
        p_cvr to p_ctcvr, `own` calibrates p_ctcvr itself.
      where: Name of the columns in messages.
      first_row: Number of the first row, in messages.

    Returns:
      `p_ctr`, `p_cvr` (given the click, of every row), `p_ctcvr` and so on for
      other tasks, float32 [N]; `predicted_NAME` of a regression.

    Raises:
      InputError: A column is missing, a value is not possible, or the run is
        not calibrated.
    """
    pieces = [
        self.outputs(self.encode(piece, where, first_row + first))
        for first, piece in self._pieces(columns, where)
    ]
    outputs = {k: np.concatenate([p[k] for p in pieces]) for k in pieces[0]}
    return self.scores(outputs, calibrated, joint)

  def unseen(self, columns: Any) -> dict[str, Share]:
    """Returns the shares of missing and of unseen values of each field.

    A share near 1 is the sign of a wrong column, or of one of another type.

    Args:
      columns: See `predict`.

    Returns:
      Field -> share of the rows that lack it, and of its values that were rare
      in training or never came there.
    """
    counts = Counts()
    for first, piece in self._pieces(columns, 'columns'):
      self.encode(piece, 'columns', first, counts)
    return counts.shares()

  def _pieces(
      self, columns: Any, where: str
  ) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yields the first row and the columns of pieces; of a stream several."""
    if isinstance(columns, Mapping):
      yield 0, columns
      return
    pieces = frames.pieces(
        columns, self.names, self.piece_rows, where, inputs.READS
    )
    for first, piece in pieces:
      yield first, piece.columns

  def encode(
      self,
      columns: Any,
      where: str,
      first_row: int = 0,
      counts: Counts | None = None,
      location: Location | None = None,
  ) -> Columns:
    """Encodes columns as `predict` takes them into those of the schema.

    Args:
      columns: See `predict`.
      where: See there.
      first_row: See there.
      counts: Gets the missing and unseen values of each field.
      location: Of the rows, for messages, if they are of a CSV file.

    Returns:
      Field -> column, as `outputs` takes them.

    Raises:
      InputError: A column is missing or a value is not possible.
    """
    at = location or Location(where, first_row)
    form: dict[str, Any] = {'noun': at.noun, 'dialect': at.dialect}
    if self._encoder is None:
      encoded = inputs.encoded(self.schema, columns, where, first_row, **form)
      if counts is not None:
        counts.add_columns(self.schema, encoded)
      return encoded
    rows = frames.read(columns, self.names, where, inputs.READS)
    encoded = self._encoder.encode(
        rows.columns, where, first_row, counts=counts, **form
    )
    if self.history is not None:
      encoded |= self.history.encode(rows.columns, at)
    return inputs.encoded(self.schema, encoded, where, first_row)

  def outputs(
      self,
      columns: Columns,
      whole: bool = False,
      uses: list[Any] | None = None,
  ) -> dict[str, np.ndarray]:
    """Predicts log-odds (values of a regression) of encoded rows.

    Args:
      columns: Field -> column, as a data set holds it; those of groups too.
      whole: All batches have `batch_size` rows, as a run's: the same bits.
      uses: Gets the use of the gates in each batch.

    Returns:
      Output -> float32 [n]: `ctr`, `cvr`, `ctcvr`, say.
    """
    features = model_inputs.features(self.schema, columns)
    num = len(next(iter(features.values())))
    batches = []
    for start in range(0, num, self.batch_size):
      stop = min(start + self.batch_size, num)
      sizes = self.sizes[-1:] if whole else self.sizes
      size = next(s for s in sizes if s >= stop - start)
      rows = {name: array[start:stop] for name, array in features.items()}
      is_row = np.arange(size) < stop - start
      rows = model_inputs.pad_rows(rows, size)
      batch = model_inputs.to_batch(
          self.schema, rows, is_row.astype(np.float32)
      )
      outputs, use = self._predict(batch)
      batches.append(outputs)
      if uses is not None:
        uses.append(jax.tree.map(np.asarray, use))
    names = dict.fromkeys(s.output for s in spaces(self.schema.tasks))
    return {
        name: np.concatenate(
            [np.zeros(0, np.float32)]
            + [np.asarray(batch[name])[0] for batch in batches]
        )[:num]
        for name in names
    }

  def _predict(self, batch: Batch) -> tuple[Any, Any]:
    """Returns what `predict_step` does, of one replica."""
    params = self.trained.params
    return self._step(params['table'], params['net'], params['stats'], batch)

  def scores(
      self, outputs: Mapping[str, Array], calibrated: str, joint: str
  ) -> dict[str, np.ndarray]:
    """Turns outputs into what `predict` returns."""
    outputs = self.calibrated(outputs, calibrated, joint)
    return scores(outputs, self.schema.tasks)

  def split_outputs(
      self, builder: ColumnarBuilder, split: str
  ) -> dict[str, np.ndarray]:
    """Predicts a split of the run's own data set, in file order.

    Args:
      builder: The prepared data set.
      split: `test[:10%]`, say.

    Returns:
      Output -> float32 [n], those of the run itself to the bit.
    """
    source: Any = builder.as_data_source(split)
    step = PIECE * self.batch_size
    pieces = [
        self.outputs(source.joined(low, low + step), whole=True)
        for low in range(0, len(source), step)
    ]
    return {k: np.concatenate([p[k] for p in pieces]) for k in pieces[0]}


def load(
    run: str,
    batch_size: int | None = None,
    data_dir: str | None = None,
    history: str = '',
) -> Predictor:
  """Loads the predictor of one finished run; see `averaged.load`."""
  predictor = Predictor(restore(paths.expand(run), data_dir), batch_size)
  if history:
    predictor.load_history(history)
  return predictor


def _encoder(folder: str, schema: Schema) -> Any:
  """Loads the run's encoder of raw columns; None if it has none."""
  path = os.path.join(folder, FOLDER)
  if not folder or not os.path.isdir(path):
    manifest.require_no_encoder(folder)
    return None
  encoder = Encoder.load(path)
  manifest.require_encoder(folder, encoder_hashes.hashes(encoder, path))
  names = [f.name for f in schema.fields if f.name in encoder.names]
  return encoder.select(names)
