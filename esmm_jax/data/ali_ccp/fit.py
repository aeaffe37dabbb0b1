"""Fits the vocabularies to the training rows, by part."""

from collections.abc import Iterator, Sequence
import contextlib
import os
from typing import NamedTuple

from esmm_jax.data.ali_ccp import counts as loops
from esmm_jax.data.ali_ccp.coverage import ids_path
from esmm_jax.data.ali_ccp.pair import Pair
from esmm_jax.data.ali_ccp.stored import count_parts, group_parts, GroupPart
from esmm_jax.data.ali_ccp.stored import RowPart, rows_of, values
from esmm_jax.data.store.sessions import GroupIndex
from esmm_jax.engines.engine import Engine, Tell
from esmm_jax.schema import Field
import numpy as np

# Memory bounds: groups of a group table that are read at once, and entries of
# all the counts of one pass.
_GROUPS_AT_ONCE = 1 << 15
_LARGEST_COUNTS = 1 << 25

# Field -> the raw ids that a part has, less the smallest one of all, int64 [n],
# and the rows with each, int64 [n].
_Counted = dict[str, tuple[np.ndarray, np.ndarray]]


class _Shared(NamedTuple):
  """The things that all parts share.

  Attributes:
    fields: Those that are counted.
    ranges: Field -> its smallest and largest raw id.
    groups: Of the split, mapped from files: see `GroupIndex.move`.
  """

  fields: Sequence[Field]
  ranges: dict[str, tuple[int, int]]
  groups: GroupIndex

  def zeros(self, field: Field) -> np.ndarray:
    """Returns a count of 0 for each raw id of a field."""
    low, high = self.ranges[field.name]
    return np.zeros(high - low + 1, np.int64)


def fit(
    engine: Engine, pair: Pair, split: str, min_count: int
) -> dict[str, np.ndarray]:
  """Fits the vocabularies.

  In Ali-CCP's files the ranges of the fields do not overlap, so that all are
  counted in one pass.

  Args:
    engine: Does the parts.
    pair: The training files, read.
    split: The split whose rows count.
    min_count: A value in fewer rows is left out.

  Returns:
    Field -> raw ids to keep, int32, by falling count.
  """
  vocabularies = {}
  nothing = lambda rows: None
  parts = [
      *group_parts(pair, split), *count_parts(pair, split, engine.workers)
  ]
  for fields in _passes(pair):
    shared = _Shared(fields, pair.ranges, pair.groups[split])
    total = {f.name: shared.zeros(f) for f in fields}
    results = engine.map(_count, shared, parts, pair.folder, nothing)
    with contextlib.closing(results):
      for counted in results:
        for name, (ids, rows) in counted.items():
          total[name][ids] += rows
    for name, rows in total.items():
      low = pair.ranges[name][0]
      vocabularies[name] = loops.vocabulary(rows, low, min_count)
  return vocabularies


def _passes(pair: Pair) -> Iterator[list[Field]]:
  """Yields as many fields at once as memory allows to count."""
  chosen, total = [], 0
  for f in pair.fields:
    low, high = pair.ranges[f.name]
    size = high - low + 1
    if chosen and total + size > _LARGEST_COUNTS:
      yield chosen
      chosen, total = [], 0
    chosen.append(f)
    total += size
  yield chosen


def _count(
    shared: _Shared, part: GroupPart | RowPart, tell: Tell
) -> _Counted:
  """Counts a part."""
  del tell  # The bar is of the bytes of the files.
  if isinstance(part, RowPart):
    return _count_rows(shared, part)
  rows, counted = np.asarray(shared.groups.rows[part.first : part.stop]), {}
  for f in shared.fields:
    if f.by_group:
      counts, low = shared.zeros(f), shared.ranges[f.name][0]
      _count_groups(counts, f, part.folder, rows, low)
      counted[f.name] = _seen(counts)
  return counted


def _count_groups(
    counts: np.ndarray, field: Field, folder: str, rows: np.ndarray, low: int
) -> None:
  """Adds the rows with each value of a field of groups to `counts`.

  Args:
    counts: int64, of each id from `low` on; changed in place.
    field: The field.
    folder: Of the groups.
    rows: int64 [groups], the rows of each.
    low: The smallest raw id.
  """
  ids = np.load(ids_path(field, folder), mmap_mode='r')
  if field.kind == 'id':
    loops.count_weighted(counts, np.asarray(ids), rows, low)
    return
  offsets = np.load(os.path.join(folder, f'{field.name}.offsets.npy'))
  for a in range(0, len(rows), _GROUPS_AT_ONCE):
    b = min(a + _GROUPS_AT_ONCE, len(rows))
    part = np.asarray(ids[offsets[a] : offsets[b]])
    loops.count_lists(counts, part, offsets[a : b + 1], rows[a:b], low)


def _count_rows(shared: _Shared, part: RowPart) -> _Counted:
  """Counts the values of the fields of rows."""
  counts = {f.name: shared.zeros(f) for f in shared.fields if not f.by_group}
  for piles in part.buckets if counts else ():
    columns, _ = rows_of(piles, shared.groups)
    for name in counts if columns else ():
      low, _ = shared.ranges[name]
      loops.count(counts[name], values(columns[name]), low)
  return {name: _seen(rows) for name, rows in counts.items()}


def _seen(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the places of the counts above 0, and these."""
  index = np.flatnonzero(counts)
  return index, counts[index]
