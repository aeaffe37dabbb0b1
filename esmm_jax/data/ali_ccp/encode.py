"""Second pass: raw ids -> vocabularies of the training rows -> final columns.

Works field by field and pile by pile on the files of the first pass.
"""

from collections.abc import Iterator
import os
from typing import Any

from esmm_jax.data.ali_ccp import counts as loops
from esmm_jax.data.ali_ccp.config import AliCcpConfig
from esmm_jax.data.ali_ccp.coverage import Coverage, ids_path
from esmm_jax.data.ali_ccp.fields import SESSION
from esmm_jax.data.ali_ccp.first_pass import INDEX, Pair
from esmm_jax.data.store.columns import concatenate_rows, take_rows
from esmm_jax.data.store.sessions import GroupIndex, session_hash
from esmm_jax.schema import Field, Schema
from esmm_jax.types import Columns, Ragged
import numpy as np

SHARD_ROWS = 1 << 18  # Lower bound of all shards but the last one.
# Memory bounds: groups and ids of a group table that are read at once, and
# entries of all the counts of one pass.
_GROUPS_AT_ONCE = 1 << 15
_IDS_AT_ONCE = 1 << 22
_LARGEST_COUNTS = 1 << 25


def fit(
    pair: Pair, split: str, schema: Schema, config: AliCcpConfig, folder: str
) -> dict[str, np.ndarray]:
  """Fits the vocabularies.

  Args:
    pair: The training files, read.
    split: The split whose rows count.
    schema: The fields.
    config: Has `min_count`.
    folder: Folder of the split's group table.

  Returns:
    Field -> raw ids to keep, int32, by falling count.
  """
  vocabularies = {}
  groups = pair.groups[split]
  for f in schema.group_part.fields:
    low, counts = _count_group_field(f, groups, folder, pair.ranges[f.name])
    vocabularies[f.name] = loops.vocabulary(counts, low, config.min_count)
  waiting = list(schema.row_part.fields)
  while waiting:
    waiting, counted = _count_row_fields(waiting, pair, split)
    for name, (low, counts) in counted.items():
      vocabularies[name] = loops.vocabulary(counts, low, config.min_count)
  return vocabularies


def _count_group_field(
    field: Field, groups: GroupIndex, folder: str, span: tuple[int, int]
) -> tuple[int, np.ndarray]:
  """Returns the smallest raw id, and the rows of the split with each id."""
  ids = np.load(ids_path(field, folder), mmap_mode='r')
  low, high = span
  counts = np.zeros(high - low + 1, np.int64)
  if field.kind == 'id':
    loops.count_weighted(counts, np.asarray(ids), groups.rows, low)
    return low, counts
  offsets = np.load(os.path.join(folder, f'{field.name}.offsets.npy'))
  for a in range(0, len(groups.rows), _GROUPS_AT_ONCE):
    b = min(a + _GROUPS_AT_ONCE, len(groups.rows))
    part = np.asarray(ids[offsets[a] : offsets[b]])
    loops.count_lists(counts, part, offsets[a : b + 1], groups.rows[a:b], low)
  return low, counts


def _count_row_fields(
    fields: list[Field], pair: Pair, split: str
) -> tuple[list[Field], dict[str, tuple[int, np.ndarray]]]:
  """Counts as many fields in one pass as memory allows.

  In Ali-CCP's files the ranges of the fields do not overlap, so that all are
  counted in one pass.

  Returns:
    The fields left over; field -> its smallest raw id and counts.
  """
  ranges = pair.ranges
  chosen, total = [], 0
  for f in fields:
    low, high = ranges[f.name]
    size = high - low + 1
    if chosen and total + size > _LARGEST_COUNTS:
      break
    chosen.append(f)
    total += size
  counted = {}
  for f in chosen:
    low, high = ranges[f.name]
    counted[f.name] = (low, np.zeros(high - low + 1, np.int64))
  groups = pair.groups[split]
  for pile in pair.piles[split]:
    if not pile.num_rows:
      continue
    columns = pile.take()
    if groups.drops:
      # Rows that will be left out must not count.
      has_group = np.flatnonzero(groups.find(columns[INDEX]) >= 0)
      columns = take_rows(columns, has_group)
    for f in chosen:
      low, counts = counted[f.name]
      loops.count(counts, _values(columns[f.name]), low)
  return fields[len(chosen) :], counted


def encode_groups(
    schema: Schema, places: dict[str, tuple[np.ndarray, int]], folder: str
) -> None:
  """Replaces the raw ids of a group table by vocabulary ids, in its files."""
  for f in schema.group_part.fields:
    path = ids_path(f, folder)
    if not np.load(path, mmap_mode='r').size:
      continue
    ids = np.load(path, mmap_mode='r+')
    for a in range(0, len(ids), _IDS_AT_ONCE):
      loops.encode(np.asarray(ids[a : a + _IDS_AT_ONCE]), *places[f.name])
    ids.flush()


def shards(
    pair: Pair,
    split: str,
    schema: Schema,
    places: dict[str, tuple[np.ndarray, int]],
    folder: str,
    report: dict[str, Any],
) -> Iterator[Columns]:
  """Yields the final columns of a split, in the order of the sessions' hash.

  Piles are removed when they have been read.

  Args:
    pair: The raw files, read.
    split: One of its splits.
    schema: The fields, with vocabulary sizes.
    places: Field -> the look-up of `counts.places`.
    folder: Folder of the split's group table, encoded.
    report: Gets the counts.
  """
  groups = pair.groups[split]
  counts = Coverage(schema)
  report.update(rows=0, clicks=0, conversions=0)
  parts, num = [], 0
  for pile in pair.piles[split]:
    if not pile.num_rows:
      continue
    columns = pile.take()
    keys = columns.pop(INDEX)
    session = groups.find(keys)
    keep = np.flatnonzero(session >= 0)
    order = keep[np.argsort(session_hash(keys[keep]), kind='stable')]
    columns[SESSION] = session.astype(np.int32)
    columns = take_rows(columns, order)
    for f in schema.row_part.fields:
      loops.encode(_values(columns[f.name]), *places[f.name])
    report['rows'] += len(order)
    report['clicks'] += int(columns['click'].sum())
    report['conversions'] += int(columns['conversion'].sum())
    counts.add_rows(columns)
    parts.append(columns)
    num += len(order)
    pile.remove()
    if num >= SHARD_ROWS:
      yield concatenate_rows(parts)
      parts, num = [], 0
  counts.add_groups(folder, groups.rows)
  report['sessions'] = int(np.count_nonzero(groups.rows))
  report['sessions_without_rows'] = int(np.sum(groups.rows == 0))
  report['fields'] = counts.to_dict(report['rows'])
  if num:
    yield concatenate_rows(parts)


def _values(column: np.ndarray | Ragged) -> np.ndarray:
  return column.values if isinstance(column, Ragged) else column
