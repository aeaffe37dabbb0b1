"""A column of any library -> an arrow array, a numpy array, or lists.

Nulls are what the library calls null: None, NaN, NaT, pd.NA, a masked entry.
"""

from collections.abc import Mapping
from typing import Any

from esmm_jax.data.values import raw_values
from esmm_jax.data.values.raw_values import Location
from esmm_jax.types import InputError, Ragged
import numpy as np
import pyarrow as pa

_ERRORS = (
    pa.ArrowException, TypeError, ValueError, OverflowError, NotImplementedError
)
# Of numpy; arrow has no type for the other ones.
_TIMES = ('s', 'ms', 'us', 'ns', 'D')
_SETS = (set, frozenset)
_MAX_DIMS = 2
_MAX_SHOWN = 60


def is_of(value: Any, package: str, *names: str) -> bool:
  """Returns whether a value is of a class of a package, or of a subclass."""
  return any(
      cls.__name__ in names and cls.__module__.split('.')[0] == package
      for cls in type(value).__mro__
  )


def shown(value: Any) -> str:
  """Returns a short value as Python writes it, of others the type."""
  text = repr(value)
  if len(text) > _MAX_SHOWN or ' at 0x' in text or '\n' in text:
    return f'of type {type(value).__name__}'
  return text


def is_series(value: Any) -> bool:
  """Returns whether a value is one column of pandas or polars."""
  return is_of(value, 'pandas', 'Series', 'Index', 'ExtensionArray') or is_of(
      value, 'polars', 'Series'
  )


def column(value: Any, name: str, where: str) -> Any:
  """Converts a column to what `raw_values.arrow` takes.

  Args:
    value: A list, a Series, an array of numpy, jax, pyarrow, or `Ragged`.
    name: Of the column, for messages.
    where: Name of the rows, for messages.

  Raises:
    InputError: It is no column.
  """
  if isinstance(value, Ragged):
    return value
  if isinstance(value, (pa.Array, pa.ChunkedArray)):
    return _without_views(value)
  try:
    if isinstance(value, np.ndarray):
      return _numpy(value, name, where)
    if is_series(value):
      return _polars(value) if is_of(value, 'polars', 'Series') else (
          _pandas(value)
      )
    if hasattr(value, '__arrow_c_array__'):
      return pa.array(value)
    if hasattr(value, '__arrow_c_stream__'):
      return pa.chunked_array(value)
    if hasattr(value, '__array__') and not isinstance(value, np.generic):
      return _numpy(np.asarray(value), name, where)
    if (
        not hasattr(value, '__len__')
        or not hasattr(value, '__iter__')
        or isinstance(value, (str, bytes, *_SETS, Mapping, np.generic))
    ):
      raise _no_column(value, name, where)
    return _entries(value)
  except InputError:
    raise
  except (*_ERRORS, RuntimeError) as e:
    reason = str(e).splitlines()[0]
    raise InputError(
        f'{where}: column {name!r}, of type {type(value).__name__}, cannot be'
        f' read ({reason}).'
    ) from e


def check_indexes(columns: Mapping[str, Any], where: str) -> None:
  """Refuses Series of pandas whose rows are not numbered alike.

  pandas would put the rows of one number together, not those of one position.

  Raises:
    InputError: Names the first two columns that differ.
  """
  first = ''
  for name, value in columns.items():
    if not is_of(value, 'pandas', 'Series'):
      continue
    first = first or name
    if value is not columns[first] and not value.index.equals(
        columns[first].index
    ):
      raise InputError(
          f'{where}: columns {first!r} and {name!r} are Series with different'
          ' indexes; put them into one DataFrame, or give each as'
          ' series.to_numpy() where rows go together by position.'
      )


def _no_column(value: Any, name: str, where: str) -> InputError:
  return InputError(
      f'{where}: column {name!r} is {shown(value)}; it must be an array or a'
      f' list, of one row too, as in {{{name!r}: [...]}}.'
  )


