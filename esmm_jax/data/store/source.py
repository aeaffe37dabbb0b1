"""The rows of a prepared split, as columns that are mapped into memory."""

from collections.abc import Iterable
import functools

from esmm_jax.data.store.columns import concatenate, concatenate_rows
from esmm_jax.data.store.columns import DAMAGED, open_folder, paths_of
from esmm_jax.data.store.columns import take_rows
from esmm_jax.data.store.feature_columns import cut
from esmm_jax.data.store.prepared_files import PreparedFiles
from esmm_jax.types import Columns, InputError
import numpy as np


class ColumnarSource:
  """Rows of a split, read by ranges.

  `read` returns views of the files where the range lies in one shard, so there
  is no work per example, and data larger than memory costs what is read of it.
  A column is compared with its checksum before its first row is read.

  Attributes:
    split: Which rows these are, such as `train[:10%]`.
    names: The columns.
    num_groups: G, the rows of the group table; 0 without one.
  """

  def __init__(
      self,
      parts: list[tuple[str, int, int]],
      split: str,
      index: str = '',
      group_folders: list[str] | None = None,
      files: PreparedFiles | None = None,
  ):
    """Opens the parts of a split, one after the other.

    Args:
      parts: (folder, first row, number of rows) of each.
      split: The name of the rows, for messages.
      index: The column that holds rows of the group table, or ''.
      group_folders: The folder of each part's group table.
      files: Has the checksums; None compares nothing.
    """
    self.split, self._files = split, files
    self._folders = [folder for folder, _, _ in parts]
    self._verified: set[str] = set()
    self._parts = [(open_folder(folder), skip) for folder, skip, _ in parts]
    self._ends = np.cumsum([0] + [count for _, _, count in parts])
    self.names = sorted(self._parts[0][0]) if self._parts else []
    self._index = index
    self._tables = {f: open_folder(f) for f in group_folders or ()}
    # In `train+valid` both splits number their groups from 0; those of the
    # second follow those of the first, so its indices are shifted.
    first, self.num_groups = {}, 0
    for folder, columns in self._tables.items():
      first[folder] = self.num_groups
      self.num_groups += len(next(iter(columns.values())))
    self._first_group = [first[f] for f in group_folders or ()]

  @functools.cached_property
  def groups(self) -> Columns:
    """The group table, memory-mapped where the rows are of one split."""
    if self._files is not None:
      self._files.verify(
          path
          for folder, columns in self._tables.items()
          for name, column in columns.items()
          for path in paths_of(folder, name, column)
      )
    return concatenate_rows(list(self._tables.values()) or [{}])

  def __len__(self) -> int:
    return int(self._ends[-1])

  def __repr__(self) -> str:
    return f'ColumnarSource(split={self.split!r}, rows={len(self)})'

  def verify(self, names: Iterable[str]) -> None:
    """Compares columns with their checksums, each once in a process.

    `read` does so before it reads; called earlier, nothing is begun with
    damaged data.

    Args:
      names: The columns.

    Raises:
      InputError: A shard lacks a column, or a file is not as it was written.
    """
    new = [name for name in names if name not in self._verified]
    paths = []
    for folder, (columns, _) in zip(self._folders, self._parts):
      for name in new:
        if name not in columns:
          raise InputError(f'{self}: a shard has no {name!r}. {DAMAGED}')
        paths += paths_of(folder, name, columns[name])
    if self._files is not None and paths:
      self._files.verify(dict.fromkeys(paths))
    self._verified.update(new)

  def read(
      self, start: int, stop: int, names: Iterable[str] | None = None
  ) -> Columns:
    """Reads the columns of rows [start, stop).

    Args:
      start: First row.
      stop: One past the last row; cut to the length of the source.
      names: The columns wanted; default all.

    Returns:
      Column name -> array [stop - start], or `Ragged` whose offsets start at
      0; read-only.

    Raises:
      InputError: See `verify`.
    """
    stop = min(stop, len(self))
    names = self.names if names is None else list(names)
    self.verify(names)
    pieces = {name: [] for name in names}
    first = int(np.searchsorted(self._ends, start, side='right')) - 1
    for k in range(max(first, 0), len(self._parts)):
      columns, skip = self._parts[k]
      low = max(start - self._ends[k], 0)
      high = min(stop, self._ends[k + 1]) - self._ends[k]
      # The first part is read even if the range is empty, for the dtypes.
      if low >= high and k > first:
        break
      for name in names:
        piece = cut(columns[name], skip + low, skip + high)
        if name == self._index and self._first_group[k]:
          piece = piece + np.int32(self._first_group[k])
        pieces[name].append(piece)
    return {name: concatenate(piece) for name, piece in pieces.items()}

  def joined(self, start: int, stop: int) -> Columns:
    """Reads rows [start, stop) with the columns of their groups, copied."""
    columns = self.read(start, stop)
    if not self._index:
      return columns
    return columns | take_rows(self.groups, columns[self._index])
