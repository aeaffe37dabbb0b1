"""Columns as people have them -> ids and numbers, checked.

For data whose fields are ids already. A run on raw columns has an encoder,
which makes the ids instead; see `predictor`.
"""

from collections.abc import Mapping
import dataclasses
import functools
from typing import Any

from esmm_jax.data.csv_files import dialect as dialects
from esmm_jax.data.csv_files.dialect import Dialect
from esmm_jax.data.files import frames
from esmm_jax.data.store.checks import check_columns
from esmm_jax.data.values import raw_values
from esmm_jax.data.values.raw_values import Location
from esmm_jax.schema import Field, MISSING, Schema
from esmm_jax.types import Columns, InputError, Ragged
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Ends the message of a column that is missing.
READS = ', which the model reads'
_WEIGHT = '.weight'


def needed(schema: Schema) -> list[str]:
  """Returns the columns that `encoded` reads."""
  names = []
  for f in schema.fields:
    names.append(f.name)
    if f.weighted:
      names.append(f.name + _WEIGHT)
  return names


def encoded(
    schema: Schema,
    columns: Any,
    where: str = 'columns',
    first_row: int = 0,
    noun: str = 'row',
    dialect: Dialect = dialects.DEFAULT,
) -> Columns:
  """Converts the columns of the schema's fields to arrays.

  Args:
    schema: The fields.
    columns: Rows as `frames.read` takes them: ids, numbers or lists of ids, the
      latter also as text with `|` between the entries. Weights are in
      `NAME.weight`. An id that is null is missing (id 0), a list that is null
      is empty. Other columns are ignored.
    where: The file, for messages.
    first_row: Number of the first row, for messages.
    noun: See `Location`.
    dialect: See there.

  Returns:
    Field -> int64 or float32 [n], or `Ragged` of n rows.

  Raises:
    InputError: A column is missing or of another length, or a value is of
      another kind or outside its vocabulary; names column and row.
  """
  ragged = []  # A `Ragged` holds its weights itself.
  if isinstance(columns, Mapping):
    ragged = [n + _WEIGHT for n, c in columns.items() if isinstance(c, Ragged)]
  names = [name for name in needed(schema) if name not in ragged]
  columns = frames.read(columns, names, where, READS).columns
  rows = Location(where, first_row, noun, dialect=dialect)
  arrays: Columns = {}
  for f in schema.fields:
    weight = f.name + _WEIGHT
    if f.kind == 'float':
      arrays[f.name] = _floats(columns, rows.column(f.name))
    elif f.kind == 'id':
      arrays[f.name] = _ids(columns[f.name], rows.column(f.name))
    else:
      arrays[f.name] = _lists(columns, f, rows)
    if f.kind == 'id' and f.weighted:
      arrays[weight] = _floats(columns, rows.column(weight))
  check_columns(_plain(schema), arrays, where, first_row)
  return arrays


@functools.lru_cache(maxsize=8)
def _plain(schema: Schema) -> Schema:
  """The fields as columns of the rows themselves; no labels, no weight."""
  fields = tuple(dataclasses.replace(f, by_group=False) for f in schema.fields)
  return dataclasses.replace(schema, fields=fields, tasks=(), weight='')


def _floats(columns: Mapping[str, Any], location: Location) -> np.ndarray:
  value = columns[location.name]
  if isinstance(value, np.ndarray) and value.ndim == 1:
    if value.dtype == np.float32:
      return value
  array = raw_values.arrow(value, location)
  values = raw_values.floats(array, location)
  must = 'a number; fill missing ones'
  raw_values.refuse(np.isnan(values), array, must, location)
  return values.astype(np.float32)


def _ids(
    value: Any, location: Location, rows: np.ndarray | None = None
) -> np.ndarray:
  if isinstance(value, np.ndarray) and value.ndim == 1:
    if value.dtype.kind in 'iu':
      return value
  array = raw_values.arrow(value, location)
  array = raw_values.whole(array, 'an id, a whole number', location, rows)
  return pc.fill_null(array, MISSING).to_numpy(zero_copy_only=False)


def _lists(
    columns: Mapping[str, Any], field: Field, location: Location
) -> Ragged:
  """Converts lists of ids, with their weights."""
  if isinstance(columns[field.name], Ragged):
    return columns[field.name]
  at = location.column(field.name)
  offsets, entries, rows = _flatten(columns, at)
  values = _ids(entries, at, rows)
  if not field.weighted:
    return Ragged(values, offsets)
  at = location.column(field.name + _WEIGHT)
  ends, entries, rows = _flatten(columns, at)
  weights = raw_values.floats(entries, at, rows)
  if not np.array_equal(ends, offsets) or np.isnan(weights).any():
    raise InputError(
        f'{at.where}: the lists of {at.name!r} and {field.name!r} differ in'
        ' length, or a weight is null; every entry has one weight.'
    )
  return Ragged(values, offsets, weights.astype(np.float32))


def _flatten(
    columns: Mapping[str, Any], location: Location
) -> tuple[np.ndarray, pa.Array, np.ndarray]:
  """Returns offsets int64 [n + 1], entries, and the row of each entry."""
  array = raw_values.arrow(columns[location.name], location)
  offsets, entries = raw_values.flatten(array, location)
  rows = np.repeat(np.arange(len(array)), np.diff(offsets))
  return offsets, entries, rows
