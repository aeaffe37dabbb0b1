"""The first pass over a user's log: fits the encoder on the training rows."""

from collections.abc import Mapping
from typing import Any

from esmm_jax.data.store.vocabulary import ValueCounts, Vocabulary
from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.tabular.cells import buckets
from esmm_jax.data.tabular.cells.quantiles import Cells
from esmm_jax.data.tabular.cells.raw import edges_of, Raw, read
from esmm_jax.data.tabular.cells.raw import with_edges
from esmm_jax.data.tabular.encoder import Encoder, Scaling
from esmm_jax.data.tabular.inputs import Input
from esmm_jax.data.tabular.moments import Moments
from esmm_jax.data.values import raw_values
from esmm_jax.data.values.raw_values import Location
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Texts that are lists more likely than identifiers -> their separator, '' if
# they are of none that can be named.
_LIST_LIKE = {
    r'^\(.*\)$|^\{.*\}$': '',
    r'\^': '^',
    ';': 'semicolon',
    ',': 'comma',
    '\t': 'tab',
    # Numbers, and identifiers of one or two letters and a number.
    r'^-?[A-Za-z]{0,2}\d+( -?[A-Za-z]{0,2}\d+)+$': 'space',
    **{rf'\x{code:02x}': rf'\x{code:02x}' for code in (1, 2, 3, 29)},
}


