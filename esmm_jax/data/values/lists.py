"""Lists of identifiers, with or without weights."""

from typing import NamedTuple

from esmm_jax.data.values import list_texts
from esmm_jax.data.values.casts import refuse
from esmm_jax.data.values.kinds import kind_of, require, shown
from esmm_jax.data.values.location import Location
from esmm_jax.data.values.normalise import plain
from esmm_jax.data.values.numbers import floats
from esmm_jax.data.values.texts import texts, trimmed
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Between the entries of a list that is a text, as in a CSV file.
SEPARATOR = '|'


class Lists(NamedTuple):
  """Lists of n rows.

  Attributes:
    offsets: int64 [n + 1].
    entries: Texts, one list after the other.
    weights: float64, of each entry; None if it has none.
  """

  offsets: np.ndarray
  entries: pa.Array
  weights: np.ndarray | None = None


def flatten(
    array: pa.Array, location: Location, separator: str = ''
) -> tuple[np.ndarray, pa.Array]:
  """Splits lists into offsets and entries.

  Args:
    array: Lists, or texts: entries with a separator between, or lists as JSON,
      Python, NumPy and DuckDB write them (`list_texts`). Null and '' are empty
      lists.
    location: The column's.
    separator: Of texts, which are then never read as JSON and the like; '':
      `|`.

  Returns:
    Offsets int64 [n + 1], and the entries of any type, nulls among them.

  Raises:
    InputError: It holds no lists, or a text that begins with [ is not one.
  """
  array = plain(array, location)
  between = separator or SEPARATOR
  must = f'a list, or a text with {between} between the entries'
  kind = require('list', array, must, location)
  if kind == 'none':
    return np.zeros(len(array) + 1, np.int64), pa.nulls(0)
  if kind == 'text':
    array = trimmed(array, location)
    if separator or not list_texts.holds(array):
      array = pc.split_pattern(array, between)
    else:
      array = list_texts.parse(array, location)
    array = plain(array, location)
  if pa.types.is_null(array.type):
    return np.zeros(len(array) + 1, np.int64), pa.nulls(0)
  offsets = array.offsets.to_numpy()
  return offsets - offsets[0], array.flatten()


def lists(
    array: pa.Array,
    location: Location,
    max_len: int,
    separator: str = '',
    weights: str = '',
) -> Lists:
  """Returns `max_len` entries of each row's list of identifiers.

  Args:
    array: See `flatten`. Null entries are left out, and do not count.
    location: The column's.
    max_len: Entries kept of a row: its first ones, or its heaviest.
    separator: See `flatten`.
    weights: Between an entry and its weight, as in `sport:0.5`; '': entries
      have none. Lists of pairs, and maps, need no such texts.

  Raises:
    InputError: It holds no lists, or an entry has no weight.
  """
  offsets, entries = flatten(array, location, separator)
  lengths = np.diff(offsets)
  rows = np.repeat(np.arange(len(lengths)), lengths)
  heaviness = None
  if weights:
    entries, heaviness = _weighted(entries, weights, location, rows)
  entries = texts(entries, location, rows)
  all_stay = not entries.null_count and lengths.max(initial=0) <= max_len
  if all_stay and heaviness is None:
    return Lists(offsets, entries)
  valid = entries.is_valid().to_numpy(zero_copy_only=False)
  order = np.flatnonzero(valid)
  if heaviness is not None:  # By falling weight in each row; ties as they are.
    order = order[np.lexsort((-heaviness[order], rows[order]))]
  rows = rows[order]
  starts = np.searchsorted(rows, np.arange(len(lengths)))
  is_kept = np.arange(len(rows)) - starts[rows] < max_len
  order, rows = order[is_kept], rows[is_kept]
  ends = np.zeros(len(lengths) + 1, np.int64)
  np.cumsum(np.bincount(rows, minlength=len(lengths)), out=ends[1:])
  if heaviness is not None:
    heaviness = heaviness[order]
  return Lists(ends, entries.take(pa.array(order)), heaviness)


def _weighted(
    entries: pa.Array, between: str, location: Location, rows: np.ndarray
) -> tuple[pa.Array, np.ndarray]:
  """Splits entries into identifiers and weights."""
  must = f"a pair like 'sport{between}0.5'"
  kind = kind_of(entries.type)
  if pa.types.is_struct(entries.type) and entries.type.num_fields == 2:
    # Of a map, or of a list of structs: not `field`, which ignores nulls.
    names, weights = (pc.struct_field(entries, k) for k in (0, 1))
    names = plain(names, location, rows)
  elif kind in ('text', 'none'):
    entries = trimmed(entries, location, rows) if kind == 'text' else entries
    pairs = pc.split_pattern(
        pc.cast(entries, pa.string()), between, max_splits=1, reverse=True
    )
    lengths = pc.fill_null(pc.list_value_length(pairs), 2)
    refuse(pc.not_equal(lengths, 2), entries, must, location, rows)
    names, weights = pc.list_element(pairs, 0), pc.list_element(pairs, 1)
  else:
    raise location.refusal(
        rows[0] if len(rows) else 0, shown(entries, 0), must
    )
  names = texts(names, location, rows)
  values = floats(weights, location, rows)
  bad = np.isnan(values) & names.is_valid().to_numpy(zero_copy_only=False)
  refuse(bad, entries, must, location, rows)
  must = f'{must} with a weight of at least 0'
  refuse(values < 0, entries, must, location, rows)
  return names, np.where(np.isnan(values), 0, values)
