"""First pass over a pair of raw files: text -> raw ids on disk, by part.

A part is a range of bytes of one of the files, or the whole pair where one
worker does all, or an archive has it, which nobody can read from its middle.
Memory does not grow with the rows of the files, only with their sessions. The
common rows of a part go to a group table for each split, the skeleton rows to
piles, one for each 128th of the sessions of a split in the order of their hash.
Ids are those of the files until `encode`; `pair` puts the parts together.
"""

from collections.abc import Iterator
import contextlib
import os
import shutil
from typing import BinaryIO

from esmm_jax.data.ali_ccp.chunks import Span, WHOLE
from esmm_jax.data.ali_ccp.counts import ABSENT
from esmm_jax.data.ali_ccp.files import RawFiles
from esmm_jax.data.ali_ccp.hashed import Record
from esmm_jax.data.ali_ccp.layout import layout
from esmm_jax.data.ali_ccp.raw_parts import FileRead, Part, Shared
from esmm_jax.data.ali_ccp.text import read_rows, Rows
from esmm_jax.data.store.column_files import GrowingTable, Pile
from esmm_jax.data.store.columns import concatenate, concatenate_rows
from esmm_jax.data.store.columns import take_rows
from esmm_jax.data.store.feature_columns import cut
from esmm_jax.data.store.policies import apply_conversion_policy
from esmm_jax.data.store.sessions import BUCKETS, place
from esmm_jax.engines.engine import Tell
from esmm_jax.schema import Schema
from esmm_jax.types import Columns, Ragged
import numpy as np

INDEX = 'common_feature_index'  # Column of the group table, uint64.
_FLUSH_ROWS = 1 << 18  # Rows that are sorted into piles together.


def read(
    shared: Shared, part: Part, tell: Tell
) -> tuple[list[FileRead], list[Record]]:
  """Reads a part.

  Returns:
    What was read of each file, and the hashes of whole files.

  Raises:
    InputError: A file is missing or damaged; or a line violates the format, and
      the policies do not allow it. Lines are numbered from the part's first.
  """
  folder = os.path.join(shared.folder, str(part.number))
  shutil.rmtree(folder, ignore_errors=True)  # Of a worker that was lost.
  os.makedirs(folder)
  if part.kind:
    path = shared.paths[shared.raw_split][part.kind]
    with open(path, 'rb', buffering=0) as stream:
      what = FileRead(shared, part.number, part.kind, os.path.basename(path))
      _Reader(shared, what, folder).read(stream, part.span, 1, tell)
    return [what], []
  files, whats = RawFiles(shared.paths), []
  with contextlib.closing(files.open(shared.raw_split, tell)) as opened:
    for kind, name, stream in opened:
      whats.append(FileRead(shared, part.number, kind, name))
      reader = _Reader(shared, whats[-1], folder)
      reader.read(stream, WHOLE, shared.config.threads, lambda num: None)
  return whats, files.records


