"""First pass over a pair of raw files: text -> raw ids on disk, by session.

Memory does not grow with the rows of the files, only with their sessions. The
common rows go to the group tables of the splits of their sessions, where they
stay; the skeleton rows go to temporary piles, one pile for each 128th of the
sessions in the order of their hash. Ids are those of the files until `encode`.
"""

from collections.abc import Callable, Iterator
import contextlib
import os

from esmm_jax.data.ali_ccp.config import AliCcpConfig
from esmm_jax.data.ali_ccp.counts import ABSENT
from esmm_jax.data.ali_ccp.files import RawFiles
from esmm_jax.data.ali_ccp.layout import layout
from esmm_jax.data.ali_ccp.text import Counts, read_rows, Rows
from esmm_jax.data.store.column_files import GrowingTable, Pile
from esmm_jax.data.store.columns import concatenate, concatenate_rows, cut
from esmm_jax.data.store.columns import take_rows
from esmm_jax.data.store.policies import apply_conversion_policy
from esmm_jax.data.store.sessions import BUCKETS, GroupIndex, place, SessionRows
from esmm_jax.engines import choice
from esmm_jax.schema import Schema
from esmm_jax.types import Columns, InputError, Ragged
import numpy as np

INDEX = 'common_feature_index'  # Column of the group table, uint64.
_FLUSH_ROWS = 1 << 18  # Rows that are sorted into piles together.


class Pair:
  """One pair of raw files, read once.

  Attributes:
    splits: The splits that its sessions make, in the order of the hash.
    groups: Split -> its group table.
    piles: Split -> its rows, `BUCKETS` piles, some of them empty.
    ranges: Field -> its smallest and largest raw id; (0, -1) if it has none.
    counts: File name -> counts over its lines.
    facts: Name -> counts over the rows of the skeleton.
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
    """Creates the folders.

    Args:
      raw_split: `train` or `test`.
      splits: The splits that its sessions make.
      schema: The fields to read.
      config: The policies.
      folder_of: Returns the folder of a split's group table.
      temporary: Folder for the piles; must not exist.
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
      InputError: A file is missing or damaged; or a line violates the format,
        or an index is missing or twice in the common file, and the policies do
        not allow it.
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
            threads=choice.asked(self._config.threads),
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
    columns = self._stored_columns(rows)
    for k, name in enumerate(self.splits):
      index = np.flatnonzero(split == k)
      common.add(k, rows.key[index], rows.line[index])
      self._tables[name].append(take_rows(columns, index))

  def _put_skeleton(self, rows: Rows, skeleton: SessionRows) -> None:
    """Applies the policies and appends skeleton rows to their piles."""
    config, facts = self._config, self.facts
    where = place(rows.key, self._shares, config.sample)
    labels = apply_conversion_policy(
        rows.click, rows.conversion, config.conversion_without_click
    )
    facts['rows_read'] += len(rows.click)
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
    skeleton.add(rows.key[used], rows.line[used])
    for k, name in enumerate(self.splits):
      index = np.flatnonzero(used & (where.split == k))
      # Stable, so that the rows of a session stay in the order of the file.
      index = index[np.argsort(where.order[index], kind='stable')]
      ends = np.searchsorted(where.bucket[index], np.arange(BUCKETS + 1))
      ordered = take_rows(columns, index)
      for b in np.flatnonzero(np.diff(ends)):
        low, high = ends[b : b + 2]
        self.piles[name][b].put(
            {n: cut(c, low, high) for n, c in ordered.items()}
        )

  def _stored_columns(self, rows: Rows) -> Columns:
    """Returns index and fields as they are stored; widens `ranges`."""
    dtype = self._config.weight_dtype
    columns: Columns = {INDEX: rows.key, **rows.ids}
    columns |= {f'{n}.weight': w.astype(dtype) for n, w in rows.weights.items()}
    for name, c in rows.lists.items():
      weights = None if c.weights is None else c.weights.astype(dtype)
      columns[name] = Ragged(c.values, c.offsets, weights)
    self._widen(columns)
    return columns

  def _join(
      self, common: '_CommonKeys', skeleton: SessionRows, names: dict[str, str]
  ) -> None:
    """Counts the skeleton rows of each group, and those without."""
    config = self._config
    keys, num_rows, lines = skeleton.merged()
    unmatched = np.ones(len(keys), bool)
    for k, name in enumerate(self.splits):
      common_keys, common_lines = common.of_split(k)
      self._check_repeated(common_keys, common_lines, names['common'])
      groups = GroupIndex(common_keys)
      group = groups.find(keys)
      matched = group >= 0
      unmatched &= ~matched
      np.add.at(groups.rows, group[matched], num_rows[matched])
      self.groups[name] = groups
    keys, num_rows, lines = (a[unmatched] for a in (keys, num_rows, lines))
    missing = int(num_rows.sum())
    self.facts['rows_without_common'] = missing
    if missing and config.without_common == 'error':
      first = lines.argmin()
      raise InputError(
          f'{names["skeleton"]}, line {int(lines[first])}: the index'
          f' {int(keys[first]):016x} has no line in {names["common"]};'
          f' {missing} rows are so. The common file may be cut off. Otherwise'
          " set without_common='drop' to leave such rows out, or 'keep' to have"
          " them without the user's fields."
      )
    if config.without_common != 'keep':
      return
    split = place(keys, self._shares, config.sample).split
    for k, name in enumerate(self.splits):
      others = int(num_rows[split == k].sum())
      if others:
        empty = _empty_group(self._schema, config.weight_dtype)
        self._tables[name].append(empty)
        self.groups[name].keep_others(others)

  def _check_repeated(
      self, keys: np.ndarray, lines: np.ndarray, name: str
  ) -> None:
    """Refuses or counts the indices that are on several common lines."""
    order = np.argsort(keys, kind='stable')
    repeated = order[1:][keys[order][1:] == keys[order][:-1]]
    if not len(repeated):
      return
    if self._config.bad_lines == 'error':
      first = repeated[lines[repeated].argmin()]
      raise InputError(
          f'{name}, line {int(lines[first])}: the index {int(keys[first]):016x}'
          ' stands on an earlier line too. Mend the file, or set'
          " bad_lines='drop' to keep the first line of each index and count the"
          ' others.'
      )
    bad = self.counts[name].bad_lines
    bad['duplicate'] = bad.get('duplicate', 0) + len(repeated)

  def _widen(self, columns: Columns) -> None:
    """Widens `ranges` to the raw ids of some rows."""
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

  def of_split(self, split: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns indices uint64 [G] and their lines int64 [G]."""
    return np.concatenate(self._keys[split]), np.concatenate(self._lines[split])


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


def _empty_group(schema: Schema, dtype: str) -> Columns:
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
