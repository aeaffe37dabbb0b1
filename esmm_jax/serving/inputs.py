"""Columns as people have them -> ids and numbers, checked.

For data whose fields are ids already. Where a run has an encoder (its own data
were raw columns), that makes the ids; see `predictor`.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from esmm_jax.data.files import row_files
from esmm_jax.data.files.raw_values import SEPARATOR, unwrapped
from esmm_jax.data.store.checks import check_columns
from esmm_jax.schema import Field, MISSING, Schema
from esmm_jax.types import Columns, InputError, Ragged
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_WEIGHT = '.weight'
_ODD = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError)


def needed(schema: Schema) -> list[str]:
  """The columns that `encoded` reads."""
  names = []
  for f in schema.fields:
    names.append(f.name)
    if f.weighted:
      names.append(f.name + _WEIGHT)
  return names


def encoded(
    schema: Schema,
    columns: Mapping[str, Any],
    where: str = 'columns',
    first_row: int = 0,
) -> Columns:
  """The columns of the schema's fields, by name, as arrays.

  Args:
    schema: The fields.
    columns: Name -> array, list or pyarrow array [n]: ids, numbers or lists of
      ids, the latter also as text with `|` between the entries. Weights stand
      in `NAME.weight`. An id that is null is missing (id 0), a list that is
      null is empty. Other columns are not looked at.
    where: What to call the place in messages.
    first_row: Number of the first row, for messages.

  Returns:
    Field -> int64 or float32 [n], or `Ragged` of n rows.

  Raises:
    InputError: A column is missing or of another length, or a value is of
      another kind or outside its vocabulary; names column and row.
  """
  require(_needed_here(schema, columns), columns, where)
  made: Columns = {}
  for f in schema.fields:
    at = _At(where, first_row, f.name)
    value = columns[f.name]
    if f.kind == 'float':
      made[f.name] = _floats(value, at)
    elif f.kind == 'id':
      made[f.name] = _ids(value, at)
    else:
      made[f.name] = _lists(value, f, columns, at)
    if f.kind == 'id' and f.weighted:
      name = f.name + _WEIGHT
      made[name] = _floats(columns[name], at.named(name))
  lengths = {name: len(column) for name, column in made.items()}
  if len(set(lengths.values())) > 1:
    raise InputError(f'{where}: columns differ in length: {lengths}.')
  check_columns(_plain(schema), made, where, first_row)
  return made


def _needed_here(schema: Schema, columns: Mapping[str, Any]) -> list[str]:
  """`needed`, without the weights of lists that have their own."""
  own = [n + _WEIGHT for n, c in columns.items() if isinstance(c, Ragged)]
  return [n for n in needed(schema) if n not in own]


def require(
    names: list[str], columns: Mapping[str, Any] | list[str], where: str
) -> None:
  """Raises InputError that names a column which is not there, or twice."""
  row_files.require(names, columns, where, ', which the model reads')


def _plain(schema: Schema) -> Schema:
  """The fields as columns of the rows themselves, and no labels."""
  fields = tuple(dataclasses.replace(f, by_group=False) for f in schema.fields)
  return dataclasses.replace(schema, fields=fields, tasks=())


@dataclasses.dataclass(frozen=True)
class _At:
  """Where a value stands, for messages."""

  where: str
  first_row: int
  name: str

  def named(self, name: str) -> '_At':
    return dataclasses.replace(self, name=name)

  def refuse(self, row: int, value: Any, must: str) -> InputError:
    return InputError(
        f'{self.where}, row {self.first_row + row}: column {self.name!r} is'
        f' {value!r}; it must be {must}.'
    )


def _arrow(value: Any, at: _At) -> pa.Array:
  """Any column as an arrow array."""
  value = unwrapped(value, at.name, at.where)
  if isinstance(value, pa.Array):
    return value
  try:
    return pa.array(value, from_pandas=True)
  except _ODD as e:
    kinds = {}
    for row, entry in enumerate(value):
      kinds.setdefault(isinstance(entry, (int, float, np.number)), row)
    row = kinds.get(False, 0)
    raise at.refuse(row, value[row], 'of the kind of the others') from e


def _cast(array: pa.Array, to: pa.DataType, must: str, at: _At, rows=None):
  """Casts; `rows` says the row of each entry, where it is not its place."""
  try:
    return pc.cast(array, to)
  except _ODD as e:
    for k, entry in enumerate(array.to_pylist()):
      try:
        pc.cast(pa.array([entry], array.type), to)
      except _ODD:
        row = k if rows is None else int(rows[k])
        raise at.refuse(row, entry, must) from e
    raise InputError(f'{at.where}: column {at.name!r}: {e}') from e


def _is_text(array: pa.Array) -> bool:
  return pa.types.is_string(array.type) or pa.types.is_large_string(array.type)


def _floats(value: Any, at: _At) -> np.ndarray:
  if isinstance(value, np.ndarray) and value.ndim == 1:
    if value.dtype.kind in 'fiub':
      return value.astype(np.float32, copy=False)
  array = _cast(_arrow(value, at), pa.float64(), 'a number', at)
  if array.null_count:
    row = int(np.flatnonzero(array.is_null())[0])
    raise at.refuse(row, None, 'a number; fill missing ones')
  return array.to_numpy(zero_copy_only=False).astype(np.float32)


def _ids(value: Any, at: _At, rows: np.ndarray | None = None) -> np.ndarray:
  if isinstance(value, np.ndarray) and value.ndim == 1:
    if value.dtype.kind in 'iu':
      return value
  array = _arrow(value, at)
  if pa.types.is_boolean(array.type):
    array = pc.cast(array, pa.int8())
  array = _cast(array, pa.int64(), 'an id, a whole number', at, rows)
  return pc.fill_null(array, MISSING).to_numpy(zero_copy_only=False)


def _lists(
    value: Any, field: Field, columns: Mapping[str, Any], at: _At
) -> Ragged:
  """Lists of ids, with their weights."""
  if isinstance(value, Ragged):
    return value
  offsets, entries = _flat(_arrow(value, at), at)
  rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
  values = _ids(entries, at, rows)
  if not field.weighted:
    return Ragged(values, offsets)
  at = at.named(field.name + _WEIGHT)
  ends, entries = _flat(_arrow(columns[at.name], at), at)
  weights = _cast(entries, pa.float64(), 'numbers', at, rows)
  if not np.array_equal(ends, offsets) or weights.null_count:
    raise InputError(
        f'{at.where}: the lists of {at.name!r} and {field.name!r} differ in'
        ' length, or a weight is null; every entry has one weight.'
    )
  weights = weights.to_numpy(zero_copy_only=False).astype(np.float32)
  return Ragged(values, offsets, weights)


def _flat(array: pa.Array, at: _At) -> tuple[np.ndarray, pa.Array]:
  """Offsets int64 [n + 1] and entries of lists, or of texts with SEPARATOR."""
  if pa.types.is_null(array.type):
    return np.zeros(len(array) + 1, np.int64), pa.array([], pa.int64())
  if _is_text(array):
    empty = pc.equal(pc.utf8_trim_whitespace(array), '')
    array = pc.split_pattern(
        pc.if_else(empty, pa.scalar(None, array.type), array), SEPARATOR
    )
  kinds = pa.types
  if not (
      kinds.is_list(array.type)
      or kinds.is_large_list(array.type)
      or kinds.is_fixed_size_list(array.type)
  ):
    raise at.refuse(
        0, array[0].as_py() if len(array) else None, 'a list of numbers'
    )
  lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(
      zero_copy_only=False
  )
  offsets = np.zeros(len(array) + 1, np.int64)
  np.cumsum(lengths, out=offsets[1:])
  return offsets, array.flatten()
