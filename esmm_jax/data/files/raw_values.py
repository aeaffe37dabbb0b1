"""Raw columns of people's files, as arrow arrays, -> values of one kind.

An identifier is a text, however it was stored: 7, 7.0, '7' and ' 7' are '7', so
that a CSV file and a Parquet file of the same log give the same ids.
"""

import dataclasses
from typing import Any

from esmm_jax.data.files import row_files
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Between the entries of a list that is a text, in a CSV file say.
SEPARATOR = '|'
_ODD = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError)
_WHOLE = r'^([+-]?\d+)\.0*$'
_TRUTHS = {'0': 0, '1': 1, 'false': 0, 'true': 1}


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a column stands, for messages.

  Attributes:
    where: The file.
    first: Number of its first row, from 0.
    noun: What messages count: `row` (from 0), or `line` of a CSV file.
  """

  where: str
  first: int = 0
  noun: str = 'row'

  def at(self, row: int) -> str:
    """Where a row is, in words."""
    number = self.first + int(row)
    if self.noun == 'line':
      number = row_files.line(self.where, number)
    return f'{self.where}, {self.noun} {number}'

  def refuse(self, name: str, row: int, value: Any, must: str) -> InputError:
    return InputError(
        f'{self.at(row)}: column {name!r} is {value!r}; it must be {must}.'
    )


def unwrapped(value: Any, name: str, where: str) -> Any:
  """A column as one arrow array, or, of another library, as a list or array.

  Raises:
    InputError: It is one value.
  """
  if isinstance(value, pa.ChunkedArray):
    value = pa.concat_arrays(value.chunks or [pa.array([], value.type)])
  if isinstance(value, pa.DictionaryArray):
    value = value.dictionary_decode()
  if isinstance(value, np.ndarray) and value.ndim == 2:
    value = list(value)
  if isinstance(value, (str, bytes)) or not hasattr(value, '__len__'):
    raise InputError(
        f'{where}: column {name!r} is {value!r}; it must be an array or a list,'
        ' of one row too.'
    )
  return value


def arrow(value: Any, name: str, place: Place) -> pa.Array:
  """Any column (list, numpy or arrow array) as one arrow array."""
  value = unwrapped(value, name, place.where)
  if isinstance(value, pa.Array):
    return value
  try:
    return pa.array(value, from_pandas=True)
  except _ODD as e:
    try:  # Texts and numbers beside each other.
      texts = [None if v is None else str(v) for v in value]
      return pa.array(texts, pa.string())
    except _ODD:
      raise InputError(f'{place.where}: column {name!r}: {e}') from e


def texts(
    array: pa.Array, name: str, place: Place, rows: np.ndarray | None = None
) -> pa.Array:
  """Identifiers as texts; null where there is none.

  Args:
    array: Integers, whole floats, booleans, texts, dates: anything but lists.
    name: The column.
    place: Where it is.
    rows: The row of each entry, where it is not its place.

  Returns:
    pyarrow strings.

  Raises:
    InputError: Entries are lists, or floats that are not whole.
  """
  kind = array.type
  if pa.types.is_nested(kind):
    raise place.refuse(
        name, 0, array[0].as_py() if len(array) else None,
        'one value; name a column of lists in `ids`',
    )
  if pa.types.is_floating(kind):
    array = pc.cast(array, pa.float64())
    array = pc.if_else(pc.is_nan(array), pa.scalar(None, pa.float64()), array)
    odd = pc.or_(
        pc.not_equal(array, pc.trunc(array)),
        pc.greater_equal(pc.abs(array), 2.0**63),
    )
    odd = pc.fill_null(odd, False)
    _refuse(odd, array, 'a whole number or a text', name, place, rows)
    array = pc.cast(array, pa.int64())
  if pa.types.is_boolean(kind):
    array = pc.if_else(array, 'True', 'False')  # As pandas writes it.
  if not pa.types.is_string(array.type):
    array = _cast(array, pa.string(), 'a text', name, place, rows)
  array = pc.utf8_trim_whitespace(array)
  array = pc.replace_substring_regex(array, _WHOLE, r'\1')
  return pc.if_else(pc.equal(array, ''), pa.scalar(None, pa.string()), array)


def lists(
    array: pa.Array, name: str, place: Place, max_len: int
) -> tuple[np.ndarray, pa.Array]:
  """The first `max_len` entries of each row's list.

  Args:
    array: Lists, or texts with `|` between the entries. Null is an empty list,
      null entries are left out.
    name: The column.
    place: Where it is.
    max_len: Entries kept of a row.

  Returns:
    Offsets int64 [n + 1], and the entries as texts.

  Raises:
    InputError: It holds no lists.
  """
  kinds = pa.types
  if kinds.is_null(array.type):
    return np.zeros(len(array) + 1, np.int64), pa.array([], pa.string())
  if kinds.is_string(array.type) or kinds.is_large_string(array.type):
    array = pc.split_pattern(array, SEPARATOR)
  if not (
      kinds.is_list(array.type)
      or kinds.is_large_list(array.type)
      or kinds.is_fixed_size_list(array.type)
  ):
    raise place.refuse(
        name, 0, array[0].as_py() if len(array) else None,
        'a list, or a text with | between the entries',
    )
  lengths = pc.fill_null(pc.list_value_length(array), 0)
  lengths = lengths.to_numpy(zero_copy_only=False).astype(np.int64)
  rows = np.repeat(np.arange(len(array)), lengths)
  entries = texts(arrow(array.flatten(), name, place), name, place, rows)
  known = entries.is_valid().to_numpy(zero_copy_only=False)
  rows, entries = rows[known], entries.filter(pa.array(known))
  starts = np.searchsorted(rows, np.arange(len(array)))
  kept = np.arange(len(rows)) - starts[rows] < max_len
  offsets = np.zeros(len(array) + 1, np.int64)
  np.cumsum(np.bincount(rows[kept], minlength=len(array)), out=offsets[1:])
  return offsets, entries.filter(pa.array(kept))


def floats(array: pa.Array, name: str, place: Place) -> np.ndarray:
  """Numbers as float64 [n], nan where there is none.

  Raises:
    InputError: A value is no number, or infinite.
  """
  if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
    array = texts(array, name, place)
  array = _cast(array, pa.float64(), 'a number', name, place)
  values = pc.fill_null(array, np.nan).to_numpy(zero_copy_only=False)
  _refuse(np.isinf(values), array, 'finite', name, place)
  return values


def labels(array: pa.Array, name: str, place: Place) -> np.ndarray:
  """0 or 1 as int8 [n].

  Raises:
    InputError: A value is none of 0, 1, false and true.
  """
  found = pc.utf8_lower(texts(array, name, place))
  index = pc.index_in(found, pa.array(list(_TRUTHS)))
  missing = pc.or_(pc.is_null(index), pc.is_null(found))
  _refuse(missing, array, '0 or 1', name, place)
  values = np.array(list(_TRUTHS.values()), np.int8)
  return values[index.to_numpy(zero_copy_only=False)]


def times(array: pa.Array, name: str, place: Place) -> np.ndarray:
  """Times as float64 [n]: numbers as they are, dates as microseconds.

  Raises:
    InputError: A value is neither a number nor a date.
  """
  kind = array.type
  if pa.types.is_temporal(kind):
    array = _cast(
        array, pa.timestamp('us'), 'a number or a date', name, place
    )
    array = pc.cast(array, pa.int64())
  elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
    array = texts(array, name, place)
    known = array.drop_null()
    try:
      pc.cast(known.slice(0, 1), pa.float64())
    except _ODD:
      array = _cast(
          array, pa.timestamp('us'), 'a number or a date like 2022-04-09 or'
          ' 2022-04-09 12:30:00', name, place,
      )
      array = pc.cast(array, pa.int64())
  values = floats(array, name, place)
  _refuse(np.isnan(values), array, 'a number or a date', name, place)
  return values


def _cast(
    array: pa.Array,
    to: pa.DataType,
    must: str,
    name: str,
    place: Place,
    rows: np.ndarray | None = None,
) -> pa.Array:
  try:
    return pc.cast(array, to)
  except _ODD as e:
    for k, entry in enumerate(array):
      try:
        pc.cast(pa.array([entry.as_py()], array.type), to)
      except _ODD:
        row = k if rows is None else rows[k]
        raise place.refuse(name, row, entry.as_py(), must) from e
    raise InputError(f'{place.where}: column {name!r}: {e}') from e


def _refuse(
    bad: Any,
    array: pa.Array,
    must: str,
    name: str,
    place: Place,
    rows: np.ndarray | None = None,
) -> None:
  """Raises for the first entry that is bad."""
  if isinstance(bad, pa.Array):
    bad = bad.to_numpy(zero_copy_only=False)
  if bad.any():
    entry = int(np.flatnonzero(bad)[0])
    row = entry if rows is None else rows[entry]
    raise place.refuse(name, row, array[entry].as_py(), must)
