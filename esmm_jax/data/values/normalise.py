"""Columns of any library and Arrow arrays of any type, in few plain types."""

import contextlib
import dataclasses
import itertools
from typing import Any
import uuid

from esmm_jax.data.values.casts import cast, ERRORS
from esmm_jax.data.values.kinds import kind_of
from esmm_jax.data.values.location import Location
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Entries of one row. A longer list, of a damaged file most likely, would fill
# the memory before it is cut to `max_len`.
LONGEST_LIST = 1 << 24
_MAX_BYTES = (1 << 31) - 1  # Of the texts of one array.


def arrow(value: Any, location: Location) -> pa.Array:
  """Converts a column of any library to one arrow array of a plain type.

  Args:
    value: A list, a numpy array, a column of pandas or polars, or an arrow
      array [n]. None, nan, NaT and pandas' NA are missing values.
    location: The column's.

  Returns:
    Nulls, booleans, integers, floats, decimals, strings, date32, timestamps,
    times, durations, large lists of one of these, or something that nobody can
    read (structs, say).

  Raises:
    InputError: It is a single value, or holds objects that are no values.
  """
  if isinstance(value, pa.Array):
    return plain(value, location)
  if isinstance(value, pa.ChunkedArray):
    starts = itertools.accumulate(map(len, value.chunks), initial=0)
    pieces = [
        plain(chunk, dataclasses.replace(location, first=location.first + k))
        for chunk, k in zip(value.chunks, starts)
    ]
    return _joined(pieces, location)
  if isinstance(value, np.ndarray) and value.ndim == 2:
    value = list(value)
  if (
      isinstance(value, (str, bytes))
      or not hasattr(value, '__len__')
      or getattr(value, 'ndim', 1) != 1
  ):
    shown = repr(value)
    if len(shown) > 80 or '\n' in shown:  # A table, say.
      shown = f'of the type {type(value).__name__}'
    raise InputError(
        f'{location} is {shown}; it must be an array or a list, of one row too.'
    )
  try:
    return arrow(_converted(value), location)
  except (*ERRORS, TypeError, ValueError) as e:
    if isinstance(e, InputError):
      raise
    raise InputError(f'{location}: {str(e).splitlines()[0]}') from e


def _converted(value: Any) -> pa.Array | pa.ChunkedArray:
  is_pandas = type(value).__module__.startswith('pandas')
  if hasattr(value, '__arrow_c_stream__') and not is_pandas:  # Polars, say.
    with contextlib.suppress(*ERRORS, TypeError):
      return pa.chunked_array(value)
  with contextlib.suppress(*ERRORS, TypeError):
    array = pa.array(value, from_pandas=True)
    dtype = getattr(value, 'dtype', None)
    is_objects = getattr(dtype, 'kind', 'O') == 'O'
    if pa.types.is_timestamp(array.type) and is_objects and any(
        getattr(v, 'nanosecond', 0) for v in value
    ):  # Objects of pandas, whose nanoseconds arrow leaves out.
      return pa.array(value, pa.timestamp('ns', array.type.tz))
    return array
  if hasattr(value, '__array__'):  # Of JAX, say.
    array = np.asarray(value)
    if array.dtype.kind in 'biuf':
      return pa.array(array, from_pandas=True)
  # Texts and numbers beside each other, or numbers past 64 bits.
  missing = pa.array([_is_missing(v) for v in value])
  texts = [
      None if m else v.decode() if isinstance(v, bytes) else str(v)
      for v, m in zip(value, missing.to_pylist())
  ]
  return pa.array(texts, pa.string())


def _is_missing(value: Any) -> bool:
  """Returns whether an object is None, nan, NaT or NA."""
  if value is None:
    return True
  if isinstance(value, (str, bytes)) or np.ndim(value):
    return False
  try:
    return bool(value != value)
  except TypeError:  # pandas' NA is neither equal nor not equal.
    return True


def _joined(pieces: list[pa.Array], location: Location) -> pa.Array:
  """Joins plain arrays; those without a value take the type of the others."""
  pieces = [p for p in pieces if len(p)]
  types = [p.type for p in pieces]
  wanted = next((t for t in types if not _is_empty(t)), (types or [None])[0])
  try:
    if any(t != wanted for t in types):
      pieces = [p.cast(wanted) for p in pieces]
    return pa.concat_arrays(pieces) if pieces else pa.nulls(0)
  except ERRORS as e:
    raise InputError(f'{location}: {str(e).splitlines()[0]}') from e


