"""The columns of a log's history, of all rows, in files."""

from collections.abc import Iterator
import os
from typing import NamedTuple

from esmm_jax.data.history.log import CHUNK, Log
from esmm_jax.data.history.parts import parts, rows_of
from esmm_jax.data.history.reading import first_times, Reading
from esmm_jax.data.store.column_files import GrowingTable, join
from esmm_jax.data.store.scratch import Scratch
from esmm_jax.data.tabular.splits import LEFT_OUT
from esmm_jax.data.values.raw_values import Location
from esmm_jax.types import Columns
import numpy as np

_TABLE, _PARTS = 'log', 'parts'


class AllRows(NamedTuple):
  """All rows of a log.

  Attributes:
    log: For `compute`.
    split: int8 [n].
  """

  log: Log
  split: np.ndarray


class LogPart:
  """Writes the columns of the history of consecutive rows."""

  def __init__(self, reading: Reading, folder: str):
    """Prepares the files.

    Args:
      reading: Names the columns.
      folder: Gets the files.
    """
    self._reading, self._table = reading, GrowingTable(folder)

  def add(
      self,
      columns: Columns,
      location: Location,
      labels: Columns,
      split: np.ndarray,
  ) -> None:
    """Adds rows.

    Args:
      columns: Column -> arrow array [n].
      location: Where the rows are, for messages.
      labels: Label -> [n], joint.
      split: int8 [n]; rows that are `LEFT_OUT` are seen by no other.

    Raises:
      InputError: A value is not possible.
    """
    rows = self._reading.read(columns, location, labels)
    table: Columns = {'time': rows.time, 'split': split.astype(np.int8)}
    if rows.request is not None:
      table['request'] = rows.request
    for k, key in enumerate(rows.keys.values()):
      table[f'key{k}'] = key
    for k, entry in enumerate(rows.entries.values()):
      table[f'entry{k}'] = entry
    for k, amount in enumerate(rows.amounts.values()):
      table[f'amount{k}'] = amount
    self._table.append(table)

  def close(self) -> None:
    """Makes the files readable."""
    self._table.close()


class LogFiles:
  """The columns of the history of all rows, written by part."""

  def __init__(self, reading: Reading, scratch: Scratch):
    """Prepares for the parts.

    Args:
      reading: Names the columns.
      scratch: Has the files.
    """
    self._reading, self._scratch = reading, scratch
    self._folders: list[str] = []

  @property
  def folder(self) -> str:
    """The folder in which each `LogPart` has one, of its number."""
    return self._scratch.path(_PARTS)

  def add(self, num: int) -> None:
    """Takes the parts 0 to `num` - 1, which are closed."""
    self._folders = [os.path.join(self.folder, str(k)) for k in range(num)]

  def close(self, by_split: list[int]) -> AllRows:
    """Opens the columns.

    Args:
      by_split: Splits whose rows ask at the first time of any of them; of the
        others each asks at its own, or at that of its request.
    """
    join(self._folders, self._scratch.path(_TABLE), CHUNK)
    reading, columns = self._reading, self._scratch.open(_TABLE)
    get = lambda kind, names: {
        name: columns[f'{kind}{k}'] for k, name in enumerate(names)
    }
    split = columns['split']
    log = Log(
        reading.clock,
        columns['time'],
        columns['time'],
        self._make('is_event', np.bool_, len(split)),
        get('amount', reading.amounts),
        get('key', reading.keys),
        get('entry', reading.entries),
        reading.tasks,
    )
    for low, high in pieces(len(split)):
      log.is_event[low:high] = split[low:high] != LEFT_OUT
    if reading.request or by_split:
      log = log._replace(asked=self._make('asked', np.int64, len(split)))
      for low, high in pieces(len(split)):
        log.asked[low:high] = log.time[low:high]
    if reading.request:
      _ask_by_request(log, columns['request'])
    for number in by_split:
      _ask_at_once(log, split, number)
    self._scratch.release()
    return AllRows(log, split)

  def _make(self, name: str, dtype: type, num: int) -> np.ndarray:
    return self._scratch.make(name, dtype, (num,))


def pieces(num: int) -> Iterator[tuple[int, int]]:
  """Yields the ranges of rows that are read at once."""
  for low in range(0, num, CHUNK):
    yield low, min(low + CHUNK, num)


def _ask_by_request(log: Log, request: np.ndarray) -> None:
  """Makes rows ask at the first time of their request."""
  for part in parts(request):
    for_rows = [some.rows for some in rows_of(request, part)]
    rows = np.concatenate([np.zeros(0, np.int64), *for_rows])
    log.asked[rows] = first_times(log.time[rows], request[rows])


def _ask_at_once(log: Log, split: np.ndarray, number: int) -> None:
  """Makes the rows of a split ask at the first time of any; see `capped`."""
  first = first_asked(log, split, number)
  for low, high in pieces(len(split)) if first is not None else ():
    rows = low + np.flatnonzero(split[low:high] == number)
    log.asked[rows] = first


def first_asked(log: Log, split: np.ndarray, number: int) -> int | None:
  """Returns the first time that a row of a split asks at; None without rows."""
  firsts = []
  for low, high in pieces(len(split)):
    asked = log.asked[low:high][split[low:high] == number]
    firsts += [int(asked.min())] if len(asked) else []
  return min(firsts, default=None)