class Fit:
  """Fits an encoder: counts values and moments of training rows."""

  def __init__(
      self,
      config: TabularConfig,
      base: Encoder | None = None,
      edges: Mapping[str, tuple[float, ...]] | None = None,
  ):
    """Prepares the counts.

    Args:
      config: Names the columns.
      base: An encoder of the same columns that is to grow; None fits anew.
      edges: Those of another `Fit` of the rows, or of `base`.
    """
    self._config, self._base = config, base
    self._inputs = with_edges(config.inputs, edges or {})
    self._cells = {c.name: Cells() for c in self._inputs if c.needs_edges}
    self._counts: dict[str, ValueCounts] = {}
    self._moments: dict[str, Moments] = {}
    # Of the rows that are no training rows.
    self._others: dict[str, Moments] = {}
    self._where = ''
    # Lists of which an entry was seen as a value of their target.
    self._related: set[str] = set()
    # List column without a list of two entries so far -> some of its values.
    self._single: dict[str, pa.Array] = {
        c.name: pa.array([], pa.string())
        for c in config.inputs
        if c.kind == 'ids' and not c.separator
    }
    # Column -> its first two different values, texts, None for missing.
    self._values: dict[str, set] = {c.name: set() for c in config.inputs}
    # Column -> the first two of each piece, until two are different.
    self._firsts: dict[str, list] = {c.name: [] for c in config.inputs}
    for c in config.inputs:
      if c.kind == 'float':
        log = c.scaling == 'log'
        self._moments[c.name], self._others[c.name] = Moments(log), Moments(log)
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
    self._where = self._where or location.where
    texts: dict[str, pa.Array] = {}
    for c in self._inputs:
      if c.needs_edges and c.parts:
        continue
      raw = read(c, columns, location)
      if c.needs_edges:
        self._see(c.name, raw.values[train])
        self._cells[c.name].add(raw.values[train])
      elif c.kind == 'float':
        values = raw.values[train]
        self._see(c.name, values)
        single = pa.types.is_float32(columns[c.name].type)
        self._moments[c.name].add(values, single)
        self._others[c.name].add(raw.values[~train])
      else:
        rows = train
        if raw.offsets is not None:
          rows = np.repeat(train, np.diff(raw.offsets))
          self._note(c.name, columns[c.name], raw)
        values = raw.values.filter(pa.array(rows))
        self._see(c.name, values)
        self._counts[c.table].add(values)
        texts[c.name] = values
    for c in self._config.inputs:
      if c.target and c.name not in self._related:
        targets = texts[c.target].unique()
        same = pc.is_in(texts[c.name], value_set=targets, skip_nulls=True)
        if pc.any(same).as_py():
          self._related.add(c.name)

  def _see(self, name: str, values: pa.Array | np.ndarray) -> None:
    """Notes values of a column until two of them differ."""
    if len(self._values[name]) < 2:
      distinct = pa.array(values, from_pandas=True).unique()
      self._firsts[name].append(distinct[:2].to_pylist())
      self._values[name].update(self._firsts[name][-1])

  def merge(self, other: 'Fit') -> None:
    """Adds what another one has seen, of the rows that follow.

    Merged in the order of the rows, parts make the encoder of one pass.
    """
    self._where = self._where or other._where
    self._related |= other._related
    for table, counts in other._counts.items():
      self._counts[table].merge(counts)
    for name, moments in other._moments.items():
      self._moments[name].merge(moments)
      self._others[name].merge(other._others[name])
    for name, cells in other._cells.items():
      self._cells[name].merge(cells)
    for name, firsts in other._firsts.items():
      for some in firsts:
        if len(self._values[name]) < 2:
          self._values[name].update(some)
    for name in list(self._single):
      if name not in other._single:
        del self._single[name]
      elif not len(self._single[name]):
        self._single[name] = other._single[name]

  def first_values(self, name: str) -> set:
    """Returns up to two different values of a column; None is missing."""
    return self._values[name]

  def is_related(self, name: str) -> bool:
    """Tells whether an entry of a list was a value of its target."""
    return name in self._related

  def moments(self, name: str) -> tuple[Moments, Moments]:
    """Returns those of a column's training rows, and of its other rows."""
    return self._moments[name], self._others[name]

  @property
  def waits(self) -> bool:
    """True if crosses are not counted yet, for lack of `edges`."""
    return any(c.needs_edges and c.parts for c in self._inputs)

  def edges(self) -> dict[str, tuple[float, ...]]:
    """Returns input -> edges of its buckets, of the rows added."""
    fitted = {
        c.name: self._cells[c.name].edges(c.buckets)
        for c in self._inputs
        if c.needs_edges and not c.parts
    }
    return edges_of(self._inputs) | fitted

  def empty_buckets(self, column: Input) -> list[str]:
    """Lists the buckets between edges of the user without a training row."""
    if column.buckets or column.edges is None:
      return []
    counted = self._counts[column.table].vocabulary().values.to_pylist()
    return [n for n in buckets.names(column.edges) if n not in counted]

  def _note(self, name: str, column: Any, raw: Raw) -> None:
    """Remembers values of a column of texts that have one entry at most."""
    if np.diff(raw.offsets).max(initial=0) > 1:
      self._single.pop(name, None)
    elif name in self._single and not len(self._single[name]):
      texts = raw_values.arrow(column[:1000], Location('', name=name))
      if pa.types.is_string(texts.type):
        texts = pc.utf8_trim_whitespace(texts.drop_null())
        self._single[name] = pc.unique(
            texts.filter(pc.greater(pc.binary_length(texts), 0))
        )

  def encoder(self) -> Encoder:
    """Makes the encoder of the rows added.

    Raises:
      InputError: A column of lists seems to have another separator.
    """
    for name, values in self._single.items():
      values = values.filter(pc.invert(pc.starts_with(values, '[')))
      for pattern, word in _LIST_LIKE.items():
        has = pc.match_substring_regex(values, pattern)
        if 10 * (pc.sum(has).as_py() or 0) > len(values):
          example = values.filter(has)[0].as_py()
          do = 'write such lists as JSON, [1, 2]'
          if word:
            do = f'write {name}:separator={word} in dataset.ids'
          raise InputError(
              f'{self._where}: no value of column {name!r} has two entries, but'
              f' some are like {example!r}; {do}, or {name}:separator=pipe if'
              ' these are no lists.'
          )
    vocabularies, scalings = {}, {}
    inputs = with_edges(self._inputs, self.edges())
    for c in inputs:
      if c.target and self._values[c.name] <= {None}:
        raise InputError(
            f'{self._where}: column {c.name!r} has no entry in any training'
            f' row, so nothing can be compared with its target {c.target!r}.'
            ' Leave it out of dataset.ids.'
        )
      if c.kind == 'float':
        scalings[c.name] = self._scaling(c)
      elif c.edges is not None:
        names = pa.array(buckets.names(c.edges), pa.string())
        vocabularies[c.table] = Vocabulary(names)
      elif c.table not in vocabularies:
        vocabularies[c.table] = self._counts[c.table].vocabulary(
            c.min_count,
            c.max_values,
            self._base and self._base.vocabulary(c.table),
        )
    sizes = {table: v.size for table, v in vocabularies.items()}
    schema = self._config.schema.with_vocab_sizes(sizes)
    return Encoder(inputs, schema, vocabularies, scalings)

  def _scaling(self, column: Input) -> Scaling:
    """Returns the scaling of a column of numbers."""
    if self._base:  # The network was trained on numbers that it scaled.
      return self._base.scaling(column.name)
    if column.scaling == 'none':
      return Scaling()
    m = self._moments[column.name]
    return Scaling(float(m.mean), m.std, column.scaling == 'log')