def _numpy(value: np.ndarray, name: str, where: str) -> Any:
  if not 1 <= value.ndim <= _MAX_DIMS or value.dtype.names:
    if value.ndim == 0:
      raise _no_column(value.item(), name, where)
    raise InputError(
        f'{where}: column {name!r} is an array of shape {value.shape}; it must'
        ' have one value a row, or for a column of lists one row of values.'
    )
  if value.dtype.kind == 'c':
    raise InputError(
        f'{where}: column {name!r} holds complex numbers; it must hold'
        ' real ones.'
    )
  if value.dtype.kind == 'V' or value.dtype == np.longdouble:  # bfloat16, say.
    value = value.astype(np.float64)
  if value.dtype.kind in 'mM' and np.datetime_data(value.dtype) not in [
      (unit, 1) for unit in _TIMES
  ]:
    value = value.astype(f'{value.dtype.kind}8[s]')
  if isinstance(value, np.ma.MaskedArray):
    return _entries(value.tolist()) if value.ndim > 1 else pa.array(value)
  if value.ndim > 1:
    return _entries(list(value))
  return _entries(value) if value.dtype.kind == 'O' else value


def _pandas(series: Any) -> Any:
  kind = type(series.dtype).__name__
  if series.dtype == object:
    return _entries(series.to_numpy())
  if kind == 'SparseDtype':
    series = series.astype(series.dtype.subtype)
  if kind not in ('PeriodDtype', 'IntervalDtype'):
    try:
      return pa.array(series, from_pandas=True)
    except _ERRORS:
      pass
  absent, values = series.isna(), series.astype(object)
  texts = kind in ('PeriodDtype', 'IntervalDtype')
  return _entries(
      [
          None if a else str(v) if texts else v
          for a, v in zip(absent, values, strict=True)
      ]
  )


def _polars(series: Any) -> Any:
  if str(series.dtype) in ('Int128', 'UInt128'):  # Not of arrow.
    series = series.cast(type(series)('', ['']).dtype)
  return _without_views(pa.chunked_array(series))


def _without_views(array: pa.Array | pa.ChunkedArray) -> Any:
  """Replaces a dictionary of text views, which arrow cannot decode."""
  kind = array.type
  if not pa.types.is_dictionary(kind) or not (
      pa.types.is_string_view(kind.value_type)
  ):
    return array
  chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
  texts = pa.large_string()
  return pa.chunked_array(
      [
          pa.DictionaryArray.from_arrays(c.indices, c.dictionary.cast(texts))
          for c in chunks
      ],
      pa.dictionary(kind.index_type, texts),
  )


def _entries(values: Any) -> pa.Array:
  """Converts entries of any kind; as texts where they are of several kinds.

  Raises:
    TypeError: Some are no values, or lists stand beside single values.
  """
  if any(isinstance(value, _SETS) for value in values):
    # In an order that is the same in every process.
    values = [
        sorted(v, key=str) if isinstance(v, _SETS) else v for v in values
    ]
  try:
    array = pa.array(values, from_pandas=True)
    if pa.types.is_timestamp(array.type):  # It may lack nanoseconds.
      return raw_values.arrow(values, Location('columns'))
    return array
  except _ERRORS:
    texts = []
  for row, value in enumerate(values):
    try:
      texts.append(_text(value))
    except _ERRORS as e:
      raise TypeError(f'row {row}: {e}') from e
  is_list = {isinstance(text, list) for text in texts if text is not None}
  if len(is_list) > 1:
    raise TypeError('it has lists beside single values; write all as lists')
  return pa.array(texts)


def _text(value: Any) -> Any:
  """Returns a value, or the values of a list, as texts; None of a null."""
  if isinstance(value, (list, tuple, np.ndarray)):
    return [_text(entry) for entry in value]
  if value is None or type(value).__name__ in ('NAType', 'NaTType'):
    return None
  if isinstance(value, bytes):
    return value.decode()
  has_text = type(value).__str__ is not object.__str__
  has_text |= type(value).__repr__ is not object.__repr__
  if isinstance(value, (Mapping, *_SETS)) or not has_text:
    raise TypeError(f'an entry of type {type(value).__name__} is no value')
  # NaN, and numpy's NaT, are not what they are.
  return str(value) if value == value else None
