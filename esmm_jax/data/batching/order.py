"""The order of the rows in an epoch: a pure function of seed and epoch.

Blocks of `BLOCK` consecutive rows come in random order, and `WINDOW` blocks at
a time are mixed row by row. A data set of up to BLOCK * WINDOW rows is thereby
shuffled completely, and a larger one is read from disk in long runs.
"""

from collections.abc import Iterator
import copy
from typing import NamedTuple

import numpy as np

BLOCK = 4096
WINDOW = 64


class Layout(NamedTuple):
  """The windows of an epoch.

  Attributes:
    blocks: int [number of blocks], the order of the blocks.
    ends: int64 [W + 1], window w has the examples [ends[w], ends[w + 1]) of the
      epoch.
  """

  blocks: np.ndarray
  ends: np.ndarray

  def window_blocks(self, window: int) -> np.ndarray:
    """Returns the blocks of a window."""
    return self.blocks[window * WINDOW : (window + 1) * WINDOW]


class EpochOrder:
  """Shuffles the rows of a split, block by block and window by window.

  Attributes:
    num_rows: Rows of the split.
    num_blocks: Blocks of the split; the last one may be shorter.
  """

  def __init__(self, num_rows: int, seed: int, shuffle: bool, group_run: int):
    """See `Batches` for the arguments."""
    self.num_rows = num_rows
    self.num_blocks = -(-num_rows // BLOCK)
    self._seed, self._shuffle, self._group_run = seed, shuffle, group_run
    self._epoch, self._layout = -1, None

  def copy(self) -> 'EpochOrder':
    """Returns one that another thread may use."""
    return copy.copy(self)

  def layout(self, epoch: int) -> Layout:
    """Returns the order of an epoch's blocks; the last epoch's is cached."""
    if self._epoch != epoch:
      blocks = np.arange(self.num_blocks)
      if self._shuffle:
        np.random.default_rng([self._seed, epoch]).shuffle(blocks)
      sizes = np.full(self.num_blocks, BLOCK)
      sizes[-1] = self.num_rows - (self.num_blocks - 1) * BLOCK
      ends = np.cumsum(np.concatenate([[0], sizes[blocks]]))
      ends = np.append(ends[:-1:WINDOW], ends[-1])
      self._epoch, self._layout = epoch, Layout(blocks, ends)
    return self._layout

  def ranges(self, blocks: np.ndarray) -> list[tuple[int, int]]:
    """Returns the rows [low, high) of blocks, consecutive blocks joined."""
    runs = np.split(blocks, np.flatnonzero(np.diff(blocks) != 1) + 1)
    return [
        (int(r[0]) * BLOCK, min(int(r[-1] + 1) * BLOCK, self.num_rows))
        for r in runs
    ]

  def file_windows(self) -> Iterator[list[tuple[int, int]]]:
    """Yields the ranges of all rows in file order, a window's worth at a time.
    """
    for low in range(0, self.num_blocks, WINDOW):
      yield self.ranges(np.arange(low, min(low + WINDOW, self.num_blocks)))

  def mix(
      self, epoch: int, window: int, groups: np.ndarray
  ) -> np.ndarray | slice:
    """Returns the index that mixes the rows of a window.

    Args:
      epoch: The pass, from 0.
      window: The window of the epoch.
      groups: int [n], the group of each row as read; only its length counts
        where `group_run` is 1.
    """
    if not self._shuffle:
      return slice(None)
    # Seeded by the window, not drawn in turn: training resumes at any step
    # without replaying the windows before it. 0 is the order of the blocks.
    rng = np.random.default_rng([self._seed, epoch, window + 1])
    return permutation(rng, groups, self._group_run)


def permutation(
    rng: np.random.Generator, groups: np.ndarray, run: int
) -> np.ndarray:
  """Draws an order of rows in which runs of a group stay together.

  Args:
    rng: The source of randomness.
    groups: [n], the group of each row.
    run: The longest run.

  Returns:
    int [n], a permutation of the rows.
  """
  if run == 1:
    return rng.permutation(len(groups))
  number = np.arange(len(groups))
  begins = np.ones(len(groups), bool)
  begins[1:] = groups[1:] != groups[:-1]
  since_begin = number - np.maximum.accumulate(np.where(begins, number, 0))
  starts = np.flatnonzero(since_begin % run == 0)
  lengths = np.diff(np.append(starts, len(groups)))
  order = rng.permutation(len(starts))
  ends = np.cumsum(lengths[order])
  first = np.repeat(starts[order] - (ends - lengths[order]), lengths[order])
  return first + number
