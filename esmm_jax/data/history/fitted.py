"""The columns of a history -> fields; fitted on training rows, then applied.

The one place where scaling, edges of buckets and ids of a history are made, so
that a row has the same inputs when a log is prepared and when it is served.
"""

import collections
from collections.abc import Callable, Mapping, Sequence
import dataclasses
import hashlib
import os
from typing import Any, NamedTuple

from esmm_jax import checksums, json_files, whole_files
from esmm_jax.data.history import encode, hashes, inputs
from esmm_jax.data.history.compute import Past
from esmm_jax.data.history.specs import Entries, Spec
from esmm_jax.data.store.feature_columns import Values
from esmm_jax.data.store.scaling import (
    bucket_ids, fit_edges, num_ids, Scaling)
from esmm_jax.data.store.vocabulary import Vocabulary
from esmm_jax.schema import Field, FIRST_KEPT, MISSING, RARE
from esmm_jax.tasks import Tasks
from esmm_jax.types import Columns, Ragged
import numpy as np
import pyarrow as pa

NUM_BUCKETS = 20
_FILE = 'history.json'


class Table(NamedTuple):
  """The table that a list shares, and what its ids stand for.

  Attributes:
    field: The field of the column that the list holds.
    values: uint64 [vocab_size - 2], hashes: `values[k]` has the id k + 2.
  """

  field: Field
  values: np.ndarray

  @classmethod
  def of(cls, field: Field, vocabulary: Vocabulary) -> 'Table':
    """Makes that of a field; its values are hashed as texts."""
    return cls(field, hashes.of_texts(vocabulary.values.cast(pa.string())))


