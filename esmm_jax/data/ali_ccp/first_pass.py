"""First pass over a pair of raw files: text -> raw ids on disk, by session.

Nothing of the size of the files is held in memory. The common rows go to the
group tables of the splits that their sessions belong to, where they stay; the
skeleton rows go to temporary piles, a pile for each 128th of the sessions in
the order of their hash. Ids are those of the files until `ali_ccp_encode`.
"""

from collections.abc import Callable, Iterator
import contextlib
import os

from esmm_jax.data.ali_ccp.config import AliCcpConfig
from esmm_jax.data.ali_ccp.counts import ABSENT
from esmm_jax.data.ali_ccp.fields import RAW_FIELDS
from esmm_jax.data.ali_ccp.files import RawFiles
from esmm_jax.data.ali_ccp.text import Counts, Layout, read_rows, Rows
from esmm_jax.data.store.column_files import GrowingTable, Pile
from esmm_jax.data.store.columns import concatenate, cut
from esmm_jax.data.store.feature_columns import take
from esmm_jax.data.store.sessions import BUCKETS, GroupIndex, place, SessionRows
from esmm_jax.schema import Schema
from esmm_jax.types import Columns, InputError, Ragged
import numpy as np

INDEX = 'common_feature_index'  # Column of the group table, uint64.
_FLUSH_ROWS = 1 << 18


