"""Second pass: raw ids -> the final columns, by part.

A part is some groups or the rows of a shard. The group of each row is looked up
in the index of the split, which all workers map from the same files, as the
look-ups of the vocabularies: no worker has a copy of a table.
"""

from collections.abc import Iterator
import contextlib
import itertools
import os
import shutil
from typing import Any, NamedTuple

from esmm_jax.data.ali_ccp import counts as loops
from esmm_jax.data.ali_ccp.coverage import Coverage
from esmm_jax.data.ali_ccp.fields import SESSION
from esmm_jax.data.ali_ccp.first_pass import INDEX
from esmm_jax.data.ali_ccp.pair import Pair
from esmm_jax.data.ali_ccp.stored import group_parts, GroupPart, RowPart
from esmm_jax.data.ali_ccp.stored import rows_of, shard_parts, values
from esmm_jax.data.store.column_files import GrowingTable, join
from esmm_jax.data.store.columns import concatenate_rows, open_folder
from esmm_jax.data.store.columns import take_rows
from esmm_jax.data.store.feature_columns import cut
from esmm_jax.data.store.sessions import GroupIndex, session_hash
from esmm_jax.data.store.shards import write_shard, Written
from esmm_jax.engines.engine import Engine, Tell
from esmm_jax.schema import Schema
from esmm_jax.types import Ragged
from esmm_jax.whole_files import save_array
import numpy as np

_GROUPS_AT_ONCE = 1 << 15  # Bounds the memory.
_LABELS = ('click', 'conversion')

Places = dict[str, tuple[np.ndarray, int]]


class _Shared(NamedTuple):
  """The things that all parts share.

  Attributes:
    split: The split.
    schema: The fields, with vocabulary sizes.
    places: Field -> the look-up of `counts.places`, mapped from a file.
    groups: Of the split, mapped from files: see `GroupIndex.move`.
    folder: Gets what is encoded.
  """

  split: str
  schema: Schema
  places: Places
  groups: GroupIndex
  folder: str

  def folder_of(self, part: GroupPart | RowPart) -> str:
    """Returns the folder of what a part gives."""
    kind = 'shard' if isinstance(part, RowPart) else 'groups'
    return os.path.join(self.folder, f'{kind}-{self.split}-{part.number}')


class _Encoded(NamedTuple):
  """A part, encoded.

  Attributes:
    coverage: Of its fields.
    num: Name -> number of rows, and of those with each label.
    shard: The shard of rows; None of groups.
  """

  coverage: Coverage
  num: dict[str, int]
  shard: Written | None = None


def mapped_places(vocabularies: dict[str, np.ndarray], folder: str) -> Places:
  """Writes the look-ups of vocabularies into files, and maps these.

  Args:
    vocabularies: Field -> raw ids to keep.
    folder: Is created.
  """
  os.makedirs(folder)
  places = {}
  for name, ids in vocabularies.items():
    table, first = loops.places(ids)
    path = os.path.join(folder, f'{name}.npy')
    save_array(path, table)
    places[name] = np.load(path, mmap_mode='r'), first
  return places


def shards(
    engine: Engine,
    pair: Pair,
    split: str,
    schema: Schema,
    places: Places,
    folder: str,
    report: dict[str, Any],
) -> Iterator[Written]:
  """Yields the shards of a split, in the order of the sessions' hash.

  What was read for them is removed when they are written.

  Args:
    engine: Does the parts.
    pair: The raw files, read.
    split: One of its splits.
    schema: The fields, with vocabulary sizes.
    places: See `mapped_places`.
    folder: Gets the split's group table.
    report: Gets the counts.
  """
  groups = pair.groups[split]
  shared = _Shared(split, schema, places, groups, pair.folder)
  coverage = Coverage(schema)
  report.update(rows=0, clicks=0, conversions=0)
  tables, rows = group_parts(pair, split), shard_parts(pair, split)
  parts, tell = [*tables, *rows], lambda num: None
  with contextlib.closing(
      engine.map(_encode, shared, parts, pair.folder, tell)
  ) as results:
    for part, encoded in zip(parts, results):
      coverage.merge(encoded.coverage)
      for name, number in encoded.num.items():
        report[name] += number
      if isinstance(part, RowPart):
        for pile in itertools.chain(*part.buckets):
          pile.remove()
        if part is rows[-1]:
          report['sessions'] = int(np.count_nonzero(groups.rows))
          report['sessions_without_rows'] = int(np.sum(groups.rows == 0))
          report['fields'] = coverage.to_dict(report['rows'])
        yield encoded.shard
      elif part is tables[-1]:
        join([shared.folder_of(t) for t in tables], folder, _GROUPS_AT_ONCE)
        for table in tables:
          shutil.rmtree(table.folder)


def _encode(
    shared: _Shared, part: GroupPart | RowPart, tell: Tell
) -> _Encoded:
  """Encodes a part, into a folder of its own."""
  del tell  # The bar is of the bytes of the files.
  folder = shared.folder_of(part)
  shutil.rmtree(folder, ignore_errors=True)  # Of a worker that was lost.
  if isinstance(part, RowPart):
    return _encode_rows(shared, part, folder)
  return _encode_groups(shared, part, folder)


def _encode_groups(
    shared: _Shared, part: GroupPart, folder: str
) -> _Encoded:
  """Writes groups."""
  coverage, table = Coverage(shared.schema), GrowingTable(folder)
  rows = np.asarray(shared.groups.rows[part.first : part.stop])
  columns = open_folder(part.folder)
  for a in range(0, max(1, len(rows)), _GROUPS_AT_ONCE):
    b = min(a + _GROUPS_AT_ONCE, len(rows))
    some = {n: cut(c, a, b) for n, c in columns.items()}
    for f in shared.schema.group_part.fields:
      column = some[f.name]
      ids = np.array(values(column))
      loops.encode(ids, *shared.places[f.name])
      if isinstance(column, Ragged):
        ids = Ragged(ids, column.offsets, column.weights)
      coverage.add(f, ids, rows[a:b])
      some[f.name] = ids
    table.append(some)
  table.close()
  return _Encoded(coverage, {})


def _encode_rows(shared: _Shared, part: RowPart, folder: str) -> _Encoded:
  """Writes a shard."""
  schema, pieces = shared.schema, []
  for piles in part.buckets:
    columns, session = rows_of(piles, shared.groups)
    if not columns:
      continue
    keys = columns.pop(INDEX)
    columns[SESSION] = session.astype(np.int32)
    order = np.argsort(session_hash(keys), kind='stable')
    columns = take_rows(columns, order)
    for f in schema.row_part.fields:
      loops.encode(values(columns[f.name]), *shared.places[f.name])
    pieces.append(columns)
  columns = concatenate_rows(pieces)
  coverage = Coverage(schema)
  coverage.add_rows(columns)
  num = {f'{label}s': int(columns[label].sum()) for label in _LABELS}
  num['rows'] = len(columns[SESSION])
  num_bytes = write_shard(folder, schema, columns)
  return _Encoded(coverage, num, Written(folder, num['rows'], num_bytes))
