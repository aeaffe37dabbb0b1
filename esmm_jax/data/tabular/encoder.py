"""Raw columns -> ids, lists of ids, scaled numbers, as in training.

An `Encoder` is fitted on training rows (`fit`), is saved in the prepared data
as the folder `encoder/`, is copied into the folder of each run on it, and
encodes new rows there.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import json
import os
from typing import Any

from esmm_jax.data.files import frames, raw_values
from esmm_jax.data.files.raw_values import Location
from esmm_jax.data.store.vocabulary import Vocabulary
from esmm_jax.data.tabular.inputs import Input
from esmm_jax.data.tabular.unseen import Counts
from esmm_jax.schema import FIRST_KEPT, Schema
from esmm_jax.types import Columns, InputError, Ragged
import numpy as np
from pyarrow import parquet
import pyarrow as pa

FOLDER = 'encoder'
_FILE = 'encoder.json'
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class Scaling:
  """Scaling of a number: (x - mean) / std, of the logarithm if `log`.

  Attributes:
    mean: Of the training rows that have the number.
    std: Above 0.
    log: Whether sign(x) ln(1 + |x|) is taken first.
  """

  mean: float = 0.0
  std: float = 1.0
  log: bool = False

  def apply(self, values: np.ndarray) -> np.ndarray:
    """Scales float64 [n] to float32 [n]; nan, a missing number, becomes 0."""
    values = logarithm(values) if self.log else values
    scaled = (values - self.mean) / self.std
    return np.where(np.isnan(scaled), 0, scaled).astype(np.float32)


def logarithm(values: np.ndarray) -> np.ndarray:
  """Returns sign(x) ln(1 + |x|)."""
  return np.sign(values) * np.log1p(np.abs(values))


def read(
    column: Input, columns: Mapping[str, Any], location: Location
) -> tuple[np.ndarray | None, Any]:
  """Converts a raw column to numbers or identifiers.

  Returns:
    Offsets int64 [n + 1] of lists, otherwise None; and numbers, float64 with
    nan where one is missing, or identifiers as pyarrow strings.

  Raises:
    InputError: A value is of another kind.
  """
  location = location.column(column.name)
  array = raw_values.arrow(columns[column.name], location)
  if column.kind == 'float':
    return None, raw_values.floats(array, location)
  if column.kind == 'id':
    return None, raw_values.texts(array, location)
  return raw_values.lists(array, location, column.max_len)


class Encoder:
  """Encodes raw columns.

  Attributes:
    inputs: The columns that it reads.
    schema: The fields it makes, and the tasks.
  """

  def __init__(
      self,
      inputs: Sequence[Input],
      schema: Schema,
      vocabularies: Mapping[str, Vocabulary],
      scalings: Mapping[str, Scaling],
  ):
    """Takes the fitted parts.

    Args:
      inputs: The columns.
      schema: Their fields, with vocabulary sizes.
      vocabularies: Table -> vocabulary of texts.
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
    """Returns an encoder of these fields only."""
    inputs = [c for c in self.inputs if c.name in names]
    tables = {c.table for c in inputs}
    return Encoder(
        inputs,
        self.schema.select(names),
        {t: v for t, v in self._vocabularies.items() if t in tables},
        {n: s for n, s in self._scalings.items() if n in names},
    )

  def encode(
      self,
      columns: Any,
      where: str = 'columns',
      first_row: int = 0,
      noun: str = 'row',
      counts: Counts | None = None,
  ) -> Columns:
    """Encodes rows.

    Args:
      columns: Rows as `frames.read` takes them, of raw values of any type: 7,
        '7' and 7.0 are the same identifier. Lists may be texts with `|` between
        the entries. Columns besides `raw_names` are ignored.
      where: The file, for messages.
      first_row: Number of the first row, for messages.
      noun: See `Location`.
      counts: Gets the missing and unseen values of each column.

    Returns:
      Field -> int32 [n] (0: missing, 1: rare or never seen in training), a
      `Ragged` of them, or float32 [n] (0: missing).

    Raises:
      InputError: A column is missing, or a value is of another kind.
    """
    location = Location(where, first_row, noun)
    encoded: Columns = {}
    rows = frames.read(columns, self.raw_names, where)
    for c in self.inputs:
      offsets, values = read(c, rows.columns, location)
      if c.kind == 'float':
        encoded[c.name] = self._scalings[c.name].apply(values)
      else:
        values = self._vocabularies[c.table].encode(values)
        encoded[c.name] = values if offsets is None else Ragged(values, offsets)
      if counts is not None:
        counts.add(c.name, values, offsets)
    return encoded

  def values(self, table: str) -> list[str]:
    """Returns the texts with the ids 2, 3 and so on."""
    return self._vocabularies[table].values.to_pylist()

  def vocabulary(self, table: str) -> Vocabulary:
    """Returns the ids of a table's texts."""
    return self._vocabularies[table]

  def scaling(self, name: str) -> Scaling:
    """Returns the scaling of a column of numbers."""
    return self._scalings[name]

  def save(self, folder: str) -> None:
    """Writes the encoder into a folder, which is created."""
    os.makedirs(folder, exist_ok=True)
    tables = list(self._vocabularies)
    for k, table in enumerate(tables):
      column = pa.table({'value': self._vocabularies[table].values})
      parquet.write_table(column, os.path.join(folder, _vocabulary(k)))
    about = {
        'version': _VERSION,
        'inputs': [dataclasses.asdict(c) for c in self.inputs],
        'schema': self.schema.to_dict(),
        'tables': tables,
        'scalings': {
            name: dataclasses.asdict(s) for name, s in self._scalings.items()
        },
    }
    with open(os.path.join(folder, _FILE), 'w', encoding='utf-8') as f:
      json.dump(about, f, indent=2)

  @classmethod
  def load(cls, folder: str) -> 'Encoder':
    """Reads an encoder from a folder.

    Raises:
      InputError: The folder holds no encoder, or it is damaged.
    """
    path = os.path.join(folder, _FILE)
    try:
      with open(path, encoding='utf-8') as f:
        about = json.load(f)
      if about['version'] != _VERSION:
        raise ValueError(f"it is of version {about['version']}")
      vocabularies = {}
      schema = Schema.from_dict(about['schema'])
      sizes = {f.table: f.vocab_size for f in schema.inputs}
      for k, table in enumerate(about['tables']):
        path = os.path.join(folder, _vocabulary(k))
        values = parquet.read_table(path)['value'].combine_chunks()
        if len(values) + FIRST_KEPT != sizes[table]:
          raise ValueError(f'it has {len(values)} values')
        values = raw_values.arrow(values, Location(path))
        vocabularies[table] = Vocabulary(values)
      return cls(
          [Input(**c) for c in about['inputs']],
          schema,
          vocabularies,
          {name: Scaling(**s) for name, s in about['scalings'].items()},
      )
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as e:
      raise InputError(
          f'{path} cannot be read ({e}). Copy the folder encoder/ of the'
          ' prepared data there again.'
      ) from e


def _vocabulary(k: int) -> str:
  return f'vocabulary-{k:03d}.parquet'
