"""Raw value -> id, fitted on training rows only."""

from collections.abc import Sequence
from typing import Any

from esmm_jax.schema import FIRST_KEPT, MISSING, RARE
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


# Of the counts of one table that wait to be added up: texts may be long.
_MAX_WAITING_BYTES = 1 << 24


class Vocabulary:
  """Ids of the values of one field: 0 missing, 1 rare or unseen, 2.. kept.

  Kept values are numbered by falling count, ties by value, so ids do not depend
  on the order of the rows.

  Encoding fewer values than are kept makes, the first time, a look-up of all
  kept values, which takes about 165 bytes for each.

  Attributes:
    values: The kept values, an arrow array [size - 2]; `values[k]` has the id
      k + 2.
  """

  def __init__(self, values: pa.Array):
    self.values = values
    self._ids: dict[Any, int] | None = None

  @classmethod
  def fit(
      cls,
      values: np.ndarray,
      missing: np.ndarray | None = None,
      min_count: int = 1,
  ) -> 'Vocabulary':
    """Counts the values of training rows.

    Args:
      values: Integers, floats or texts [n]; training rows only.
      missing: bool [n], entries that hold no value.
      min_count: Values that occur less often are rare.

    Raises:
      InputError: min_count is below 1.
    """
    counts = ValueCounts()
    counts.add(to_arrow(values, missing))
    return counts.vocabulary(min_count)

  @property
  def size(self) -> int:
    """Number of ids, with the two reserved ones."""
    return len(self.values) + FIRST_KEPT

  def encode(
      self, values: np.ndarray | pa.Array, missing: np.ndarray | None = None
  ) -> np.ndarray:
    """Returns the ids of values.

    Args:
      values: Of the type that the vocabulary was fitted on: a numpy array of
        any shape, or an arrow array [n], whose nulls are missing.
      missing: Of a numpy array: bool, the entries that hold no value.

    Returns:
      int32 with the shape of `values`.
    """
    shape = (len(values),)
    if isinstance(values, np.ndarray):
      shape, values = values.shape, to_arrow(values, missing)
    if len(values) < len(self.values) and _has_plain_values(values.type):
      return self._look_up(values).reshape(shape)
    ids = pc.fill_null(
        pc.add(pc.index_in(values, self.values), FIRST_KEPT), RARE
    )
    missing_id = pa.scalar(MISSING, pa.int32())
    ids = pc.if_else(pc.is_null(values), missing_id, ids)
    ids = ids.to_numpy(zero_copy_only=False)
    return ids.astype(np.int32, copy=False).reshape(shape)

  def _look_up(self, values: pa.Array) -> np.ndarray:
    """Returns the ids of fewer values than are kept, int32 [n].

    `index_in` hashes all kept values at each call, so that scoring one row
    would take as long as there are values. Here they are hashed once, and what
    a call takes depends on its own values alone.
    """
    if self._ids is None:
      ids = range(FIRST_KEPT, FIRST_KEPT + len(self.values))
      # Replaced whole: two threads at once build it twice, and equal.
      self._ids = dict(zip(self.values.to_pylist(), ids))
    pieces = values.dictionary_encode()
    distinct = pieces.dictionary.to_pylist()
    ids = [self._ids.get(value, RARE) for value in distinct]
    ids = np.array([*ids, MISSING], np.int32)
    return ids[pc.fill_null(pieces.indices, len(distinct)).to_numpy()]

  def decode(self, ids: Sequence[int]) -> list:
    """Returns the values of ids, for people; None for missing or rare."""
    return [
        self.values[i - FIRST_KEPT].as_py() if i >= FIRST_KEPT else None
        for i in map(int, ids)
    ]


