"""Casts that name the entry that cannot be cast."""

from esmm_jax.data.files.location import Location
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ERRORS = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError)


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
    # arrow does not name the entry that failed: cast them one by one.
    for k, entry in enumerate(array):
      try:
        pc.cast(pa.array([entry.as_py()], array.type), to)
      except ERRORS:
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