def _is_empty(kind: pa.DataType) -> bool:
  """Returns whether a plain type, or that of a list's entries, is null."""
  if pa.types.is_large_list(kind):
    kind = kind.value_type
  return pa.types.is_null(kind)


def plain(
    array: pa.Array, location: Location, rows: np.ndarray | None = None
) -> pa.Array:
  """Returns the values of an array in one of the types that `arrow` names.

  Args:
    array: Entries [n]. If all are null, the type is null.
    location: The column's.
    rows: The row of each entry; None: entry k is in row k.

  Raises:
    InputError: Bytes are no UTF-8.
  """
  kind = array.type
  if array.null_count == len(array):
    return pa.nulls(len(array))
  if isinstance(array, pa.ExtensionArray):
    return plain(_stored(array), location, rows)
  if pa.types.is_dictionary(kind):
    return _taken(array.dictionary, array.indices, location, rows)
  if pa.types.is_run_end_encoded(kind):
    ends = array.run_ends.to_numpy()
    entries = array.offset + np.arange(len(array))
    runs = np.searchsorted(ends, entries, side='right')
    return _taken(array.values, pa.array(runs), location, rows)
  name = kind_of(kind)
  if name == 'text' and not pa.types.is_string(kind):
    if array.nbytes > _MAX_BYTES:
      raise InputError(
          f'{location} has more than 2 GB of texts; pass fewer rows at once.'
      )
    if pa.types.is_fixed_size_binary(kind):
      array = pc.cast(array, pa.binary())
      array = pc.replace_substring_regex(array, b'\\x00+$', b'')  # Padding.
    return cast(array, pa.string(), 'a text in UTF-8', location, rows)
  if pa.types.is_date64(kind):
    return pc.cast(array, pa.timestamp('ms'))
  if name == 'pairs':
    pair = pa.struct([('key', kind.key_type), ('value', kind.item_type)])
    return _list(pc.cast(array, pa.list_(pair)), location)
  if name == 'list':
    return _list(array, location)
  return array


def _taken(
    values: pa.Array,
    index: pa.Array,
    location: Location,
    rows: np.ndarray | None,
) -> pa.Array:
  """Returns plain values of an index; arrow takes fewer types itself."""
  if values.null_count == len(values):
    return pa.nulls(len(index))
  if kind_of(values.type) == 'other' and not isinstance(
      values, pa.ExtensionArray
  ):
    return values  # Nobody reads them.
  at = pc.fill_null(index, 0).to_numpy(zero_copy_only=False)
  # The first row of each value, for messages.
  first = np.zeros(len(values), np.int64)
  first[at[::-1]] = np.arange(len(at))[::-1] if rows is None else rows[::-1]
  return plain(plain(values, location, first).take(index), location, rows)


def _list(array: pa.Array, location: Location) -> pa.Array:
  """Returns lists of any type as large lists of plain entries; no nulls."""
  lengths = pc.fill_null(pc.list_value_length(array), 0)
  longest = pc.max(lengths).as_py() or 0
  if longest > LONGEST_LIST:
    row = pc.index(lengths, longest).as_py()
    raise InputError(
        f'{location.at(row)}: column {location.name!r} has a list of'
        f' {longest:,} entries; lists may have {LONGEST_LIST:,}.'
    )
  offsets = np.zeros(len(array) + 1, np.int64)
  np.cumsum(lengths.to_numpy(zero_copy_only=False), out=offsets[1:])
  rows = np.repeat(np.arange(len(array)), np.diff(offsets))
  entries = plain(array.flatten(), location, rows)
  return pa.LargeListArray.from_arrays(pa.array(offsets), entries)


def _stored(array: pa.ExtensionArray) -> pa.Array:
  """Returns the values of an extension type."""
  name = array.type.extension_name
  if name == 'arrow.bool8':
    return pc.not_equal(array.storage, 0)
  if name == 'arrow.uuid':
    ids = array.storage.to_pylist()
    texts = [None if v is None else str(uuid.UUID(bytes=v)) for v in ids]
    return pa.array(texts, pa.string())
  return array.storage
