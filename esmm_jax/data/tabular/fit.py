"""The first pass over somebody's log: what is counted on the training rows."""

from collections.abc import Mapping
from typing import Any

from esmm_jax.data.files.raw_values import Place
from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.tabular.encoder import Encoder, logarithm, read, Scaling
from esmm_jax.schema import FIRST_KEPT
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_AT_ONCE = 1 << 22  # Counted values that wait to be added up.


class Counts:
  """How often each text came; memory is that of the different ones."""

  def __init__(self):
    self._waiting: list[pa.Table] = []
    self._rows = 0

  def add(self, texts: pa.Array) -> None:
    """Counts texts; null is not counted."""
    found = pc.value_counts(texts.drop_null())
    self._waiting.append(
        pa.table({'value': found.field(0), 'count': found.field(1)})
    )
    self._rows += len(found)
    if self._rows > _AT_ONCE:
      self._waiting = [self._total()]
      self._rows = self._waiting[0].num_rows // 2

  def _total(self) -> pa.Table:
    if not self._waiting:
      return pa.table({'value': pa.array([], pa.string()), 'count': []})
    whole = pa.concat_tables(self._waiting)
    found = whole.group_by('value').aggregate([('count', 'sum')])
    return pa.table({'value': found['value'], 'count': found['count_sum']})

  def most(self, min_count: int = 1, max_values: int = 0) -> pa.Array:
    """The texts by falling count, ties by text.

    Args:
      min_count: Those that came less often are left out.
      max_values: As many are kept; 0: all.
    """
    found = self._total()
    found = found.filter(pc.greater_equal(found['count'], min_count))
    found = found.sort_by([('count', 'descending'), ('value', 'ascending')])
    kept = found['value'].slice(0, max_values or None)
    return pa.concat_arrays(kept.chunks or [pa.array([], pa.string())])


class Moments:
  """Number, mean and variance of a stream of numbers, in float64."""

  def __init__(self):
    self.num, self.mean, self._squares = 0, 0.0, 0.0

  def add(self, values: np.ndarray) -> None:
    """Adds numbers, by the formula of Chan et al. (1983); nan is left out."""
    values = values[~np.isnan(values)]
    if not len(values):
      return
    mean = values.mean()
    delta, num = mean - self.mean, self.num + len(values)
    self._squares += ((values - mean) ** 2).sum()
    self._squares += delta**2 * self.num * len(values) / num
    self.mean += delta * len(values) / num
    self.num = num

  @property
  def std(self) -> float:
    """Of the population; 1 where all are equal."""
    return float(np.sqrt(self._squares / max(self.num, 1))) or 1.0


class Fit:
  """Counts values and moments of training rows, and makes the encoder."""

  def __init__(self, config: TabularConfig):
    self._config = config
    self._counts: dict[str, Counts] = {}
    self._moments: dict[str, Moments] = {}
    for c in config.inputs:
      if c.kind == 'float':
        self._moments[c.name] = Moments()
      else:
        self._counts.setdefault(c.table, Counts())

  def add(
      self, columns: Mapping[str, Any], train: np.ndarray, place: Place
  ) -> None:
    """Adds rows.

    Args:
      columns: Column -> arrow array [n].
      train: bool [n], which rows are training rows. The values of others are
        looked at, so that a wrong one is found, and not counted.
      place: Where they are, for messages.

    Raises:
      InputError: A value is of another kind.
    """
    for c in self._config.inputs:
      offsets, values = read(c, columns, place)
      if c.kind == 'float':
        values = values[train]
        values = logarithm(values) if c.scaling == 'log' else values
        self._moments[c.name].add(values)
      else:
        rows = train if offsets is None else np.repeat(train, np.diff(offsets))
        self._counts[c.table].add(values.filter(pa.array(rows)))

  def encoder(self) -> Encoder:
    """What encodes all rows."""
    vocabularies = {}
    for c in self._config.inputs:
      if c.kind != 'float' and c.table not in vocabularies:
        vocabularies[c.table] = self._counts[c.table].most(
            c.min_count, c.max_values
        )
    sizes = {t: len(v) + FIRST_KEPT for t, v in vocabularies.items()}
    scalings = {}
    for c in self._config.inputs:
      if c.kind == 'float':
        found = self._moments[c.name]
        scalings[c.name] = (
            Scaling()
            if c.scaling == 'none'
            else Scaling(float(found.mean), found.std, c.scaling == 'log')
        )
    schema = self._config.schema.with_vocab_sizes(sizes)
    return Encoder(self._config.inputs, schema, vocabularies, scalings)
