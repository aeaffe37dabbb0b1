"""Converts raw columns, as Arrow arrays, to values of one kind.

An identifier is a text, however it was stored: 7, 7.0 and ' 7' are '7', so that
a CSV file and a Parquet file of the same log give the same ids.
"""

import dataclasses
from typing import Any

from esmm_jax.data.files import csv_rows, dialect as dialects
from esmm_jax.data.files.dialect import Dialect
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Between the entries of a list that is a text, as in a CSV file.
SEPARATOR = '|'
_ERRORS = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError)
_WHOLE = r'^([+-]?\d+)\.0*$'
_TRUTHS = {'0': 0, '1': 1, 'false': 0, 'true': 1}


@dataclasses.dataclass(frozen=True)
class Location:
  """The position of some rows of a file, or of a column of them, for messages.

  Attributes:
    where: The file.
    first: Number of the first of the rows, from 0.
    noun: What messages count: `row` (from 0), or `line` of a CSV file.
    name: The column.
    dialect: The form of a CSV file.
  """

  where: str
  first: int = 0
  noun: str = 'row'
  name: str = ''
  dialect: Dialect = dialects.DEFAULT

  def column(self, name: str) -> 'Location':
    """Returns the location of a column of the rows."""
    return dataclasses.replace(self, name=name)

  def __str__(self) -> str:
    return f'{self.where}: column {self.name!r}'

  def at(self, row: int) -> str:
    """Returns the file and the number of a row, in words."""
    number = self.first + int(row)
    if self.noun == 'line':
      number = csv_rows.line_of(self.where, number, self.dialect)
    return f'{self.where}, {self.noun} {number}'

  def refusal(self, row: int, value: Any, must: str) -> InputError:
    """Makes the error of a value; `must` ends 'it must be'."""
    text = f'column {self.name!r} is {value!r}; it must be {must}.'
    return InputError(f'{self.at(row)}: {text}')


def arrow(value: Any, location: Location) -> pa.Array:
  """Converts a column of any library to one arrow array.

  Args:
    value: A list, a numpy array or an arrow array [n].
    location: The column's.

  Raises:
    InputError: It is a single value, or holds objects that are no values.
  """
  if isinstance(value, pa.ChunkedArray):
    value = pa.concat_arrays(value.chunks or [pa.array([], value.type)])
  if isinstance(value, pa.DictionaryArray):
    value = value.dictionary_decode()
  if isinstance(value, pa.Array):
    return value
  if isinstance(value, np.ndarray) and value.ndim == 2:
    value = list(value)
  if isinstance(value, (str, bytes)) or not hasattr(value, '__len__'):
    raise InputError(
        f'{location} is {value!r}; it must be an array or a list, of one row'
        ' too.'
    )
  try:
    return pa.array(value, from_pandas=True)
  except _ERRORS as e:
    try:  # Texts and numbers beside each other.
      as_texts = [None if v is None else str(v) for v in value]
      return pa.array(as_texts, pa.string())
    except _ERRORS:
      raise InputError(f'{location}: {e}') from e


def texts(
    array: pa.Array, location: Location, rows: np.ndarray | None = None
) -> pa.Array:
  """Converts identifiers to pyarrow strings; null where a value is missing.

  Args:
    array: Integers, whole floats, booleans, texts, dates: anything but lists.
    location: The column's.
    rows: The row of each entry; None: entry k is in row k.

  Raises:
    InputError: Entries are lists, or floats that are not whole.
  """
  kind = array.type
  if pa.types.is_nested(kind):
    must = 'one value; name a column of lists in `ids`'
    raise location.refusal(0, _first(array), must)
  if pa.types.is_floating(kind):
    array = pc.cast(array, pa.float64())
    array = pc.if_else(pc.is_nan(array), pa.scalar(None, pa.float64()), array)
    odd = pc.or_(
        pc.not_equal(array, pc.trunc(array)),
        pc.greater_equal(pc.abs(array), 2.0**63),
    )
    odd = pc.fill_null(odd, False)
    refuse(odd, array, 'a whole number or a text', location, rows)
    array = pc.cast(array, pa.int64())
  if pa.types.is_boolean(kind):
    array = pc.if_else(array, 'True', 'False')  # As pandas writes it.
  if not pa.types.is_string(array.type):
    array = cast(array, pa.string(), 'a text', location, rows)
  array = pc.utf8_trim_whitespace(array)
  array = pc.replace_substring_regex(array, _WHOLE, r'\1')
  return pc.if_else(pc.equal(array, ''), pa.scalar(None, pa.string()), array)


def flatten(
    array: pa.Array, location: Location
) -> tuple[np.ndarray, pa.Array]:
  """Splits lists into offsets and entries.

  Args:
    array: Lists, or texts with `|` between the entries; null and '' are empty
      lists.
    location: The column's.

  Returns:
    Offsets int64 [n + 1], and the entries of any type, nulls among them.

  Raises:
    InputError: It holds no lists.
  """
  kinds = pa.types
  if kinds.is_null(array.type):
    return np.zeros(len(array) + 1, np.int64), pa.nulls(0)
  if _is_text(array):
    blank = pc.equal(pc.utf8_trim_whitespace(array), '')
    array = pc.if_else(blank, pa.scalar(None, array.type), array)
    array = pc.split_pattern(array, SEPARATOR)
  if not (
      kinds.is_list(array.type)
      or kinds.is_large_list(array.type)
      or kinds.is_fixed_size_list(array.type)
  ):
    must = 'a list, or a text with | between the entries'
    raise location.refusal(0, _first(array), must)
  lengths = pc.fill_null(pc.list_value_length(array), 0)
  offsets = np.zeros(len(array) + 1, np.int64)
  np.cumsum(lengths.to_numpy(zero_copy_only=False), out=offsets[1:])
  return offsets, arrow(array.flatten(), location)


