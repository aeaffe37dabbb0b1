"""Assigns sessions to splits, and orders them, by a hash of their index.

The hash orders the sessions of a split, so that any part of it, `train[:10%]`,
is a random sample of whole sessions; the head of the file would be none.
"""

import os
from typing import NamedTuple

from esmm_jax.whole_files import save_array
import numpy as np

BUCKETS = 128
_MOST_ENTRIES = 1 << 21  # Of `SessionRows`, before they are merged.


class Placement(NamedTuple):
  """The split of each row, and its order in the split.

  Attributes:
    split: int8 [n], a position in the splits of the file, or -1: not sampled.
    bucket: int16 [n], rises with the hash.
    order: uint64 [n], the hash, by which the rows of a split are ordered.
  """

  split: np.ndarray
  bucket: np.ndarray
  order: np.ndarray


def session_hash(keys: np.ndarray) -> np.ndarray:
  """Hashes session indices, uint64 [n], with the finaliser of splitmix64.

  It is one to one, so different sessions never share a hash.
  """
  x = keys.astype(np.uint64)
  x = x + np.uint64(0x9E3779B97F4A7C15)
  x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
  x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
  return x ^ (x >> np.uint64(31))


def place(
    keys: np.ndarray, shares: tuple[float, ...], sample: float
) -> Placement:
  """Assigns the rows of sessions to the splits of their file.

  Args:
    keys: uint64 [n], the session index of each row.
    shares: The share of the sessions that each split of the file gets, in the
      order of the hash; they sum to 1.
    sample: The share of each split that is used, its first sessions in the
      order of the hash.
  """
  order = session_hash(keys)
  # 53 bits, so that 1 is never reached.
  position = (order >> np.uint64(11)) * (1.0 / (1 << 53))
  split = np.full(len(keys), -1, np.int8)
  bucket = np.zeros(len(keys), np.int16)
  low = 0.0
  for k, share in enumerate(shares):
    # The last one ends at 1 exactly, whatever the shares add up to in floats.
    high = low + share if k + 1 < len(shares) else 1.0
    rows = (position >= low) & (position < high)
    if share:
      within = (position[rows] - low) / (high - low)
      split[rows] = np.where(within < sample, k, -1)
      bucket[rows] = np.minimum(within * BUCKETS, BUCKETS - 1)
    low = high
  return Placement(split, bucket, order)


class SessionRows:
  """Counts the rows of each session, and notes the first line of each.

  Holds one entry for each run of consecutive rows of a session; now and then
  the runs of a session are merged, so that a file that is not grouped by
  session needs no more memory than its number of sessions asks for.
  """

  def __init__(self):
    self._keys = [np.zeros(0, np.uint64)]
    self._rows = [np.zeros(0, np.int64)]
    self._lines = [np.zeros(0, np.int64)]
    self._entries = 0

  def add(self, keys: np.ndarray, lines: np.ndarray) -> None:
    """Takes rows in file order: uint64 [n] and int64 [n]."""
    starts = np.ones(len(keys), bool)
    starts[1:] = keys[1:] != keys[:-1]
    first = np.flatnonzero(starts)
    self._keys.append(keys[first])
    self._rows.append(np.diff(np.append(first, len(keys))))
    self._lines.append(lines[first])
    self._entries += len(first)
    if self._entries > _MOST_ENTRIES:
      self.merged()

  def merge(self, other: 'SessionRows', lines: int) -> None:
    """Takes what was counted of the rows that follow.

    Args:
      other: Of these rows, whose lines count from the first of their own.
      lines: Before that one.
    """
    keys, rows, first = other.merged()
    self._keys.append(keys)
    self._rows.append(rows)
    self._lines.append(first + lines)
    self._entries += len(keys)
    if self._entries > _MOST_ENTRIES:
      self.merged()

  def merged(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Merges the runs of each session.

    Returns:
      Sessions uint64 [n], ascending; their rows and first lines, int64 [n].
    """
    keys, first, session = np.unique(
        np.concatenate(self._keys), return_index=True, return_inverse=True
    )
    rows = np.zeros(len(keys), np.int64)
    np.add.at(rows, session, np.concatenate(self._rows))
    # Entries are in file order, so the first one has the first line.
    lines = np.concatenate(self._lines)[first]
    self._keys, self._rows, self._lines = [keys], [rows], [lines]
    self._entries = 0
    return keys, rows, lines


class GroupIndex:
  """Finds the row of a group table that belongs to a session index.

  Attributes:
    keys: uint64 [G], the index of each row of the table; of equal ones the
      first row counts.
    rows: int64 [G], the skeleton rows that refer to each; one more entry
      after `keep_others`.
    drops: Whether rows whose index is not in the table are left out.
  """

  def __init__(self, keys: np.ndarray):
    self.keys = keys
    self.rows = np.zeros(len(keys), np.int64)
    self.drops = True
    self._order = np.argsort(keys, kind='stable')
    self._others = -1

  def keep_others(self, num_rows: int) -> None:
    """Maps all other indices to one row after the table's last.

    Args:
      num_rows: Skeleton rows with other indices.
    """
    self._others, self.drops = len(self.keys), False
    self.rows = np.append(self.rows, num_rows)

  def move(self, folder: str) -> None:
    """Moves the arrays into files, from which they are mapped again.

    Other processes map the same pages: what they get (`engines.shared`) are the
    names of the files, and no copy of the table.

    Args:
      folder: Is created; stays until the index is no longer needed.
    """
    os.makedirs(folder)
    for name in ('keys', 'rows', '_order'):
      path = os.path.join(folder, f'{name}.npy')
      save_array(path, getattr(self, name))
      setattr(self, name, np.load(path, mmap_mode='r'))

  def find(self, keys: np.ndarray) -> np.ndarray:
    """Returns the row of the table of each index, int64 [n]; -1 for none."""
    if not len(self.keys):
      return np.full(len(keys), self._others, np.int64)
    rank = np.searchsorted(self.keys, keys, sorter=self._order)
    row = self._order[np.minimum(rank, len(self._order) - 1)]
    return np.where(self.keys[row] == keys, row, self._others)
