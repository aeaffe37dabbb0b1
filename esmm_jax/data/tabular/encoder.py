"""Raw columns -> ids, lists of ids, scaled numbers, as in training.

An `Encoder` is fitted on training rows (`tabular_fit`), lies in the prepared
data as the folder `encoder/`, is copied into the folder of each run on it, and
encodes new rows there.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import os
from typing import Any

from esmm_jax.data.files import raw_values, row_files
from esmm_jax.data.files.raw_values import Place
from esmm_jax.data.tabular.config import Input
from esmm_jax.schema import FIRST_KEPT, MISSING, RARE, Schema
from esmm_jax.types import Columns, InputError, Ragged
import numpy as np
from pyarrow import parquet
import pyarrow as pa
import pyarrow.compute as pc

FOLDER = 'encoder'
_FILE = 'encoder.json'
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Scaling:
  """How a number is scaled: (x - mean) / std, of the logarithm if `log`.

  Attributes:
    mean: Of the training rows that have the number.
    std: Above 0.
    log: Whether sign(x) ln(1 + |x|) is taken first.
  """

  mean: float = 0.0
  std: float = 1.0
  log: bool = False

  def apply(self, values: np.ndarray) -> np.ndarray:
    """float64 [n] -> float32 [n]; nan, a missing number, becomes 0."""
    values = logarithm(values) if self.log else values
    scaled = (values - self.mean) / self.std
    return np.where(np.isnan(scaled), 0, scaled).astype(np.float32)


def logarithm(values: np.ndarray) -> np.ndarray:
  """sign(x) ln(1 + |x|)."""
  return np.sign(values) * np.log1p(np.abs(values))


def read(
    column: Input, columns: Mapping[str, Any], place: Place
) -> tuple[np.ndarray | None, Any]:
  """A raw column as what is counted and encoded.

  Returns:
    Offsets int64 [n + 1] of lists, otherwise None; and numbers, float64 with
    nan where there is none, or identifiers as pyarrow strings.

  Raises:
    InputError: A value is of another kind.
  """
  array = raw_values.arrow(columns[column.name], column.name, place)
  if column.kind == 'float':
    return None, raw_values.floats(array, column.name, place)
  if column.kind == 'id':
    return None, raw_values.texts(array, column.name, place)
  return raw_values.lists(array, column.name, place, column.max_len)


class Encoder:
  """Encodes raw columns.

  Attributes:
    inputs: The columns that it reads.
    schema: The fields that it makes, and the tasks.
  """

  def __init__(
      self,
      inputs: Sequence[Input],
      schema: Schema,
      vocabularies: Mapping[str, pa.Array],
      scalings: Mapping[str, Scaling],
  ):
    """Makes one of what was fitted.

    Args:
      inputs: The columns.
      schema: Their fields, with vocabulary sizes.
      vocabularies: Table -> texts; the k-th has the id k + 2.
      scalings: Column of numbers -> its scaling.
    """
    self.inputs = tuple(inputs)
    self.schema = schema
    self._vocabularies = dict(vocabularies)
    self._scalings = dict(scalings)

  @property
  def raw_names(self) -> list[str]:
    """The columns that `encode` reads."""
    return [c.name for c in self.inputs]

  def select(self, names: Sequence[str]) -> 'Encoder':
    """One that makes these fields only."""
    kept = [c for c in self.inputs if c.name in names]
    tables = {c.table for c in kept}
    return Encoder(
        kept,
        self.schema.select(names),
        {t: v for t, v in self._vocabularies.items() if t in tables},
        {n: s for n, s in self._scalings.items() if n in names},
    )

  def encode(
      self,
      columns: Mapping[str, Any],
      where: str = 'columns',
      first_row: int = 0,
      noun: str = 'row',
  ) -> Columns:
    """Encodes rows.

    Args:
      columns: Name -> list, numpy or pyarrow array [n], raw values of any type:
        7, '7' and 7.0 are the same identifier. Lists may be texts with `|`
        between the entries. Others than `raw_names` are not looked at.
      where: What to call the columns in messages.
      first_row: Number of the first row, in messages.
      noun: What a number counts, in messages.

    Returns:
      Field -> int32 [n] (0: missing, 1: rare or never seen in training), a
      `Ragged` of them, or float32 [n] (0: missing).

    Raises:
      InputError: A column is not there, or a value is of another kind.
    """
    place = Place(where, first_row, noun)
    made: Columns = {}
    row_files.require(self.raw_names, columns, where)
    for c in self.inputs:
      offsets, values = read(c, columns, place)
      if c.kind == 'float':
        made[c.name] = self._scalings[c.name].apply(values)
      else:
        ids = self._ids(values, c.table)
        made[c.name] = ids if offsets is None else Ragged(ids, offsets)
    return made

  def _ids(self, texts: pa.Array, table: str) -> np.ndarray:
    found = pc.index_in(texts, self._vocabularies[table])
    ids = pc.fill_null(pc.add(found, FIRST_KEPT), RARE)
    ids = pc.if_else(pc.is_null(texts), pa.scalar(MISSING, pa.int32()), ids)
    return ids.to_numpy(zero_copy_only=False).astype(np.int32)

  def values(self, table: str) -> list[str]:
    """The texts with the ids 2, 3 and so on."""
    return self._vocabularies[table].to_pylist()

  def save(self, folder: str) -> None:
    """Writes it into a folder, which is made."""
    os.makedirs(folder, exist_ok=True)
    tables = list(self._vocabularies)
    for k, table in enumerate(tables):
      column = pa.table({'value': self._vocabularies[table]})
      parquet.write_table(column, os.path.join(folder, _vocabulary(k)))
    found = {
        'version': _VERSION,
        'inputs': [dataclasses.asdict(c) for c in self.inputs],
        'schema': self.schema.to_dict(),
        'tables': tables,
        'scalings': {
            name: dataclasses.asdict(s) for name, s in self._scalings.items()
        },
    }
    with open(os.path.join(folder, _FILE), 'w', encoding='utf-8') as f:
      json.dump(found, f, indent=2)

  @classmethod
  def load(cls, folder: str) -> 'Encoder':
    """Reads one.

    Raises:
      InputError: The folder holds none, or it is damaged.
    """
    path = os.path.join(folder, _FILE)
    try:
      with open(path, encoding='utf-8') as f:
        found = json.load(f)
      if found['version'] != _VERSION:
        raise ValueError(f"it is of version {found['version']}")
      vocabularies = {}
      schema = Schema.from_dict(found['schema'])
      sizes = {f.table: f.vocab_size for f in schema.inputs}
      for k, table in enumerate(found['tables']):
        path = os.path.join(folder, _vocabulary(k))
        values = parquet.read_table(path)['value'].combine_chunks()
        if len(values) + FIRST_KEPT != sizes[table]:
          raise ValueError(f'it has {len(values)} values')
        vocabularies[table] = raw_values.arrow(values, table, Place(path))
      return cls(
          [Input(**c) for c in found['inputs']],
          schema,
          vocabularies,
          {name: Scaling(**s) for name, s in found['scalings'].items()},
      )
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as e:
      raise InputError(
          f'{path} cannot be read ({e}). Copy the folder encoder/ of the'
          ' prepared data there again.'
      ) from e


def _vocabulary(k: int) -> str:
  return f'vocabulary-{k:03d}.parquet'
