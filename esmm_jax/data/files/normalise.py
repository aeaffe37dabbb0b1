"""Columns of any library as Arrow arrays."""

from typing import Any

from esmm_jax.data.files.casts import ERRORS
from esmm_jax.data.files.location import Location
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa


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
  except ERRORS as e:
    try:  # Texts and numbers beside each other.
      as_texts = [None if v is None else str(v) for v in value]
      return pa.array(as_texts, pa.string())
    except ERRORS:
      raise InputError(f'{location}: {e}') from e
