"""The first pass over a user's log: fits the encoder on the training rows."""

from collections.abc import Mapping
from typing import Any

from esmm_jax.data.files.raw_values import Location
from esmm_jax.data.store.vocabulary import ValueCounts
from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.tabular.encoder import Encoder, logarithm, read, Scaling
import numpy as np
import pyarrow as pa


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
    """Standard deviation of the population; 1 where all are equal."""
    return float(np.sqrt(self._squares / max(self.num, 1))) or 1.0


class Fit:
  """Fits an encoder: counts values and moments of training rows."""

  def __init__(self, config: TabularConfig):
    self._config = config
    self._counts: dict[str, ValueCounts] = {}
    self._moments: dict[str, Moments] = {}
    # Column -> its first two different values, texts, None for missing.
    self._values: dict[str, set] = {c.name: set() for c in config.inputs}
    for c in config.inputs:
      if c.kind == 'float':
        self._moments[c.name] = Moments()
      else:
        self._counts.setdefault(c.table, ValueCounts())

  def add(
      self, columns: Mapping[str, Any], train: np.ndarray, location: Location
  ) -> None:
    """Adds rows.

    Args:
      columns: Column -> arrow array [n].
      train: bool [n], which rows are training rows. The values of others are
        checked but not counted.
      location: Where the rows are, for messages.

    Raises:
      InputError: A value is of another kind.
    """
    for c in self._config.inputs:
      offsets, values = read(c, columns, location)
      if c.kind == 'float':
        values = values[train]
        self._see(c.name, values)
        values = logarithm(values) if c.scaling == 'log' else values
        self._moments[c.name].add(values)
      else:
        rows = train if offsets is None else np.repeat(train, np.diff(offsets))
        values = values.filter(pa.array(rows))
        self._see(c.name, values)
        self._counts[c.table].add(values)

  def _see(self, name: str, values: pa.Array | np.ndarray) -> None:
    """Notes values of a column until two of them differ."""
    if len(self._values[name]) < 2:
      distinct = pa.array(values, from_pandas=True).unique()
      self._values[name].update(distinct[:2].to_pylist())

  def first_values(self, name: str) -> set:
    """Returns up to two different values of a column; None is missing."""
    return self._values[name]

  def encoder(self) -> Encoder:
    """Makes the encoder of the rows added."""
    vocabularies, scalings = {}, {}
    for c in self._config.inputs:
      if c.kind == 'float':
        m = self._moments[c.name]
        scalings[c.name] = (
            Scaling()
            if c.scaling == 'none'
            else Scaling(float(m.mean), m.std, c.scaling == 'log')
        )
      elif c.table not in vocabularies:
        vocabularies[c.table] = self._counts[c.table].vocabulary(
            c.min_count, c.max_values
        )
    sizes = {table: v.size for table, v in vocabularies.items()}
    schema = self._config.schema.with_vocab_sizes(sizes)
    return Encoder(self._config.inputs, schema, vocabularies, scalings)
