"""A pair of raw files that was read by part: the parts, put together."""

import contextlib
import os

from esmm_jax.data.ali_ccp import chunks, first_pass, hashed
from esmm_jax.data.ali_ccp.chunks import BadLine
from esmm_jax.data.ali_ccp.config import AliCcpConfig
from esmm_jax.data.ali_ccp.files import RawFiles
from esmm_jax.data.ali_ccp.raw_parts import FACTS, FileRead, plan, Shared, wider
from esmm_jax.data.ali_ccp.text import Counts
from esmm_jax.data.store.column_files import GrowingTable, Pile
from esmm_jax.data.store.sessions import BUCKETS, GroupIndex, place, SessionRows
from esmm_jax.engines.engine import Engine, Tell
from esmm_jax.schema import Schema
from esmm_jax.types import InputError
import numpy as np


class Pair:
  """One pair of raw files, read once.

  Attributes:
    splits: The splits that its sessions make, in the order of the hash.
    folder: Has what was read.
    fields: Those that were read.
    groups: Split -> its group table.
    tables: Split -> the folders that hold its group table, one behind the
      other, and the rows of each.
    piles: Split -> its rows: `BUCKETS` lists of piles.
    num_rows: Split -> int64 [BUCKETS], rows of these that have a group.
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
      folder: str,
  ):
    """Creates the folder.

    Args:
      raw_split: `train` or `test`.
      splits: The splits that its sessions make.
      schema: The fields to read.
      config: The policies.
      folder: For what is read; must not exist.
    """
    self.splits, self.folder, self.fields = splits, folder, schema.inputs
    self.groups: dict[str, GroupIndex] = {}
    self.tables: dict[str, list[tuple[str, int]]] = {s: [] for s in splits}
    self.piles: dict[str, list[list[Pile]]] = {
        s: [[] for _ in range(BUCKETS)] for s in splits
    }
    self.num_rows: dict[str, np.ndarray] = {}
    self.ranges = {f.name: (0, -1) for f in schema.inputs}
    self.counts: dict[str, Counts] = {}
    self.facts = dict.fromkeys(FACTS, 0)
    self._raw_split, self._config, self._schema = raw_split, config, schema
    self._names: dict[str, str] = {}
    self._sessions = SessionRows()
    self._keys = {
        s: [(np.zeros(0, np.uint64), np.zeros(0, np.int64))] for s in splits
    }
    os.makedirs(folder)

  def read(self, files: RawFiles, engine: Engine, tell: Tell) -> None:
    """Reads both files.

    Args:
      files: All files.
      engine: Does the parts.
      tell: Gets bytes as they are read.

    Raises:
      InputError: A file is missing or damaged; or a line violates the format,
        or an index is missing or twice in the common file, and the policies do
        not allow it.
    """
    shared = Shared(
        self._raw_split,
        files.paths,
        self.splits,
        self._schema,
        self._config,
        self.folder,
        chunks.CHUNK_BYTES,
    )
    parts = plan(files, self._raw_split, engine.workers, shared.chunk_bytes)
    # The hash of a file that is cut into parts is not made of theirs.
    cut = files.paths[self._raw_split].values() if len(parts) > 1 else ()
    with hashed.in_thread(tuple(cut)) as hashes:
      results = engine.map(first_pass.read, shared, parts, self.folder, tell)
      with contextlib.closing(results):
        try:
          for whats, records in results:
            files.take(records)
            for what in whats:
              self._add(what, shared)
        except BadLine as e:
          counts = self.counts.get(e.name, Counts())
          raise e.behind(counts.lines) from None
      files.take(hashes())
    self._join(shared)

  def _add(self, what: FileRead, shared: Shared) -> None:
    """Adds what was read of the lines that follow."""
    self._names[what.kind] = what.name
    counts = self.counts.setdefault(what.name, Counts())
    for split, (keys, lines) in what.keys.items():
      self._keys[split].append((keys, lines + counts.lines))
      folder = shared.groups_of(what.part, split)
      self.tables[split].append((folder, len(keys)))
    self._sessions.merge(what.sessions, counts.lines)
    for split, every in what.piles.items():
      for piles, pile in zip(self.piles[split], every):
        piles += [pile] if pile else []
    counts.merge(what.counts)
    for name, number in what.facts.items():
      self.facts[name] += number
    for name, span in what.ranges.items():
      self.ranges[name] = wider(self.ranges[name], span)

  def _join(self, shared: Shared) -> None:
    """Counts the skeleton rows of each group, and those without."""
    config = self._config
    keys, num_rows, lines = self._sessions.merged()
    where = place(keys, shared.shares, config.sample)
    matched = np.zeros(len(keys), bool)
    for name, pieces in self._keys.items():
      common_keys, common_lines = map(np.concatenate, zip(*pieces))
      self._check_repeated(common_keys, common_lines)
      groups = self.groups[name] = GroupIndex(common_keys)
      group = groups.find(keys)
      is_here = group >= 0
      matched |= is_here
      np.add.at(groups.rows, group[is_here], num_rows[is_here])
    missing = int(num_rows[~matched].sum())
    self.facts['rows_without_common'] = missing
    if missing and config.without_common == 'error':
      self._refuse_missing(keys[~matched], lines[~matched], missing)
    if config.without_common == 'keep':
      matched[:] = True
    for k, name in enumerate(self.splits):
      used = matched & (where.split == k)
      self.num_rows[name] = np.zeros(BUCKETS, np.int64)
      np.add.at(self.num_rows[name], where.bucket[used], num_rows[used])
      others = int(self.num_rows[name].sum() - self.groups[name].rows.sum())
      if others:
        self._keep_others(name, others)
      self.groups[name].move(os.path.join(self.folder, f'index-{name}'))

  def _keep_others(self, split: str, num_rows: int) -> None:
    """Adds a group of empty fields for the rows that have none."""
    folder = os.path.join(self.folder, f'others-{split}')
    table = GrowingTable(folder)
    empty = first_pass.empty_group(self._schema, self._config.weight_dtype)
    table.append(empty)
    table.close()
    self.tables[split].append((folder, 1))
    self.groups[split].keep_others(num_rows)

  def _refuse_missing(
      self, keys: np.ndarray, lines: np.ndarray, num_rows: int
  ) -> None:
    """Refuses skeleton rows without a common one; names the first."""
    first = lines.argmin()
    raise InputError(
        f'{self._names["skeleton"]}, line {int(lines[first])}: the index'
        f' {int(keys[first]):016x} has no line in {self._names["common"]};'
        f' {num_rows} rows are so. The common file may be cut off. Otherwise'
        " set without_common='drop' to leave such rows out, or 'keep' to have"
        " them without the user's fields."
    )

  def _check_repeated(self, keys: np.ndarray, lines: np.ndarray) -> None:
    """Refuses or counts the indices that are on several common lines."""
    order = np.argsort(keys, kind='stable')
    repeated = order[1:][keys[order][1:] == keys[order][:-1]]
    if not len(repeated):
      return
    name = self._names['common']
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
