"""The examples of epochs in their order, read a window at a time."""

from collections.abc import Callable

from esmm_jax.data.batching.order import EpochOrder
from esmm_jax.data.batching.reading import RowReader
from esmm_jax.data.store.columns import concatenate
import numpy as np


class Windows:
  """Reads examples of an epoch, all or those that are chosen.

  A window is read as a whole, in long runs, and mixed. Of the rows that are not
  chosen no column is read, but the group where rows are mixed by it.
  """

  def __init__(
      self,
      reader: RowReader,
      order: EpochOrder,
      group_run: int,
      chosen: Callable[[np.ndarray], np.ndarray] | None = None,
  ):
    """Reads nothing yet.

    Args:
      reader: Of the split.
      order: Of its rows.
      group_run: As for `Batches`.
      chosen: Numbers of examples in an epoch, int64 [n] -> bool [n], whether
        they are read; None: all.
    """
    self._reader, self._order = reader, order
    self._group_run, self._chosen = group_run, chosen
    self._windows: dict[tuple[int, int], list[np.ndarray]] = {}

  def some(self, chosen: Callable[[np.ndarray], np.ndarray]) -> 'Windows':
    """Returns one that reads the chosen examples alone."""
    order = self._order.copy()  # For another thread.
    return Windows(self._reader, order, self._group_run, chosen)

  def examples(self, epoch: int, start: int, stop: int) -> list[np.ndarray]:
    """Returns examples [start, stop) of the epoch's order, if all are chosen.

    The columns are those of `RowReader.read`.
    """
    ends = self._order.layout(epoch).ends
    pieces = []
    window = int(np.searchsorted(ends, start, side='right')) - 1
    # Past the last window if no rows are left for this process; it reads an
    # empty piece, for the dtypes.
    window = min(window, len(ends) - 2)
    while True:
      low = start - ends[window]
      high = min(stop, ends[window + 1]) - ends[window]
      numbers, columns = self._window(epoch, window)
      if numbers is not None:
        low, high = np.searchsorted(numbers, [low, high])
      pieces.append([c[low:high] for c in columns])
      if stop <= ends[window + 1]:
        break
      start, window = ends[window + 1], window + 1
    return [concatenate(list(column)) for column in zip(*pieces)]

  def groups(self, ranges: list[tuple[int, int]]) -> np.ndarray:
    """Returns what rows are mixed by: [n], their groups or something as long.

    Args:
      ranges: The rows, [low, high) of each range.
    """
    if self._group_run > 1:
      return concatenate([self._reader.read_group(*r) for r in ranges])
    return np.concatenate([np.arange(*r) for r in ranges])

  def _window(
      self, epoch: int, window: int
  ) -> tuple[np.ndarray | None, list[np.ndarray]]:
    """Returns the mixed rows of a window.

    Returns:
      The numbers of the chosen examples in the window, ascending, or None for
      all; their columns.
    """
    if (epoch, window) not in self._windows:
      read = self._read_all if self._chosen is None else self._read_chosen
      # Two are cached: a batch may lie in this window and the one before.
      while len(self._windows) > 1:
        self._windows.pop(next(iter(self._windows)))
      self._windows[epoch, window] = read(epoch, window)
    return self._windows[epoch, window]

  def _ranges(self, epoch: int, window: int) -> list[tuple[int, int]]:
    layout = self._order.layout(epoch)
    return self._order.ranges(layout.window_blocks(window))

  def _read_all(
      self, epoch: int, window: int
  ) -> tuple[None, list[np.ndarray]]:
    columns = self._reader.read(self._ranges(epoch, window))
    mixed = self._order.mix(epoch, window, columns[3])
    return None, [c[mixed] for c in columns]

  def _read_chosen(
      self, epoch: int, window: int
  ) -> tuple[np.ndarray, list[np.ndarray]]:
    ranges = self._ranges(epoch, window)
    first, end = self._order.layout(epoch).ends[window : window + 2]
    mixed = np.arange(end - first)[
        self._order.mix(epoch, window, self.groups(ranges))
    ]
    numbers = np.flatnonzero(self._chosen(np.arange(first, end)))
    rows = mixed[numbers]
    # Read in the order of the file; no row is taken twice.
    is_taken = np.zeros(end - first, bool)
    is_taken[rows] = True
    columns = self._reader.read(ranges, np.flatnonzero(is_taken))
    back = (np.cumsum(is_taken) - 1)[rows]
    return numbers, [c[back] for c in columns]
