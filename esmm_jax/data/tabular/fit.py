"""The first pass over a user's log: fits the encoder on the training rows."""

from collections.abc import Mapping
from typing import Any

from esmm_jax.data.files.raw_values import Location
from esmm_jax.data.store.vocabulary import ValueCounts
from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.tabular.encoder import Encoder, logarithm, read, Scaling
from esmm_jax.data.tabular.inputs import Input
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

  def __init__(self, config: TabularConfig, base: Encoder | None = None):
    """Prepares the counts.

    Args:
      config: Names the columns.
      base: An encoder of the same columns that is to grow; None fits anew.
    """
    self._config, self._base = config, base
    self._counts: dict[str, ValueCounts] = {}
    self._moments: dict[str, Moments] = {}
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
        values = logarithm(values) if c.scaling == 'log' else values
        self._moments[c.name].add(values)
      else:
        rows = train if offsets is None else np.repeat(train, np.diff(offsets))
        self._counts[c.table].add(values.filter(pa.array(rows)))

  def encoder(self) -> Encoder:
    """Makes the encoder of the rows added."""
    vocabularies, scalings = {}, {}
    for c in self._config.inputs:
      if c.kind == 'float':
        scalings[c.name] = self._scaling(c)
      elif c.table not in vocabularies:
        vocabularies[c.table] = self._counts[c.table].vocabulary(
            c.min_count,
            c.max_values,
            self._base and self._base.vocabulary(c.table),
        )
    sizes = {table: v.size for table, v in vocabularies.items()}
    schema = self._config.schema.with_vocab_sizes(sizes)
    return Encoder(self._config.inputs, schema, vocabularies, scalings)

  def _scaling(self, column: Input) -> Scaling:
    """Returns the scaling of a column of numbers."""
    if self._base:  # The network was trained on numbers that it scaled.
      return self._base.scaling(column.name)
    if column.scaling == 'none':
      return Scaling()
    m = self._moments[column.name]
    return Scaling(float(m.mean), m.std, column.scaling == 'log')