class Fitted:
  """Fields of a history, and what their values are computed with.

  Attributes:
    fields: The fields in the order of the specs; of a number first the float
      NAME, then its bucket NAME_bucket.
    scaling: Float field -> mean and deviation of its training rows.
    edges: Field of buckets -> its edges, float64.
    values: Column of lists -> hashes of its vocabulary, see `Table`.
  """

  def __init__(
      self,
      fields: Sequence[Field],
      scaling: Mapping[str, Scaling],
      edges: Mapping[str, np.ndarray],
      values: Mapping[str, np.ndarray],
      steps: Sequence[NamedTuple],
  ):
    """Takes what `fit` and `load` make."""
    self.fields = tuple(fields)
    self.scaling = dict(scaling)
    self.edges = dict(edges)
    self.values = dict(values)
    self._steps = tuple(steps)
    self._sorted = {
        column: np.argsort(known, kind='stable')
        for column, known in self.values.items()
    }

  @classmethod
  def fit(
      cls,
      specs: Sequence[Spec],
      past: Past,
      train: np.ndarray,
      tasks: Tasks,
      tables: Mapping[str, Table] | None = None,
      after: Callable[[], None] = lambda: None,
      of_one: float = 1.0,
  ) -> 'Fitted':
    """Fits to the training rows of a log.

    Memory is that of the training rows of one column, see `store.scaling`.

    Args:
      specs: The columns.
      past: The history of n rows; may be mapped from files.
      train: bool [n], the rows that may be fitted to.
      tasks: Of the log.
      tables: Column of a list -> its table.
      after: Is called after each column, when pages of mapped ones may go.
      of_one: See `Scaling.fit`.
    """
    fields, scaling, edges, values = [], {}, {}, {}
    levels = len(encode.rates(tasks)) + 1 + FIRST_KEPT
    steps = list(inputs.steps(specs, tasks))
    for step in steps:
      if isinstance(step, str):
        fields.append(Field(step, vocab_size=levels))
      elif isinstance(step, inputs.List):
        table = tables[step.column]
        values[step.column] = np.asarray(table.values)
        fields += inputs.list_fields(step, table.field, levels)
      else:
        raw = past.numbers[step.name]
        if step.form != 'bucket':
          rows = train if step.is_rate else train & ~raw.missing
          scaling[step.name] = Scaling.fit(raw.values[rows], of_one)
          fields.append(Field(step.name, 'float'))
        if step.form != 'float':
          name = f'{step.name}_bucket'
          some = raw.values[train & ~raw.missing]
          edges[name] = fit_edges(some, NUM_BUCKETS)
          fields.append(Field(name, vocab_size=num_ids(edges[name])))
        after()
    return cls(fields, scaling, edges, values, steps)

  def grown(self, tables: Mapping[str, Table]) -> 'Fitted':
    """Returns the same for tables that have grown; scaling and edges stay."""
    fields = []
    sizes = {t.field.table: t.field.vocab_size for t in tables.values()}
    for field in self.fields:
      size = sizes.get(field.table, field.vocab_size)
      fields.append(dataclasses.replace(field, vocab_size=size))
    values = {column: np.asarray(tables[column].values) for column in tables}
    return Fitted(fields, self.scaling, self.edges, values, self._steps)

  def encode(self, past: Past) -> Columns:
    """Returns the columns of all fields, float32, int32 or `Ragged` int32.

    Args:
      past: The history of any rows; `rows_of` takes some of a log.
    """
    columns: Columns = {}
    for step in self._steps:
      if isinstance(step, str):
        columns[step] = np.asarray(past.codes[step], np.int32)
      elif isinstance(step, inputs.List):
        columns.update(self._lists(step, past))
      else:
        columns.update(self._numbers(step, past.numbers[step.name]))
    return columns

  def _numbers(self, step: inputs.Number, raw: Values) -> Columns:
    columns: Columns = {}
    if step.form != 'bucket':
      valid = np.ones(len(raw.values), bool) if step.is_rate else ~raw.missing
      scaling = self.scaling[step.name]
      columns[step.name] = scaling.apply(np.asarray(raw.values), valid)
    if step.form != 'float':
      name = f'{step.name}_bucket'
      columns[name] = bucket_ids(self.edges[name], raw.values, raw.missing)
    return columns

  def _lists(self, step: inputs.List, past: Past) -> Columns:
    """Encodes a list and those beside it; all are as long as there are rows."""
    arrays = [np.asarray(past.lists[name]) for name in step.names]
    is_row = arrays[1] != MISSING  # Each row has an age; its value may be none.
    offsets = np.zeros(len(is_row) + 1, np.int64)
    np.cumsum(is_row.sum(axis=1), out=offsets[1:])
    ids = self._ids(step.column, arrays[0][is_row])
    codes = [array[is_row].astype(np.int32) for array in arrays[1:]]
    return {
        name: Ragged(values, offsets)
        for name, values in zip(step.names, [ids, *codes])
    }

  def _ids(self, column: str, values: np.ndarray) -> np.ndarray:
    """Returns the ids of hashes, int32 [n]; those not in the table are rare."""
    known, order = self.values[column], self._sorted[column]
    ids = np.full(len(values), RARE, np.int32)
    if len(known):
      at = np.searchsorted(known, values, sorter=order)
      index = order[np.minimum(at, len(known) - 1)]
      ids = np.where(known[index] == values, index + FIRST_KEPT, RARE)
    return np.where(values == hashes.NO_KEY, MISSING, ids).astype(np.int32)

  def save(self, folder: str) -> None:
    """Writes `history.json`, and an array for each column of lists.

    Args:
      folder: Must exist.
    """
    for k, column in enumerate(self.values):
      with whole_files.replacing(_array_path(folder, k)) as path:
        whole_files.save_array(path, self.values[column])
    json_files.write_json(os.path.join(folder, _FILE), self._to_dict())

  @classmethod
  def load(cls, folder: str) -> 'Fitted':
    """Reads what `save` wrote.

    Raises:
      ValueError: An array is not the one of `history.json`; a list would hold
        other values without a word.
    """
    kept = json_files.read_json(os.path.join(folder, _FILE))
    values = {}
    for k, (column, digest) in enumerate(kept['values'].items()):
      path = _array_path(folder, k)
      values[column] = np.load(path, mmap_mode='r')
      if _sha256(values[column]) != digest:
        raise ValueError(f'{os.path.basename(path)} is not as it was written')
    kinds = {kind.__name__: kind for kind in (inputs.Number, inputs.List)}
    return cls(
        [Field(**field) for field in kept['fields']],
        {name: Scaling(**both) for name, both in kept['scaling'].items()},
        {n: np.array(e, np.float64) for n, e in kept['edges'].items()},
        values,
        [
            step if isinstance(step, str) else kinds[step[0]](*step[1:])
            for step in kept['steps']
        ],
    )

  def sha256(self) -> str:
    """Hashes all that columns depend on; hexadecimal digits."""
    return checksums.hash_json(self._to_dict())

  def _to_dict(self) -> dict[str, Any]:
    return {
        'fields': [f.to_dict() for f in self.fields],
        'scaling': {n: s._asdict() for n, s in self.scaling.items()},
        'edges': {n: e.tolist() for n, e in self.edges.items()},
        'values': {
            column: _sha256(values)
            for column, values in self.values.items()
        },
        'steps': [
            step if isinstance(step, str) else [type(step).__name__, *step]
            for step in self._steps
        ],
    }


def declared_fields(specs: Sequence[Spec], tasks: Tasks) -> tuple[Field, ...]:
  """Returns the fields, in order, without vocabulary sizes and list lengths."""
  nothing = Values(np.zeros(0), np.zeros(0, bool))
  past = Past(collections.defaultdict(lambda: nothing), {}, {})
  tables = {
      s.column: Table(Field(s.column), np.zeros(0, np.uint64))
      for s in specs
      if isinstance(s, Entries)
  }
  train = np.zeros(0, bool)
  fields = Fitted.fit(specs, past, train, tasks, tables).fields
  return tuple(
      dataclasses.replace(field, vocab_size=0, max_len=1) for field in fields
  )


def rows_of(past: Past, rows: Any) -> Past:
  """Returns the history of some rows: a slice, integers or bool [n]."""
  return Past(
      {n: Values(v[rows], m[rows]) for n, (v, m) in past.numbers.items()},
      {name: codes[rows] for name, codes in past.codes.items()},
      {name: lists[rows] for name, lists in past.lists.items()},
  )


def _array_path(folder: str, k: int) -> str:
  return os.path.join(folder, f'history_values_{k}.npy')


def _sha256(array: np.ndarray) -> str:
  return hashlib.sha256(np.ascontiguousarray(array, '<u8')).hexdigest()
