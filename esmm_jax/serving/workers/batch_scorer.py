"""Scores batches of rows wherever an engine calls it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import functools
from typing import Any

from esmm_jax import paths
from esmm_jax.data.csv_files import quoted_names
from esmm_jax.data.files import frame_columns, row_files
from esmm_jax.serving import members
from esmm_jax.serving.scored_parts import with_scores
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa


class BatchScorer:
  """Scores batches of rows: a class for Ray Data, Spark and others.

  It is sent to other processes as its arguments, and loads the run there, once,
  with the first batch. The scores are those of `Predictor.predict`.

      >>> import pickle
      >>> from esmm_jax.serving import BatchScorer
      >>> scorer = pickle.loads(pickle.dumps(BatchScorer('runs/esmm', 'user')))
      >>> columns = {n: np.zeros(2, int) for n in scorer.predictor.names}
      >>> columns['history'] = [[3, 4], []]
      >>> columns['history.weight'] = [[1.0, 0.5], []]
      >>> list(scorer(columns))
      ['user', 'p_ctr', 'p_cvr', 'p_ctcvr']

  Attributes:
    runs: Folders of the runs.
    key: The columns that are copied.
    names: Columns of the rows that have other names in the run -> those.
  """

  def __init__(
      self,
      run: Any,
      key: str | Sequence[str] = '',
      calibrated: str = 'none',
      joint: str = 'product',
      batch_size: int | None = None,
      data_dir: str | None = None,
      row: str = '',
      history: str = '',
      names: Mapping[str, str] | None = None,
  ):
    """Takes what `load` and `Predictor.predict` take.

    Args:
      run: See `averaged.load`; the folders must be seen, under these names, by
        all processes.
      key: Columns to copy, a text with commas between or a sequence.
      calibrated: See `Predictor.predict`.
      joint: See there.
      batch_size: See `averaged.load`.
      data_dir: See there.
      row: See there.
      history: See there.
      names: Columns of the rows that have other names in the run -> those, as
        in {'weight': 'history.weight'}: Spark takes no name with a dot. The key
        has the names of the rows.

    Raises:
      InputError: There is no such run, or row.
    """
    self.runs = [paths.absolute(f) for f in members.folders(run, row)]
    is_text = isinstance(key, str)
    self.key = quoted_names.split_names(key) if is_text else list(key)
    self._calibration = calibrated, joint
    data_dir = paths.absolute(data_dir) if data_dir else data_dir
    history = paths.absolute(history) if history else history
    self._loads = {
        'batch_size': batch_size, 'data_dir': data_dir, 'history': history
    }
    self.names = dict(names or {})

  def __reduce__(self) -> tuple[Any, ...]:
    """Leaves out what is loaded."""
    make = functools.partial(BatchScorer, **self._loads, names=self.names)
    return make, (self.runs, self.key, *self._calibration)

  @functools.cached_property
  def predictor(self) -> Any:
    """The model, loaded when it is first asked for."""
    from esmm_jax.serving import averaged

    return averaged.load(self.runs, **self._loads)

  def __call__(self, rows: Any) -> Any:
    """Scores rows.

    Args:
      rows: N rows with the columns `predictor.names`: a pyarrow Table or
        RecordBatch, a pandas DataFrame, or a dict of arrays.

    Returns:
      The same form, with N rows in their order: the columns of the key as they
      came, then `p_ctr`, `p_cvr` and so on, float32. A frame keeps its index.

    Raises:
      InputError: The rows are of another form; and see `Predictor.predict`.
    """
    is_frame = frame_columns.is_of(rows, 'pandas', 'DataFrame')
    if is_frame:
      names = [str(name) for name in rows.columns]
    elif isinstance(rows, (pa.Table, pa.RecordBatch)):
      names = rows.schema.names
    elif isinstance(rows, Mapping):
      names = [str(name) for name in rows]
    else:
      raise InputError(
          f'the rows are {frame_columns.shown(rows)}; they must be a pyarrow'
          ' Table or RecordBatch, a pandas DataFrame or a dict of arrays.'
      )
    row_files.require(self.key, names, 'columns', ', which the key names')
    scores = self.predictor.predict(self._renamed(rows), *self._calibration)
    if is_frame:
      with_scores(dict.fromkeys(self.key), scores)
      return rows.loc[:, self.key].assign(**scores)
    columns = with_scores({name: rows[name] for name in self.key}, scores)
    if isinstance(rows, Mapping):
      return {name: np.asarray(column) for name, column in columns.items()}
    form = pa.table if isinstance(rows, pa.Table) else pa.record_batch
    return form(columns)

  def _renamed(self, rows: Any) -> Any:
    """Returns rows with the names that the run has."""
    if not self.names:
      return rows
    if isinstance(rows, Mapping):
      return {self.names.get(n, n): column for n, column in rows.items()}
    if isinstance(rows, (pa.Table, pa.RecordBatch)):
      return rows.rename_columns(
          [self.names.get(n, n) for n in rows.schema.names]
      )
    return rows.rename(columns=self.names)

  def each(self, batches: Iterable[Any]) -> Iterator[Any]:
    """Scores batches as they come: for Spark's `mapInPandas`, `mapInArrow`.

    Args:
      batches: Each as `__call__` takes it.

    Yields:
      What it returns.
    """
    for batch in batches:
      yield self(batch)
