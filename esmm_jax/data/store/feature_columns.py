"""Raw columns -> ids, lists of ids, scaled floats; fitted on training rows.

Vocabularies, means and bucket edges are computed here alone, so that no value
of a validation or test row can enter one.
"""

from typing import NamedTuple

from esmm_jax.data.store.scaling import (
    bucket_ids, fit_edges, num_ids, Scaling)
from esmm_jax.data.store.vocabulary import Vocabulary
from esmm_jax.schema import MISSING, Field
from esmm_jax.types import Columns, Ragged
import numpy as np


class Values(NamedTuple):
  """A raw column.

  Attributes:
    values: Array [n] of any dtype; arbitrary where missing.
    missing: bool [n].
  """

  values: np.ndarray
  missing: np.ndarray


def take(lists: Ragged, index: np.ndarray) -> Ragged:
  """Gathers the lists of rows; an empty one for an index < 0."""
  start = lists.offsets[index]
  lengths = np.where(index < 0, 0, lists.offsets[index + 1] - start)
  offsets = np.zeros(len(index) + 1, np.int64)
  np.cumsum(lengths, out=offsets[1:])
  entry = np.arange(offsets[-1]) + np.repeat(start - offsets[:-1], lengths)
  weights = None if lists.weights is None else lists.weights[entry]
  return Ragged(lists.values[entry], offsets, weights)


class FeatureColumns:
  """Collects the encoded columns of all rows, and their fields.

  A raw column may belong to a table of users or videos: then `index` says, for
  each row of the log, which row of that table it is, -1 for none. Counts are
  always over rows of the log.

  Attributes:
    fields: The fields added so far, in order.
    columns: Field name -> the encoded column of all rows of the log.
    scaling: Float field -> the `mean` and `std` of its training rows.
    vocabularies: Field of ids -> its values.
  """

  def __init__(self, train: np.ndarray):
    """Takes bool [n], the training rows of the log."""
    self._train = train
    self._rows = np.arange(len(train))
    self.fields: list[Field] = []
    self.columns: Columns = {}
    self.scaling: dict[str, dict[str, float]] = {}
    self.vocabularies: dict[str, Vocabulary] = {}

  def add_id(
      self,
      name: str,
      raw: Values,
      index: np.ndarray | None = None,
      min_count: int = 1,
  ) -> None:
    """Adds one categorical value of each row.

    Args:
      name: Of the field.
      raw: Values [m] of the log (m = n), or of users or videos.
      index: int [n], the entry of `raw` of each row, -1 for none; default: row
        k has entry k.
      min_count: Values in fewer training rows are rare.
    """
    index = self._rows if index is None else index
    used = index[self._train & (index >= 0)]
    vocabulary = Vocabulary.fit(raw.values[used], raw.missing[used], min_count)
    self.vocabularies[name] = vocabulary
    ids = vocabulary.encode(raw.values, raw.missing)
    ids = np.where(index < 0, np.int32(MISSING), ids[index])
    self.add_encoded(Field(name, vocab_size=vocabulary.size), ids)

  def add_list(
      self, name: str, raw: Ragged, index: np.ndarray, combiner: str
  ) -> None:
    """Adds a list of each row; `max_len` is the length of the longest one."""
    lists = take(raw, np.where(self._train, index, -1))
    vocabulary = Vocabulary.fit(lists.values)
    self.vocabularies[name] = vocabulary
    ids = take(Ragged(vocabulary.encode(raw.values), raw.offsets), index)
    field = Field(
        name,
        'ids',
        vocab_size=vocabulary.size,
        max_len=max(1, int(np.diff(ids.offsets).max(initial=0))),
        combiner=combiner,
    )
    self.add_encoded(field, ids)

  def add_float(
      self, name: str, raw: Values, index: np.ndarray | None = None
  ) -> None:
    """Adds a number, scaled to mean 0 and variance 1 on the training rows.

    A missing value becomes 0, the mean of the others.
    """
    index = self._rows if index is None else index
    valid = (index >= 0) & ~raw.missing[index]
    values = np.where(valid, raw.values[index], 0).astype(np.float64)
    scaling = Scaling.fit(values[self._train & valid])
    self.scaling[name] = scaling._asdict()
    self.add_encoded(Field(name, 'float'), scaling.apply(values, valid))

  def add_buckets(self, name: str, raw: Values, num_buckets: int) -> None:
    """Adds a number as the id of its bucket.

    The edges are quantiles of the training rows, so that buckets hold about
    equally many of them; equal quantiles make one edge, so there may be fewer
    buckets. No bucket is rare: id 1 is unused. A missing value has id 0.
    """
    edges = fit_edges(raw.values[self._train & ~raw.missing], num_buckets)
    ids = bucket_ids(edges, raw.values, raw.missing)
    self.add_encoded(Field(name, vocab_size=num_ids(edges)), ids)

  def add_encoded(self, field: Field, column: np.ndarray | Ragged) -> None:
    """Adds a field whose column, of n rows, is encoded already."""
    self.fields.append(field)
    self.columns[field.name] = column
