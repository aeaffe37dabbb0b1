"""Lists of identifiers."""

from esmm_jax.data.files.location import Location
from esmm_jax.data.files.normalise import arrow
from esmm_jax.data.files.texts import first, is_text, texts
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Between the entries of a list that is a text, as in a CSV file.
SEPARATOR = '|'


def flatten(
    array: pa.Array, location: Location
) -> tuple[np.ndarray, pa.Array]:
  """Splits lists into offsets and entries.

  Args:
    array: Lists, or texts with `|` between the entries; null and '' are empty
      lists.
    location: The column's.

  Returns:
    Offsets int64 [n + 1], and the entries of any type, nulls among them.

  Raises:
    InputError: It holds no lists.
  """
  kinds = pa.types
  if kinds.is_null(array.type):
    return np.zeros(len(array) + 1, np.int64), pa.nulls(0)
  if is_text(array):
    blank = pc.equal(pc.utf8_trim_whitespace(array), '')
    array = pc.if_else(blank, pa.scalar(None, array.type), array)
    array = pc.split_pattern(array, SEPARATOR)
  if not (
      kinds.is_list(array.type)
      or kinds.is_large_list(array.type)
      or kinds.is_fixed_size_list(array.type)
  ):
    must = 'a list, or a text with | between the entries'
    raise location.refusal(0, first(array), must)
  lengths = pc.fill_null(pc.list_value_length(array), 0)
  offsets = np.zeros(len(array) + 1, np.int64)
  np.cumsum(lengths.to_numpy(zero_copy_only=False), out=offsets[1:])
  return offsets, arrow(array.flatten(), location)


def lists(
    array: pa.Array, location: Location, max_len: int
) -> tuple[np.ndarray, pa.Array]:
  """Returns the first `max_len` entries of each row's list of identifiers.

  Args:
    array: See `flatten`. Null entries are left out, and do not count.
    location: The column's.
    max_len: Entries kept of a row.

  Returns:
    Offsets int64 [n + 1], and the entries as texts.

  Raises:
    InputError: It holds no lists.
  """
  offsets, entries = flatten(array, location)
  rows = np.repeat(np.arange(len(array)), np.diff(offsets))
  entries = texts(entries, location, rows)
  valid = entries.is_valid().to_numpy(zero_copy_only=False)
  rows, entries = rows[valid], entries.filter(pa.array(valid))
  starts = np.searchsorted(rows, np.arange(len(array)))
  is_kept = np.arange(len(rows)) - starts[rows] < max_len
  counts = np.bincount(rows[is_kept], minlength=len(array))
  np.cumsum(counts, out=offsets[1:])
  return offsets, entries.filter(pa.array(is_kept))
