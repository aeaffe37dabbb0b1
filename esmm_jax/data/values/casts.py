"""Casts that name the entry that cannot be cast."""

from esmm_jax.data.values.kinds import shown
from esmm_jax.data.values.location import Location
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ERRORS = (
    pa.ArrowInvalid,
    pa.ArrowTypeError,
    pa.ArrowNotImplementedError,
    OverflowError,
)


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
  except ERRORS as e:
    k = first_bad(array, to)
    row = k if rows is None else rows[k]
    raise location.refusal(row, shown(array, k), must) from e


def first_bad(array: pa.Array, to: pa.DataType) -> int:
  """Returns the first entry that cannot be cast; arrow does not name it."""
  low, high = 0, len(array)  # All before `low` can be cast; one of [low, high).
  while high - low > 1:
    middle = (low + high) // 2
    try:
      pc.cast(array.slice(low, middle - low), to)
      low = middle
    except ERRORS:
      high = middle
  return low


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
    raise location.refusal(row, shown(array, k), must)
