"""Identifiers: one text for one value."""

from typing import Any

from esmm_jax.data.files.casts import cast, refuse
from esmm_jax.data.files.location import Location
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_WHOLE = r'^([+-]?\d+)\.0*$'


def texts(
    array: pa.Array, location: Location, rows: np.ndarray | None = None
) -> pa.Array:
  """Converts identifiers to texts; null where a value is missing.

  Args:
    array: Integers, whole floats, booleans, texts, dates: anything but lists.
    location: The column's.
    rows: The row of each entry; None: entry k is in row k.

  Returns:
    pyarrow strings.

  Raises:
    InputError: Entries are lists, or floats that are not whole.
  """
  kind = array.type
  if pa.types.is_nested(kind):
    must = 'one value; name a column of lists in `ids`'
    raise location.refusal(0, first(array), must)
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


def is_text(array: pa.Array) -> bool:
  """Returns whether entries are texts."""
  return pa.types.is_string(array.type) or pa.types.is_large_string(array.type)


def first(array: pa.Array) -> Any:
  """Returns the first entry, for messages."""
  return array[0].as_py() if len(array) else None
