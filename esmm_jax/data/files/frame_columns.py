"""A column of any library -> an arrow array, a numpy array, or lists.

Nulls are what the library calls null: None, NaN, NaT, pd.NA, a masked entry.
"""

from collections.abc import Mapping
from typing import Any

from esmm_jax.types import InputError, Ragged
import numpy as np
import pyarrow as pa

_ERRORS = (
    pa.ArrowException, TypeError, ValueError, OverflowError, NotImplementedError
)
# Of numpy; arrow has no type for the other ones.
_TIMES = ('s', 'ms', 'us', 'ns', 'D')
_MAX_DIMS = 2


def is_of(value: Any, package: str, *names: str) -> bool:
  """Returns whether a value is of a class of a package, or of a subclass."""
  return any(
      cls.__name__ in names and cls.__module__.split('.')[0] == package
      for cls in type(value).__mro__
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
  if isinstance(value, (pa.Array, pa.ChunkedArray, Ragged)):
    return value
  if isinstance(value, np.ndarray):
    return _numpy(value, name, where)
  try:
    if is_of(value, 'pandas', 'Series', 'Index', 'ExtensionArray'):
      return _pandas(value)
    if is_of(value, 'polars', 'Series'):
      return _polars(value)
    if hasattr(value, '__arrow_c_array__'):
      return pa.array(value)
    if hasattr(value, '__arrow_c_stream__'):
      return pa.chunked_array(value)
    if hasattr(value, '__array__') and not isinstance(value, np.generic):
      return _numpy(np.asarray(value), name, where)
  except (*_ERRORS, RuntimeError) as e:
    reason = str(e).splitlines()[0]
    raise InputError(
        f'{where}: column {name!r}, a {type(value).__name__}, cannot be read'
        f' ({reason}).'
    ) from e
  if (
      not hasattr(value, '__len__')
      or not hasattr(value, '__iter__')
      or isinstance(value, (str, bytes, set, frozenset, Mapping, np.generic))
  ):
    raise _no_column(value, name, where)
  return _entries(value)


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
  shown = repr(value)
  shown = shown if len(shown) < 60 else f'a {type(value).__name__}'
  return InputError(
      f'{where}: column {name!r} is {shown}; it must be an array or a list, of'
      f' one row too, as in {{{name!r}: [...]}}.'
  )


def _numpy(value: np.ndarray, name: str, where: str) -> Any:
  if not 1 <= value.ndim <= _MAX_DIMS or value.dtype.names:
    if value.ndim == 0:
      raise _no_column(value.item(), name, where)
    raise InputError(
        f'{where}: column {name!r} is an array of shape {value.shape}; it must'
        ' have one number a row, or a row of ids.'
    )
  if value.dtype.kind == 'c':
    raise InputError(f'{where}: column {name!r} holds complex numbers.')
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
  return pa.chunked_array(series)


def _entries(values: Any) -> pa.Array:
  """Converts entries of any kind; as texts where they are of several kinds."""
  try:
    return pa.array(values, from_pandas=True)
  except _ERRORS:
    return pa.array([_text(value) for value in values])


def _text(value: Any) -> Any:
  """Returns a value, or the values of a list, as texts; None of a null."""
  if isinstance(value, (list, tuple, np.ndarray)):
    return [_text(entry) for entry in value]
  if value is None or type(value).__name__ in ('NAType', 'NaTType'):
    return None
  if isinstance(value, bytes):
    return value.decode()
  # NaN, and numpy's NaT, are not what they are.
  return str(value) if value == value else None