class Pair:
  """One pair of raw files, read once.

  Attributes:
    splits: The splits that its sessions make, in the order of the hash.
    groups: Split -> its group table.
    piles: Split -> its rows, `BUCKETS` piles; those that are empty too.
    ranges: Field -> its smallest and largest raw id; (0, -1) if it has none.
    counts: File name -> what was counted in it.
    facts: What was counted over the rows of the skeleton.
  """

  def __init__(
      self,
      raw_split: str,
      splits: tuple[str, ...],
      schema: Schema,
      config: AliCcpConfig,
      folder_of: Callable[[str], str],
      temporary: str,
  ):
    """Prepares the folders.

    Args:
      raw_split: `train` or `test`.
      splits: What its sessions become.
      schema: Which fields are read.
      config: The policies.
      folder_of: Gives the folder of a split's group table.
      temporary: Folder for the piles; made here.
    """
    self.splits = splits
    self.groups: dict[str, GroupIndex] = {}
    self.ranges = {f.name: (0, -1) for f in schema.inputs}
    self.counts: dict[str, Counts] = {}
    self.facts = dict.fromkeys(
        (
            'rows_read',
            'clicks_read',
            'conversions_read',
            'conversions_without_click',
            'rows_not_sampled',
            'rows_without_common',
        ),
        0,
    )
    self._raw_split, self._config, self._schema = raw_split, config, schema
    share = config.valid_share
    self._shares = (1 - share, share) if len(splits) > 1 else (1.0,)
    os.makedirs(temporary)
    self._tables = {s: GrowingTable(folder_of(s)) for s in splits}
    self.piles = {
        s: [Pile(os.path.join(temporary, f'{s}-{b}')) for b in range(BUCKETS)]
        for s in splits
    }

  def read(self, files: RawFiles, progress: Callable[[int], None]) -> None:
    """Reads both files.

    Raises:
      InputError: A file is missing or damaged, a line is not of the format, an
        index stands twice in the common file, or is missing there, and the
        policies do not allow it.
    """
    try:
      self._read(files, progress)
    finally:
      for table in self._tables.values():
        table.close()

  def _read(self, files: RawFiles, progress: Callable[[int], None]) -> None:
    """Reads the files and joins them; the tables are left open."""
    common, skeleton = _CommonKeys(len(self.splits)), SessionRows()
    names = {}
    opened = files.open(self._raw_split, progress)
    with contextlib.closing(opened):
      for kind, name, stream in opened:
        names[kind] = name
        counts = self.counts[name] = Counts()
        rows = read_rows(
            stream,
            name,
            layout(self._schema, kind == 'skeleton'),
            counts,
            bad_lines=self._config.bad_lines,
            threads=self._config.threads,
        )
        with contextlib.closing(rows):
          if kind == 'common':
            for part in rows:
              self._put_common(part, common)
          else:
            for part in _buffered(rows):
              self._put_skeleton(part, skeleton)
    self._join(common, skeleton, names)

  def _put_common(self, rows: Rows, common: '_CommonKeys') -> None:
    """Appends common rows to the group tables of their splits."""
    split = place(rows.key, self._shares, self._config.sample).split
    dtype = self._config.weight_dtype
    columns = {INDEX: rows.key, **rows.ids}
    columns |= {f'{n}.weight': w.astype(dtype) for n, w in rows.weights.items()}
    columns |= {n: _as_stored(c, dtype) for n, c in rows.lists.items()}
    self._widen(columns)
    for k, name in enumerate(self.splits):
      mine = np.flatnonzero(split == k)
      common.add(k, rows.key[mine], rows.line[mine])
      self._tables[name].append(_rows(columns, mine))

  def _put_skeleton(self, rows: Rows, skeleton: SessionRows) -> None:
    """Applies the policies and appends skeleton rows to their piles."""
    config, facts = self._config, self.facts
    where = place(rows.key, self._shares, config.sample)
    alone = (rows.click == 0) & (rows.conversion == 1)
    click, conversion = rows.click, rows.conversion
    facts['rows_read'] += len(click)
    facts['clicks_read'] += int(click.sum())
    facts['conversions_read'] += int(conversion.sum())
    facts['conversions_without_click'] += int(alone.sum())
    facts['rows_not_sampled'] += int((where.split < 0).sum())
    used = where.split >= 0
    if config.conversion_without_click == 'drop':
      used &= ~alone
    elif config.conversion_without_click == 'click':
      click = np.where(alone, np.int8(1), click)
    else:
      conversion = np.where(alone, np.int8(0), conversion)
    columns = {
        'sample_id': rows.sample_id,
        'click': click,
        'conversion': conversion,
        INDEX: rows.key,
        **rows.ids,
    }
    dtype = config.weight_dtype
    columns |= {f'{n}.weight': w.astype(dtype) for n, w in rows.weights.items()}
    columns |= {n: _as_stored(c, dtype) for n, c in rows.lists.items()}
    self._widen(columns)
    skeleton.add(rows.key[used], rows.line[used])
    for k, name in enumerate(self.splits):
      mine = np.flatnonzero(used & (where.split == k))
      mine = mine[np.argsort(where.order[mine], kind='stable')]
      ends = np.searchsorted(where.bucket[mine], np.arange(BUCKETS + 1))
      ordered = _rows(columns, mine)
      for b in np.flatnonzero(np.diff(ends)):
        a, z = ends[b : b + 2]
        self.piles[name][b].put({n: cut(c, a, z) for n, c in ordered.items()})

  def _join(
      self, common: '_CommonKeys', skeleton: SessionRows, names: dict[str, str]
  ) -> None:
    """Counts the skeleton rows of each group, and those without."""
    config = self._config
    keys, rows, lines = skeleton.merged()
    alone = np.ones(len(keys), bool)
    for k, name in enumerate(self.splits):
      mine, mine_lines = common.of(k)
      self._check_repeated(mine, mine_lines, names['common'])
      groups = GroupIndex(mine)
      found = groups.find(keys)
      there = found >= 0
      alone &= ~there
      np.add.at(groups.rows, found[there], rows[there])
      self.groups[name] = groups
    missing = int(rows[alone].sum())
    self.facts['rows_without_common'] = missing
    if missing and config.without_common == 'error':
      first = lines[alone].argmin()
      raise InputError(
          f'{names["skeleton"]}, line {int(lines[alone][first])}: the index'
          f' {int(keys[alone][first]):016x} has no line in {names["common"]};'
          f' {missing} rows are so. The common file may be cut off. Otherwise'
          " set without_common='drop' to leave such rows out, or 'keep' to have"
          " them without the user's fields."
      )
    where = place(keys[alone], self._shares, config.sample).split
    for k, name in enumerate(self.splits):
      mine = int(rows[alone][where == k].sum())
      if mine and config.without_common == 'keep':
        self._tables[name].append(_nothing(self._schema, config.weight_dtype))
        self.groups[name].keep_others(mine)

  def _check_repeated(
      self, keys: np.ndarray, lines: np.ndarray, name: str
  ) -> None:
    """Refuses or counts the indices that stand on several common lines."""
    order = np.argsort(keys, kind='stable')
    again = order[1:][keys[order][1:] == keys[order][:-1]]
    if not len(again):
      return
    if self._config.bad_lines == 'error':
      first = again[lines[again].argmin()]
      raise InputError(
          f'{name}, line {int(lines[first])}: the index {int(keys[first]):016x}'
          ' stands on an earlier line too. Mend the file, or set'
          " bad_lines='drop' to keep the first line of each index and count the"
          ' others.'
      )
    bad = self.counts[name].bad_lines
    bad['duplicate'] = bad.get('duplicate', 0) + len(again)

  def _widen(self, columns: Columns) -> None:
    """Takes the raw ids of some rows into `ranges`."""
    for name, (low, high) in self.ranges.items():
      if name not in columns:
        continue
      column = columns[name]
      ids = column.values if isinstance(column, Ragged) else column
      if len(ids) and ids.max() >= 0:
        least = int(ids[ids >= 0].min())
        low = least if high < 0 else min(low, least)
        self.ranges[name] = (low, max(high, int(ids.max())))


