"""Rows as people have them -> the inputs of an exported model.

    sys.path.insert(0, 'exported')
    import encode
    rows = encode.load()
    features = rows.encode([{'user': 7, 'item': 9}])

Raw columns are encoded as the run did. The export of a run whose data has ids
already has no encoder: it takes ids. Needs numpy and pyarrow.
"""

import os
from typing import Any

from esmm_jax.data.files import frames
from esmm_jax.data.tabular.encoder import Encoder, FOLDER
from esmm_jax.data.values.raw_values import Location
from esmm_jax.json_files import read_json
from esmm_jax.schema import Schema
from esmm_jax.serving import inputs, model_inputs
from esmm_jax.types import Columns, InputError
import numpy as np

FILE = 'kit.json'
NAME = 'esmm_kit'


class Rows:
  """Encodes rows as the run did.

  Attributes:
    schema: The fields of the model.
    encoder: Of raw columns; None where the data has ids already.
    names: The columns that `encode` reads.
  """

  def __init__(self, schema: Schema, encoder: Encoder | None):
    """Takes the parts; `load` reads them."""
    self.schema, self.encoder = schema, encoder
    self.names = (
        list(encoder.raw_names)
        if encoder is not None
        else inputs.needed(schema)
    )

  def encode(
      self, columns: Any, where: str = 'columns'
  ) -> dict[str, np.ndarray]:
    """Encodes rows.

    Args:
      columns: Rows with the columns `names`: a dict of lists or arrays, a
        pyarrow Table, a DataFrame, a list of dicts.
      where: Name of the rows in messages.

    Returns:
      Input of the exported program -> array [n, ...].

    Raises:
      InputError: A column is missing, or a value is not possible.
    """
    if self.encoder is not None:
      rows = frames.read(columns, self.names, where, inputs.READS).columns
      columns = self._encoded(self.encoder, rows, Location(where))
    encoded = inputs.encoded(self.schema, columns, where)
    return model_inputs.features(self.schema, encoded)

  def _encoded(
      self, encoder: Encoder, rows: dict[str, Any], at: Location
  ) -> Columns:
    """Returns ids and numbers of raw columns."""
    return encoder.encode(rows, at.where)


def load(folder: str) -> Rows:
  """Reads what encodes the rows of an export.

  Args:
    folder: Of the export. Its files are not compared with their checksums;
      `program.Program` does that.

  Raises:
    InputError: It has none, or the encoder is damaged.
  """
  schema, encoder, _ = parts(folder)
  return Rows(schema, encoder)


def parts(folder: str) -> tuple[Schema, Encoder | None, dict[str, Any]]:
  """Reads the schema, the encoder of its columns, and the content of kit.json.

  Raises:
    InputError: See `load`.
  """
  path = os.path.join(folder, NAME, FILE)
  about = read_json(path, 'Export the run again.')
  if about is None:
    raise InputError(f'{folder} has no {NAME}/{FILE}. Export the run again.')
  schema = Schema.from_dict(about['schema'])
  encoder = os.path.join(folder, FOLDER)
  if not os.path.isdir(encoder):
    return schema, None, about
  whole = Encoder.load(encoder)
  names = [f.name for f in schema.fields if f.name in whole.names]
  return schema, whole.select(names), about