class _Reader:
  """Writes the rows of a file."""

  def __init__(self, shared: Shared, what: FileRead, folder: str):
    self._shared, self._what, self._folder = shared, what, folder

  def read(
      self, stream: BinaryIO, span: Span, threads: int, tell: Tell
  ) -> None:
    """Reads a span of the file.

    Args:
      stream: Of the file.
      span: The lines.
      threads: See `read_rows`.
      tell: Gets bytes as they are read.
    """
    shared, what = self._shared, self._what
    rows = read_rows(
        stream,
        what.name,
        layout(shared.schema, what.kind == 'skeleton'),
        what.counts,
        bad_lines=shared.config.bad_lines,
        threads=threads,
        progress=tell,
        chunk_bytes=shared.chunk_bytes,
        span=span,
    )
    with contextlib.closing(rows):
      if what.kind == 'common':
        self._put_common(rows)
      else:
        self._put_skeleton(rows)

  def _put_common(self, rows: Iterator[Rows]) -> None:
    """Appends common rows to the group tables of their splits."""
    shared, what = self._shared, self._what
    tables, keys = [], []
    none = empty_group(shared.schema, shared.config.weight_dtype)
    none = take_rows(none, np.zeros(0, np.int64))
    for split in shared.splits:
      tables.append(GrowingTable(shared.groups_of(what.part, split)))
      tables[-1].append(none)  # So that there are files.
      keys.append([(np.zeros(0, np.uint64), np.zeros(0, np.int64))])
    for part in rows:
      where = place(part.key, shared.shares, shared.config.sample).split
      columns = self._stored_columns(part)
      for k, table in enumerate(tables):
        index = np.flatnonzero(where == k)
        keys[k].append((part.key[index], part.line[index]))
        table.append(take_rows(columns, index))
    for split, table, pieces in zip(shared.splits, tables, keys):
      table.close()
      what.keys[split] = tuple(map(np.concatenate, zip(*pieces)))

  def _put_skeleton(self, rows: Iterator[Rows]) -> None:
    """Applies the policies and appends skeleton rows to their piles."""
    what = self._what
    piles = {
        s: [
            Pile(os.path.join(self._folder, f'{s}-{b}')) for b in range(BUCKETS)
        ]
        for s in self._shared.splits
    }
    for part in _buffered(rows):
      self._put_rows(part, piles)
    for split, every in piles.items():
      what.piles[split] = [p if p.num_rows else None for p in every]

  def _put_rows(self, rows: Rows, piles: dict[str, list[Pile]]) -> None:
    """Appends some rows to their piles."""
    config, facts = self._shared.config, self._what.facts
    where = place(rows.key, self._shared.shares, config.sample)
    labels = apply_conversion_policy(
        rows.click, rows.conversion, config.conversion_without_click
    )
    facts['rows_read'] += len(rows.key)
    facts['clicks_read'] += int(rows.click.sum())
    facts['conversions_read'] += int(rows.conversion.sum())
    facts['conversions_without_click'] += int(labels.unclicked.sum())
    facts['rows_not_sampled'] += int((where.split < 0).sum())
    used = (where.split >= 0) & labels.is_kept
    columns = {
        'sample_id': rows.sample_id,
        'click': labels.click,
        'conversion': labels.conversion,
        **self._stored_columns(rows),
    }
    self._what.sessions.add(rows.key[used], rows.line[used])
    for k, every in enumerate(piles.values()):
      index = np.flatnonzero(used & (where.split == k))
      # Stable, so that the rows of a session stay in the order of the file.
      index = index[np.argsort(where.order[index], kind='stable')]
      ends = np.searchsorted(where.bucket[index], np.arange(BUCKETS + 1))
      ordered = take_rows(columns, index)
      for b in np.flatnonzero(np.diff(ends)):
        low, high = ends[b : b + 2]
        every[b].put({n: cut(c, low, high) for n, c in ordered.items()})

  def _stored_columns(self, rows: Rows) -> Columns:
    """Returns index and fields as they are stored; widens the ranges."""
    dtype = self._shared.config.weight_dtype
    columns: Columns = {INDEX: rows.key, **rows.ids}
    columns |= {f'{n}.weight': w.astype(dtype) for n, w in rows.weights.items()}
    for name, c in rows.lists.items():
      weights = None if c.weights is None else c.weights.astype(dtype)
      columns[name] = Ragged(c.values, c.offsets, weights)
    self._what.widen(columns)
    return columns


def _buffered(rows: Iterator[Rows]) -> Iterator[Rows]:
  """Concatenates parts until they have `_FLUSH_ROWS` rows."""
  held, num = [], 0
  for part in rows:
    held.append(part)
    num += len(part.key)
    if num >= _FLUSH_ROWS:
      yield _stacked(held)
      held, num = [], 0
  if held:
    yield _stacked(held)


def _stacked(parts: list[Rows]) -> Rows:
  """Returns one `Rows` from consecutive ones."""
  return Rows(*(
      (concatenate_rows if isinstance(pieces[0], dict) else concatenate)(pieces)
      for pieces in map(list, zip(*parts))
  ))


def empty_group(schema: Schema, dtype: str) -> Columns:
  """Returns one row of the group table in which every field is missing."""
  columns: Columns = {INDEX: np.zeros(1, np.uint64)}
  absent = np.full(1, ABSENT, np.int32)
  for f in schema.group_part.fields:
    if f.kind == 'ids':
      weights = np.zeros(0, dtype) if f.weighted else None
      none = np.zeros(0, np.int32)
      columns[f.name] = Ragged(none, np.zeros(2, np.int64), weights)
    else:
      columns[f.name] = absent
  return columns
