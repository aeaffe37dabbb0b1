"""Numbers, and labels of 0 and 1."""

from esmm_jax.data.values.casts import cast, ERRORS, refuse
from esmm_jax.data.values.kinds import require
from esmm_jax.data.values.location import Location
from esmm_jax.data.values.normalise import plain
from esmm_jax.data.values.texts import canonical, texts, trimmed
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# The largest number that the model's float32 holds, as people write it.
LARGEST = 3.4028235e38
_POWERS = 10.0 ** np.arange(23)
_TRUTHS = {'0': 0, '1': 1, 'false': 0, 'true': 1}


def floats(
    array: pa.Array, location: Location, rows: np.ndarray | None = None
) -> np.ndarray:
  """Converts numbers to float64 [n], nan where a value is missing.

  Args:
    array: Anything that the table of `kinds` calls a number.
    location: The column's.
    rows: The row of each entry; None: entry k is in row k.

  Raises:
    InputError: A value is no number, infinite, or outside float32.
  """
  read = _float64(plain(array, location, rows), location, rows)
  values = pc.fill_null(read, np.nan).to_numpy(zero_copy_only=False)
  high = np.fmax.reduce(values, initial=-LARGEST)  # Passes nan by.
  low = np.fmin.reduce(values, initial=LARGEST)
  if high > LARGEST or low < -LARGEST:
    refuse(np.isinf(values), read, 'finite', location, rows)
    must = (
        'at most 3.4028235e38 in size (float32); if it stands for a missing'
        ' value, make it null'
    )
    refuse(np.abs(values) > LARGEST, array, must, location, rows)
  return values


def _float64(
    array: pa.Array, location: Location, rows: np.ndarray | None
) -> pa.Array:
  must = 'a number'
  kind = require('number', array, must, location, rows)
  if kind == 'integer':
    return pc.cast(array, pa.float64(), safe=False)  # Rounding is no loss here.
  if pa.types.is_float32(array.type) or pa.types.is_float16(array.type):
    numbers = _shortest(array.to_numpy(zero_copy_only=False))
    return pa.array(numbers, mask=array.is_null().to_numpy(False))
  if kind == 'decimal':  # A cast to floats would not round it right.
    array = pc.cast(array, pa.string())
  if kind == 'text':
    array = trimmed(array, location, rows)
    try:
      return pc.cast(array, pa.float64())
    except ERRORS:
      truths = {'True': '1', 'False': '0'}
      index = pc.index_in(canonical(array), pa.array(list(truths)))
      digits = pa.array(list(truths.values())).take(index)
      array = pc.coalesce(digits, array)
      if pc.any(pc.match_substring(array, ',')).as_py():
        must = 'a number like 1234.5, with a point and without a comma'
  return cast(array, pa.float64(), must, location, rows)


def _shortest(values: np.ndarray) -> np.ndarray:
  """Converts float32 or float16 to the float64 of its shortest decimal.

  That is what a CSV file holds: .1 of a float32 is .1, not .100000001.
  """
  if values.dtype == np.float16:
    distinct, index = np.unique(values, return_inverse=True)
    return np.array([float(str(v)) for v in distinct], np.float64)[index]
  numbers = values.astype(np.float64)
  size = np.abs(numbers)
  finite = np.isfinite(size)
  left = np.flatnonzero(
      finite & ((size != np.trunc(size)) | (size >= 1 << 24))
  )
  # Powers of ten are exact up to 1e22, and so is one step with them.
  near = (size[left] > 1e-13) & (size[left] < 1e22)
  far, left = left[~near], left[near]
  numbers[far] = [float(str(v)) for v in values[far]]
  wanted, exact = values[left], numbers[left]
  places = 5 - np.floor(np.log10(size[left])).astype(np.int64)
  for digits in range(4):  # Six and more.
    up = _POWERS[np.maximum(places + digits, 0)]
    down = _POWERS[np.maximum(-digits - places, 0)]
    rounded = np.rint(exact * (up / down)) / up * down
    is_it = rounded.astype(np.float32) == wanted
    numbers[left[is_it]] = rounded[is_it]
    left, wanted, exact, places = (
        a[~is_it] for a in (left, wanted, exact, places)
    )
  return numbers


def whole(
    array: pa.Array,
    must: str,
    location: Location,
    rows: np.ndarray | None = None,
) -> pa.Array:
  """Converts whole numbers of any type to int64, null where one is missing.

  Args:
    array: Anything that the table of `kinds` calls a number.
    must: In words, for the message.
    location: The column's.
    rows: The row of each entry; None: entry k is in row k.

  Raises:
    InputError: A value is no whole number, or does not fit.
  """
  array = plain(array, location, rows)
  kind = require('number', array, must, location, rows)
  if kind == 'text':
    array = canonical(trimmed(array, location, rows))
  if kind == 'fraction':
    array = pc.cast(array, pa.float64())
    array = pc.if_else(pc.is_nan(array), pa.scalar(None, pa.float64()), array)
  return cast(array, pa.int64(), must, location, rows)


def labels(array: pa.Array, location: Location) -> np.ndarray:
  """Converts labels to 0 or 1, int8 [n].

  Raises:
    InputError: A value is none of 0, 1, false and true.
  """
  array = plain(array, location)
  must = '0 or 1'
  kind = require('label', array, must, location)
  if kind in ('truth', 'integer') and not array.null_count:
    numbers = array.to_numpy(zero_copy_only=False)
    refuse((numbers != 0) & (numbers != 1), array, must, location)
    return numbers.astype(np.int8)
  if kind == 'fraction':
    as_floats = pc.cast(array, pa.float64())
    is_label = pc.or_(pc.equal(as_floats, 0.0), pc.equal(as_floats, 1.0))
    refuse(pc.invert(pc.fill_null(is_label, False)), array, must, location)
  words = pc.utf8_lower(texts(array, location))
  index = pc.index_in(words, pa.array(list(_TRUTHS)))
  bad = pc.or_(pc.is_null(index), pc.is_null(words))
  refuse(bad, array, must, location)
  values = np.array(list(_TRUTHS.values()), np.int8)
  return values[index.to_numpy(zero_copy_only=False)]
