"""Raw columns -> ids, lists of ids, scaled numbers, as in training.

An `Encoder` is fitted on training rows (`fit`), is saved in the prepared data
as the folder `encoder/`, is copied into the folder of each run on it, and
encodes new rows there.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import json
import os
from typing import Any

from esmm_jax import system_errors
from esmm_jax.data.csv_files import dialect as dialects
from esmm_jax.data.csv_files.dialect import Dialect
from esmm_jax.data.files import frames
from esmm_jax.data.store.vocabulary import Vocabulary
from esmm_jax.data.tabular.cells import saved
from esmm_jax.data.tabular.cells.raw import read
from esmm_jax.data.tabular.inputs import Input
from esmm_jax.data.tabular.moments import logarithm
from esmm_jax.data.tabular.unseen import Counts
from esmm_jax.data.values import raw_values
from esmm_jax.data.values.raw_values import Location
from esmm_jax.json_files import parse_json
from esmm_jax.schema import FIRST_KEPT, Schema
from esmm_jax.types import Columns, InputError, Ragged
import numpy as np
from pyarrow import parquet
import pyarrow as pa

FOLDER = 'encoder'
_FILE = 'encoder.json'
_VERSION = 1
_HASHED_VALUES = 1 << 16  # At once.


@dataclasses.dataclass(frozen=True)
class Scaling:
  """Scaling of a number: (x - mean) / std, of the logarithm if `log`.

  Attributes:
    mean: Of the training rows that have the number.
    std: Of the same; 0 where all of them have one number but for rounding. The
      column is then 0 everywhere: no number says how far another one is.
    log: Whether sign(x) ln(1 + |x|) is taken first.
  """

  mean: float = 0.0
  std: float = 1.0
  log: bool = False

  def apply(self, values: np.ndarray, location: Location) -> np.ndarray:
    """Scales float64 [n] to float32 [n]; nan, a missing number, becomes 0.

    Raises:
      InputError: A number is so far from the mean that float32 overflows.
    """
    if not self.std:
      return np.zeros(len(values), np.float32)
    numbers = logarithm(values) if self.log else values
    with np.errstate(over='ignore'):
      scaled = (numbers - self.mean) / self.std
    scaled = np.where(np.isnan(scaled), 0, scaled)
    must = (
        'nearer to the training rows: scaled by their mean and standard'
        f' deviation, {self.mean:.6g} and {self.std:.6g}, it is past float32'
    )
    bad = np.abs(scaled) > raw_values.LARGEST
    raw_values.refuse(bad, pa.array(values), must, location)
    return scaled.astype(np.float32)


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
    """The columns that `encode` reads, each once."""
    return list(dict.fromkeys(n for c in self.inputs for n in c.columns))

  @property
  def names(self) -> list[str]:
    """The fields that it makes; those of buckets and crosses are no columns."""
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
      dialect: Dialect = dialects.DEFAULT,
      counts: Counts | None = None,
  ) -> Columns:
    """Encodes rows.

    Args:
      columns: Rows as `frames.read` takes them, of raw values of any type: 7,
        '7' and 7.0 are the same identifier, see `files.texts`. Lists may be
        texts, see `files.lists`. Columns besides `raw_names` are ignored.
      where: The file, for messages.
      first_row: Number of the first row, for messages.
      noun: See `Location`.
      dialect: See there.
      counts: Gets the missing and unseen values of each column.

    Returns:
      Field -> int32 [n] (0: missing, 1: rare or never seen in training), a
      `Ragged` of them, or float32 [n] (0: missing).

    Raises:
      InputError: A column is missing, or a value is of another kind.
    """
    location = Location(where, first_row, noun, dialect=dialect)
    encoded: Columns = {}
    rows = frames.read(columns, self.raw_names, where)
    for c in self.inputs:
      raw = read(c, rows.columns, location)
      if c.kind == 'float':
        values = raw.values
        encoded[c.name] = self._scalings[c.name].apply(
            values, location.column(c.name)
        )
      else:
        values = self._vocabularies[c.table].encode(raw.values)
        encoded[c.name] = values
        if raw.offsets is not None:
          weights = raw.weights
          if weights is not None:
            weights = weights.astype(np.float32)
          encoded[c.name] = Ragged(values, raw.offsets, weights)
      if counts is not None:
        counts.add(c.name, values, raw.offsets)
    return encoded

  def values(self, table: str) -> list[str]:
    """Returns the texts with the ids 2, 3 and so on."""
    return self._vocabularies[table].values.to_pylist()

  def sha256(self) -> str:
    """Hashes the vocabularies and scalings, as hexadecimal digits.

    What is hashed is their values and not a file, so that the same values are
    the same encoder, whatever version wrote it.
    """
    scalings = {n: dataclasses.asdict(s) for n, s in self._scalings.items()}
    whole = hashlib.sha256(json.dumps(scalings, sort_keys=True).encode())
    for table in sorted(self._vocabularies):
      values = self._vocabularies[table].values
      whole.update(json.dumps([table, len(values)]).encode())
      for low in range(0, len(values), _HASHED_VALUES):
        some = values[low : low + _HASHED_VALUES].to_pylist()
        texts = [text.encode() for text in some]
        whole.update(np.array([len(t) for t in texts], '<i8').tobytes())
        whole.update(b''.join(texts))
    return whole.hexdigest()

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
        'inputs': [saved.options(c) for c in self.inputs],
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
        about = parse_json(f.read())
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
        # An encoder of an earlier version may have another text of a value.
        values = raw_values.canonical(values.cast(pa.string()))
        vocabularies[table] = Vocabulary(values)
      return cls(
          [saved.of_options(c) for c in about['inputs']],
          schema,
          vocabularies,
          {name: Scaling(**s) for name, s in about['scalings'].items()},
      )
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as e:
      system_errors.refuse(path, e)
      raise InputError(
          f'{path} cannot be read ({e}). Copy the folder encoder/ of the'
          ' prepared data there again.'
      ) from e


def _vocabulary(k: int) -> str:
  return f'vocabulary-{k:03d}.parquet'
