"""Metrics of a finished run on new labelled rows, or on a split of its data.

They are those of training, by the same code: `training.predict` and `metrics`.
Raw columns are encoded by the run's own encoder, and labels are read as the
run's dataset section says; ids that training never saw count as id 1. Only
labels, outputs and the columns that group rows are in memory as a whole.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import os
from typing import Any

from esmm_jax import histories
from esmm_jax.data.csv_files import dialect as dialects
from esmm_jax.data.csv_files.dialect import Dialect
from esmm_jax.data.files import frames, row_files
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.data.store.columns import rebatched
from esmm_jax.data.tabular.unseen import Counts
from esmm_jax.data.values.raw_values import Location
from esmm_jax.metrics.by_space import each_alone, Observed
from esmm_jax.metrics.gates import mean_gates
from esmm_jax.plugins import loading as plugins
from esmm_jax.serving import calibrators, segments
from esmm_jax.serving.history import replay
from esmm_jax.serving.labelled import Labelled, Reader
from esmm_jax.training.common_ctr import common_ctr_metrics
from esmm_jax.training.predict import observe, split_metrics
from esmm_jax.types import Columns, InputError
from esmm_jax.workdir import manifest
import numpy as np
import pyarrow as pa

# Batches that are read and scored together, of a split or a stream.
PIECE = 16


class Evaluates:
  """The part of a `Predictor` that computes metrics."""

  def calibrated(
      self, outputs: Mapping[str, Any], kind: str, joint: str
  ) -> Mapping[str, Any]:
    """Calibrates outputs as the run was, unless `kind` is `none`."""
    if kind == 'none':
      return outputs
    fitted, tasks = self.calibrators(kind), self.schema.tasks
    return calibrators.calibrate_outputs(fitted, kind, joint, outputs, tasks)

  def calibrators(self, kind: str) -> dict[str, Any]:
    """Reads the calibrators of the model; see `calibrators.read`."""
    return calibrators.read(self.folder, kind, self.stamp)

  def about(self) -> dict[str, Any]:
    """Returns what is told in files that are made with the model."""
    noted = histories.noted(self.history_protocol, histories.ABOUT)
    return {'run': self.stamp.to_dict(), **noted}

  def texts(self, field: str) -> list[str] | None:
    """Returns the texts of a field's ids 2, 3 and so on; None without."""
    if self._encoder is None or field not in self._encoder.names:
      return None
    return self._encoder.values(self.schema.field(field).table)

  def makes(self, field: str) -> bool:
    """True if a field is a bucket or a cross, and no raw column."""
    inputs = self._encoder.inputs if self._encoder is not None else ()
    return any(c.is_made and c.name == field for c in inputs)

  def evaluate(
      self,
      columns: Any,
      by: str = '',
      calibrated: str = 'none',
      joint: str = 'product',
  ) -> dict[str, Any]:
    """Computes the metrics of labelled rows, as training does of a split.

    Args:
      columns: Rows as `predict` takes them, with the columns of the labels too,
        which no history sees: those of the run's log, or those of the schema
        where it has no encoder.
      by: Column whose most frequent values get metrics of their own, or a
        bucket or cross that the model reads; or `unseen:FIELD`: rows whose ids
        of a field training saw, or did not see; '': none.
      calibrated: See `predict`.
      joint: See there.

    Returns:
      `rows`, `left_out` (by the run's rule for labels), `space/metric` as
      `esmm_jax.evaluate` has them, `missing/FIELD` and `unseen/FIELD` (shares),
      and with `by` the same of each segment (`segments.metrics`).

    Raises:
      InputError: A column is missing, or a value or label is not possible.
    """
    reader, counts = Reader(self, by), Counts()
    rows = self.piece_rows

    def pieces() -> Iterator[Labelled]:
      for first, piece in frames.pieces(columns, None, rows):
        reader.check(list(piece.columns), 'columns')
        location = Location('columns', first)
        yield reader.read(piece.columns, location, counts)

    return _evaluate(self, pieces(), by, calibrated, joint, counts)


def evaluate_files(
    predictor: Any,
    files: Sequence[row_files.File],
    dialect: Dialect = dialects.DEFAULT,
    by: str = '',
    calibrated: str = 'none',
    joint: str = 'product',
    history: str = 'auto',
    as_of: Any = None,
) -> dict[str, Any]:
  """Evaluates a run on the rows of files.

  Args:
    predictor: A `Predictor` of the run.
    files: The files, with the columns of the run's log.
    dialect: The form of CSV files.
    by: See `Predictor.evaluate`.
    calibrated: See there.
    joint: See there.
    history: Of a run with one: see `replay.prepare`.
    as_of: See there.

  Returns:
    See there, and `replay.told`.

  Raises:
    InputError: A file lacks a column, or has a value that is not possible.
  """
  reader, counts = Reader(predictor, by), Counts()
  for file in files:
    present = row_files.names(file.path, dialect)
    reader.check(present, file.path, dialect)
  predictor, about = replay.prepare(predictor, files, dialect, history, as_of)
  reader = Reader(predictor, by)
  rows = PIECE * predictor.batch_size

  def pieces() -> Iterator[Labelled]:
    for file in files:
      read = row_files.read(file.path, reader.names, rows, dialect)
      for path, first, table in read:
        location = row_files.location(path, first, dialect)
        yield reader.read(table, location, counts)

  result = _evaluate(predictor, pieces(), by, calibrated, joint, counts)
  return result | replay.told(predictor, about)