class ValueCounts:
  """Counts values piece by piece, in the memory of the distinct ones."""

  def __init__(self, max_waiting: int = 1 << 22):
    """Takes the number of counts that may wait to be added up.

    Adding up is a pass over all distinct values, too long for each piece.
    """
    self._max_waiting = max_waiting
    self._waiting: list[pa.Table] = []
    self._num_waiting = self._bytes_waiting = 0
    self._max_bytes = _MAX_WAITING_BYTES

  def add(
      self, values: pa.Array, times: np.ndarray | None = None
  ) -> None:
    """Counts values of one type.

    Args:
      values: [n]; null is not counted.
      times: int64 [n], how often each is there; None: once.
    """
    if times is not None:
      table = pa.table({'value': values, 'count': times})
      is_there = pc.and_(pc.is_valid(values), pc.greater(table['count'], 0))
      self._wait(table.filter(is_there))
      return
    counts = pc.value_counts(values.drop_null())
    self._wait(pa.table({'value': counts.field(0), 'count': counts.field(1)}))

  def merge(self, other: 'ValueCounts') -> None:
    """Adds what another one has counted, of values of the same type."""
    for counts in other._waiting:
      self._wait(counts)

  def __getstate__(self) -> dict[str, Any]:
    """Adds up what another process gets."""
    # As one piece: Arrow groups into slices of one array, and writes all of
    # that array for each slice.
    waiting = [self._total().combine_chunks()] * bool(self._waiting)
    return self.__dict__ | {'_waiting': waiting}

  def _wait(self, counts: pa.Table) -> None:
    """Takes a table of values and counts; adds up where too many wait."""
    self._waiting.append(counts)
    self._num_waiting += counts.num_rows
    self._bytes_waiting += counts.nbytes
    if (
        self._num_waiting > self._max_waiting
        or self._bytes_waiting > self._max_bytes
    ):
      self._waiting = [self._total()]
      # Half: more distinct values than may wait must not be added up each time.
      self._num_waiting = self._waiting[0].num_rows // 2
      self._bytes_waiting = 0
      self._max_bytes = max(_MAX_WAITING_BYTES, self._waiting[0].nbytes)

  def vocabulary(
      self,
      min_count: int = 1,
      max_values: int = 0,
      base: Vocabulary | None = None,
  ) -> Vocabulary:
    """Makes the vocabulary of the values counted.

    Args:
      min_count: Values that occur less often are rare.
      max_values: So many of the most frequent values are kept; 0 keeps all.
      base: A vocabulary of texts that grows: its values keep their ids, counted
        or not, and new values follow as far as `max_values` allows.

    Raises:
      InputError: min_count is below 1.
    """
    if min_count < 1:
      raise InputError(f'min_count is {min_count}; it must be at least 1.')
    total = self._total()
    total = total.filter(pc.greater_equal(total['count'], min_count))
    if base is not None:
      is_old = pc.is_in(total['value'], pc.cast(base.values, pa.string()))
      total = total.filter(pc.invert(is_old))
    total = total.sort_by([('count', 'descending'), ('value', 'ascending')])
    num_old = 0 if base is None else len(base.values)
    limit = max(max_values - num_old, 0) if max_values else None
    values = total['value'].slice(0, limit)
    values = pa.concat_arrays(values.chunks or [_empty(values.type)])
    if base is None:
      return Vocabulary(values)
    values = [pc.cast(v, pa.string()) for v in (base.values, values)]
    return Vocabulary(pa.concat_arrays(values))

  def _total(self) -> pa.Table:
    if not self._waiting:
      return pa.table({'value': _empty(pa.string()), 'count': []})
    whole = pa.concat_tables(self._waiting)
    total = whole.group_by('value').aggregate([('count', 'sum')])
    return pa.table({'value': total['value'], 'count': total['count_sum']})


def to_arrow(
    values: np.ndarray, missing: np.ndarray | None = None
) -> pa.Array:
  """Returns values of any shape as `Vocabulary` takes them, an array [n].

  Args:
    values: Integers, floats or texts.
    missing: bool, of the same shape; they become null.
  """
  if values.dtype.kind == 'f':
    values = values + 0.0  # -0. and 0. are one value; arrow tells them apart.
  mask = None if missing is None else missing.reshape(-1)
  return pa.array(values.reshape(-1), mask=mask)


def _has_plain_values(kind: pa.DataType) -> bool:
  """Returns True for texts and integers, which Python compares as arrow does.

  Not for floats: no nan equals another one in Python.
  """
  is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
  return is_text or pa.types.is_integer(kind)


def _empty(kind: pa.DataType) -> pa.Array:
  return pa.array([], kind)
