"""Raw labelled rows -> encoded columns, labels and what divides them.

Rows are read as the run read its log: its encoder, its labels and its rule for
conversions without a click; of a known data set, its ids and label columns.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from esmm_jax.data.csv_files.dialect import Dialect
from esmm_jax.data.files import frames, row_files
from esmm_jax.data.history.blocks import blocks
from esmm_jax.data.history.hashes import NO_KEY
from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.tabular.rows import Chunk, joint_labels, LEFT_OUT
from esmm_jax.data.tabular.unseen import Counts
from esmm_jax.data.values import raw_values
from esmm_jax.data.values.raw_values import Location
from esmm_jax.serving import inputs, segments
from esmm_jax.training.settings import DatasetOptions
from esmm_jax.types import Columns, InputError
import numpy as np
import pyarrow as pa

_WHY = ', which holds a label of the run'


class Labelled(NamedTuple):
  """Rows with what is known of them.

  Attributes:
    columns: Field -> encoded column [n].
    labels: Label -> [n].
    group: Texts [n] that GAUC groups by, or None.
    segment: Texts [n] of what divides rows into segments, or None.
    period: int64 [n], GAUC compares rows of one alone, as `history.blocks` of a
      log; None without a history or a group.
    left_out: Rows that the run's rule for labels leaves out.
  """

  columns: Columns
  labels: Mapping[str, np.ndarray]
  group: pa.Array | None
  segment: pa.Array | None
  period: np.ndarray | None = None
  left_out: int = 0


class Reader:
  """Reads the rows and labels of raw columns as a run reads its log.

  Attributes:
    names: The columns that it reads.
  """

  def __init__(self, predictor: Any, by: str = ''):
    """Prepares a reader.

    Args:
      predictor: A `Predictor` of a run.
      by: Column that divides rows into segments, a field that the run's
        encoder makes of columns, or `unseen:FIELD`; '' for none.

    Raises:
      InputError: The model is not of a run, or has no such field.
    """
    schema = predictor.schema
    self._unseen = segments.unseen_field(schema, by)
    self._made = by if predictor.makes(by) else ''
    by = '' if self._unseen or self._made else by
    self._predictor, self._by = predictor, by
    self._config = _log_config(predictor)
    if self._config:
      events = self._config.events.values()
      self.labels = list(dict.fromkeys(event.column for event in events))
      self._group = self._config.group
    else:
      self.labels = list(schema.labels)
      self._group = ''  # Ids of a group are the data set's own.
    more = [*self.labels, self._group, by]
    names = [*predictor.names, *more]
    self.names = list(dict.fromkeys(filter(None, names)))

  def check(
      self, present: Sequence[str], where: str, dialect: Dialect | None = None
  ) -> None:
    """Refuses rows that lack a column that is read.

    Args:
      present: Their columns.
      where: The file, for messages.
      dialect: Its form, if it is CSV; None: it is no file.
    """
    for names, why in (
        (self._predictor.names, inputs.READS),
        (self.labels, _WHY),
        ([self._group], ', which dataset.group names'),
        ([self._by], ', which --by names'),
    ):
      names = list(filter(None, names))
      row_files.require(names, present, where, why, dialect)

  def read(
      self, columns: Any, location: Location, counts: Counts
  ) -> Labelled:
    """Encodes rows and reads their labels.

    Args:
      columns: Rows as `frames.read` takes them.
      location: Where the rows are, for messages, and the form of texts.
      counts: Gets the missing and unseen values of each field.
    """
    where, first = location.where, location.first
    rows = frames.read(columns, self.names, where).columns
    chunk = Chunk(rows, location, 0, first, first, LEFT_OUT)
    labels, is_kept = self.labels_of(chunk)
    kept, every = np.flatnonzero(is_kept), rows
    encode = self._predictor.encode
    if len(kept) < len(is_kept):
      encode = self._encode_of_kept(rows, location)
      rows = {
          name: raw_values.arrow(value, location.column(name)).take(kept)
          for name, value in rows.items()
      }
      labels = {name: values[kept] for name, values in labels.items()}
    chunk = chunk._replace(columns=rows)
    try:
      encoded = encode(rows, where, first, counts, location)
    except InputError:
      # Of the rows that are left the numbers are other ones.
      encode(every, where, first, location=location)
      raise
    segment = chunk.texts(self._by) if self._by else None
    if self._unseen:
      segment = segments.texts_of_unseen(encoded, self._unseen)
    if self._made:
      segment = segments.texts_of_split(self._predictor, encoded, self._made)
    return Labelled(
        encoded,
        {name: labels[name] for name in self._predictor.schema.labels},
        chunk.texts(self._group) if self._group else None,
        segment,
        self._period(rows, location) if self._group else None,
        len(is_kept) - len(kept),
    )

  def _encode_of_kept(
      self, every: Mapping[str, Any], location: Location
  ) -> Callable[..., Columns]:
    """Returns `encode` for some of the rows, which ask as among all of them."""
    history = self._predictor.history
    if history is None or not history.reading.request or history.requests:
      return self._predictor.encode
    rows = history.reading.read(every, location)
    requests, first = np.unique(rows.request, return_index=True)
    times = rows.asked[first]
    is_one = requests != NO_KEY
    history = history.copied(requests=(requests[is_one], times[is_one]))
    return self._predictor.with_history(history).encode

  def _period(
      self, columns: Mapping[str, Any], location: Location
  ) -> np.ndarray | None:
    """Numbers the times in which no row sees a label of another one."""
    history = self._predictor.history
    if history is None:
      return None
    time = history.reading.times(columns, location)
    if history.as_of is not None:
      time = np.minimum(time, history.as_of)
    return blocks(history.reading.specs, history.reading.clock, time)

  def labels_of(
      self, chunk: Chunk
  ) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Reads the labels of rows: label -> [n], and bool [n], which are kept."""
    if self._config:
      try:
        return joint_labels(chunk, self._config)
      except InputError as e:
        what, rule, _ = str(e).partition(' Choose what happens to such rows')
        if not rule:
          raise
        # The rule that training had is no flag of an evaluation.
        raise InputError(
            f'{what} The run has no rule for such rows; correct them or leave'
            ' them out.'
        ) from e
    labels = {}
    for task in self._predictor.schema.tasks:
      at, array = chunk.location.column(task.label), chunk.arrow(task.label)
      binary = task.kind == 'binary'
      read = raw_values.labels if binary else raw_values.floats
      labels[task.label] = read(array, at)
    num = len(next(iter(labels.values())))
    return labels, np.ones(num, bool)


def _log_config(predictor: Any) -> TabularConfig | None:
  """Returns the options of the run's log; None if it is a known data set's."""
  section = predictor.config.dataset.to_dict()
  if section.pop('name') != 'tabular':
    return None
  for name in DatasetOptions.__dataclass_fields__:
    section.pop(name, None)
  set_options = {k: v for k, v in section.items() if v is not None}
  return TabularConfig.from_options(set_options)
