"""Times of events."""

from esmm_jax.data.files.casts import cast, ERRORS, refuse
from esmm_jax.data.files.location import Location
from esmm_jax.data.files.numbers import floats
from esmm_jax.data.files.texts import is_text, texts
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def times(array: pa.Array, location: Location) -> np.ndarray:
  """Converts times to float64 [n]: numbers as they are, dates to microseconds.

  Raises:
    InputError: A value is neither a number nor a date.
  """
  must = 'a number or a date'
  if pa.types.is_temporal(array.type):
    array = cast(array, pa.timestamp('us'), must, location)
    array = pc.cast(array, pa.int64())
  elif is_text(array):
    array = texts(array, location)
    # The first value decides for the column: 20220409 is a number, not a date.
    try:
      pc.cast(array.drop_null().slice(0, 1), pa.float64())
    except ERRORS:
      forms = f'{must} like 2022-04-09 or 2022-04-09 12:30:00'
      array = cast(array, pa.timestamp('us'), forms, location)
      array = pc.cast(array, pa.int64())
  values = floats(array, location)
  refuse(np.isnan(values), array, must, location)
  return values
