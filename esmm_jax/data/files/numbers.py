"""Numbers, and labels of 0 and 1."""

from esmm_jax.data.files.casts import cast, refuse
from esmm_jax.data.files.location import Location
from esmm_jax.data.files.texts import is_text, texts
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_TRUTHS = {'0': 0, '1': 1, 'false': 0, 'true': 1}


def floats(array: pa.Array, location: Location) -> np.ndarray:
  """Converts numbers to float64 [n], nan where a value is missing.

  Raises:
    InputError: A value is no number, or infinite.
  """
  if is_text(array):
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
