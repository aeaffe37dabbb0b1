"""The rows of a prepared split, as columns that are mapped into memory."""

from collections.abc import Iterable
import functools

from esmm_jax.data.store.columns import concatenate, concatenate_rows, cut
from esmm_jax.data.store.columns import DAMAGED, open_folder, take_rows
from esmm_jax.types import Columns, InputError
import numpy as np


class ColumnarSource:
  """Rows of a split, read by ranges.

  `read` returns views of the files where the range lies in one shard, so there
  is no work per example, and data larger than memory costs what is read of it.

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
  ):
    """Opens the parts of a split, one after the other.

    Args:
      parts: (folder, first row, number of rows) of each.
      split: The name of the rows, for messages.
      index: The column that holds rows of the group table, or ''.
      group_folders: The folder of each part's group table.
    """
    self.split = split
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
    return concatenate_rows(list(self._tables.values()) or [{}])

  def __len__(self) -> int:
    return int(self._ends[-1])

  def __repr__(self) -> str:
    return f'ColumnarSource(split={self.split!r}, rows={len(self)})'

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
    """
    stop = min(stop, len(self))
    names = self.names if names is None else list(names)
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
        if name not in columns:
          raise InputError(f'{self}: a shard has no {name!r}. {DAMAGED}')
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