class _CommonKeys:
  """The indices of the common file, by split, in the order of the tables."""

  def __init__(self, num_splits: int):
    self._keys = [[np.zeros(0, np.uint64)] for _ in range(num_splits)]
    self._lines = [[np.zeros(0, np.int64)] for _ in range(num_splits)]

  def add(self, split: int, keys: np.ndarray, lines: np.ndarray) -> None:
    self._keys[split].append(keys)
    self._lines[split].append(lines)

  def of(self, split: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices uint64 [G] and their lines int64 [G]."""
    return np.concatenate(self._keys[split]), np.concatenate(self._lines[split])


def layout(schema: Schema, skeleton: bool) -> Layout:
  """What of a file's fields the schema has."""
  here = [f for f in RAW_FIELDS if f.common != skeleton]
  used = {f.name: f for f in schema.fields}
  read = [f for f in here if f.name in used]
  lists = [f.name for f in read if used[f.name].kind == 'ids']
  return Layout(
      skeleton=skeleton,
      singles=tuple(f.name for f in read if f.name not in lists),
      lists=tuple(lists),
      weighted=frozenset(f.name for f in read if used[f.name].weighted),
      last=frozenset(
          f.name for f in read if f.several and f.name not in lists
      ),
      ignored=frozenset(f.name for f in here if f.name not in used),
  )


def _buffered(rows: Iterator[Rows]) -> Iterator[Rows]:
  """Puts parts together until they have `_FLUSH_ROWS` rows."""
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
  """One `Rows` from consecutive ones."""

  def joined(pieces):
    if isinstance(pieces[0], dict):
      return {n: concatenate([p[n] for p in pieces]) for n in pieces[0]}
    return concatenate(pieces)

  return Rows(*(joined(list(pieces)) for pieces in zip(*parts)))


def _rows(columns: Columns, index: np.ndarray) -> Columns:
  return {
      n: take(c, index) if isinstance(c, Ragged) else c[index]
      for n, c in columns.items()
  }


def _as_stored(lists: Ragged, dtype: str) -> Ragged:
  if lists.weights is None:
    return lists
  return Ragged(lists.values, lists.offsets, lists.weights.astype(dtype))


def _nothing(schema: Schema, dtype: str) -> Columns:
  """One row of the group table in which every field is missing."""
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