def evaluate_split(
    predictor: Any,
    builder: ColumnarBuilder,
    split: str,
    by: str = '',
    calibrated: str = 'none',
    joint: str = 'product',
) -> dict[str, Any]:
  """Evaluates a run on a split of its own data.

  Args:
    predictor: A `Predictor` of the run.
    builder: The prepared data set.
    split: `test[:10%]`, say.
    by: A field of one id, another column of whole numbers, or
      `unseen:FIELD`.
    calibrated: See `Predictor.evaluate`.
    joint: See there.

  Returns:
    See there; with the truth, where it is known.

  Raises:
    InputError: The data is not the run's, or there is no such split or column.
  """
  manifest.require_data(predictor.folder, builder)
  source, counts = builder.as_data_source(split), Counts()
  observed = observe(builder, split, predictor.schema.tasks)
  step, uses, pieces = PIECE * predictor.batch_size, [], []
  texts = []
  for low in range(0, len(source), step):
    columns = source.joined(low, low + step)
    counts.add_columns(predictor.schema, columns)
    pieces.append(predictor.outputs(columns, whole=True, uses=uses))
    if by:
      texts.append(segments.texts_of_split(predictor, columns, by))
  outputs = _joined(pieces)
  segment = pa.concat_arrays(texts) if by else None
  is_test = split == predictor.config.dataset.test_split
  return _metrics(
      predictor,
      outputs,
      observed,
      uses,
      (by, segment),
      (calibrated, joint),
      counts,
      is_test,
  )


def _evaluate(
    predictor: Any,
    pieces: Iterable[Labelled],
    by: str,
    calibrated: str,
    joint: str,
    counts: Counts,
) -> dict[str, Any]:
  """Scores labelled rows in batches as large as those of training."""
  uses: list[Any] = []
  seen: list[Labelled] = []

  def watched() -> Iterator[Columns]:
    for piece in pieces:
      seen.append(piece._replace(columns={}))
      yield piece.columns

  step = PIECE * predictor.batch_size
  outputs = _joined([
      predictor.outputs(columns, whole=True, uses=uses)
      for columns in rebatched(watched(), step)
  ])
  labels = _joined([piece.labels for piece in seen])
  group, segment = (
      pa.concat_arrays([getattr(piece, name) for piece in seen])
      if seen and getattr(seen[0], name) is not None
      else None
      for name in ('group', 'segment')
  )
  if not len(next(iter(labels.values()), ())):
    raise InputError('There are no rows to evaluate.')
  groups = None if group is None else each_alone(segments.codes(group), 0)
  periods = [p.period for p in seen if p.period is not None]
  periods = np.concatenate(periods) if periods else None
  observed = Observed(
      labels, groups, {}, predictor.schema.tasks, group_periods=periods
  )
  result = _metrics(
      predictor, outputs, observed, uses, (by, segment), (calibrated, joint),
      counts, False,
  )  # fmt: skip
  return result | {'left_out': sum(piece.left_out for piece in seen)}


def _metrics(
    predictor: Any,
    outputs: dict[str, np.ndarray],
    observed: Observed,
    uses: Sequence[Any],
    segment: tuple[str, pa.Array | None],
    calibration: tuple[str, str],
    counts: Counts,
    is_test: bool,
) -> dict[str, Any]:
  """Returns all that an evaluation tells, as a flat dictionary."""
  plugins.use(predictor.config)  # Its metrics: others may be loaded too.
  outputs = predictor.calibrated(outputs, *calibration)
  # Training weighted rows by its own pCTR, not a calibrated or a mean one.
  alone = calibration[0] == 'none' and len(predictor.members) == 1
  weights = predictor.trained.row_weights if alone else None
  num = len(next(iter(observed.labels.values())))
  result: dict[str, Any] = {'rows': num, 'left_out': 0}
  gates = mean_gates(uses, num)
  result |= split_metrics(outputs, observed, gates, row_weights=weights)
  folder = predictor.config.get('common_ctr', '')
  # Another run's pCTR is there for the test split alone.
  if folder and (is_test or os.path.normpath(folder) == '.'):
    result |= common_ctr_metrics(outputs, observed, predictor.folder, folder)
  for name, share in counts.shares().items():
    result[f'missing/{name}'] = share.missing
    result[f'unseen/{name}'] = share.unseen
  by, texts = segment
  if texts is not None:
    result |= segments.metrics(outputs, observed, by, texts)
  return result


def _joined(
    pieces: Sequence[Mapping[str, np.ndarray]],
) -> dict[str, np.ndarray]:
  names = pieces[0] if pieces else ()
  return {n: np.concatenate([p[n] for p in pieces]) for n in names}