def lists(
    array: pa.Array, location: Location, max_len: int
) -> tuple[np.ndarray, pa.Array]:
  """Returns the first `max_len` entries of each row's list of identifiers.

  Args:
    array: See `flatten`. Null entries are left out, and do not count.
    location: The column's.
    max_len: Entries kept of a row.

  Returns:
    Offsets int64 [n + 1], and the entries as texts.

  Raises:
    InputError: It holds no lists.
  """
  offsets, entries = flatten(array, location)
  rows = np.repeat(np.arange(len(array)), np.diff(offsets))
  entries = texts(entries, location, rows)
  valid = entries.is_valid().to_numpy(zero_copy_only=False)
  rows, entries = rows[valid], entries.filter(pa.array(valid))
  starts = np.searchsorted(rows, np.arange(len(array)))
  is_kept = np.arange(len(rows)) - starts[rows] < max_len
  counts = np.bincount(rows[is_kept], minlength=len(array))
  np.cumsum(counts, out=offsets[1:])
  return offsets, entries.filter(pa.array(is_kept))


def floats(array: pa.Array, location: Location) -> np.ndarray:
  """Converts numbers to float64 [n], nan where a value is missing.

  Raises:
    InputError: A value is no number, or infinite.
  """
  if _is_text(array):
    array = texts(array, location)
  array = cast(array, pa.float64(), 'a number', location)
  values = pc.fill_null(array, np.nan).to_numpy(zero_copy_only=False)
  refuse(np.isinf(values), array, 'finite', location)
  return values


def labels(array: pa.Array, location: Location) -> np.ndarray:
  """Converts labels to 0 or 1, int8 [n].

  Raises:
    InputError: A value is none of 0, 1, false and true.
  """
  words = pc.utf8_lower(texts(array, location))
  index = pc.index_in(words, pa.array(list(_TRUTHS)))
  bad = pc.or_(pc.is_null(index), pc.is_null(words))
  refuse(bad, array, '0 or 1', location)
  values = np.array(list(_TRUTHS.values()), np.int8)
  return values[index.to_numpy(zero_copy_only=False)]


def times(array: pa.Array, location: Location) -> np.ndarray:
  """Converts times to float64 [n]: numbers as they are, dates to microseconds.

  Raises:
    InputError: A value is neither a number nor a date.
  """
  must = 'a number or a date'
  if pa.types.is_temporal(array.type):
    array = cast(array, pa.timestamp('us'), must, location)
    array = pc.cast(array, pa.int64())
  elif _is_text(array):
    array = texts(array, location)
    # The first value decides for the column: 20220409 is a number, not a date.
    try:
      pc.cast(array.drop_null().slice(0, 1), pa.float64())
    except _ERRORS:
      forms = f'{must} like 2022-04-09 or 2022-04-09 12:30:00'
      array = cast(array, pa.timestamp('us'), forms, location)
      array = pc.cast(array, pa.int64())
  values = floats(array, location)
  refuse(np.isnan(values), array, must, location)
  return values


def cast(
    array: pa.Array,
    to: pa.DataType,
    must: str,
    location: Location,
    rows: np.ndarray | None = None,
) -> pa.Array:
  """Casts an array.

  Args:
    array: Entries [n].
    to: The type wanted.
    must: In words, for the message.
    location: The column's.
    rows: The row of each entry; None: entry k is in row k.

  Raises:
    InputError: Names the first entry that cannot be cast.
  """
  try:
    return pc.cast(array, to)
  except _ERRORS as e:
    # arrow does not name the entry that failed: cast them one by one.
    for k, entry in enumerate(array):
      try:
        pc.cast(pa.array([entry.as_py()], array.type), to)
      except _ERRORS:
        row = k if rows is None else rows[k]
        raise location.refusal(row, entry.as_py(), must) from e
    raise InputError(f'{location}: {e}') from e


def refuse(
    bad: np.ndarray | pa.Array,
    array: pa.Array,
    must: str,
    location: Location,
    rows: np.ndarray | None = None,
) -> None:
  """Raises for the first entry that is bad; see `cast` for the arguments."""
  if isinstance(bad, pa.Array):
    bad = bad.to_numpy(zero_copy_only=False)
  if bad.any():
    k = int(np.flatnonzero(bad)[0])
    row = k if rows is None else rows[k]
    raise location.refusal(row, array[k].as_py(), must)


def _is_text(array: pa.Array) -> bool:
  return pa.types.is_string(array.type) or pa.types.is_large_string(array.type)


def _first(array: pa.Array) -> Any:
  return array[0].as_py() if len(array) else None
