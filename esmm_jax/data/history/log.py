"""The columns of a log that its history is made of, and their parts."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from esmm_jax.data.history import events
from esmm_jax.data.history.clock import Clock
from esmm_jax.data.history.events import Events, Kind
from esmm_jax.data.history.hashes import NO_KEY
from esmm_jax.data.history.plan import State
from esmm_jax.data.history.priors import Priors
from esmm_jax.data.history.specs import IMPRESSIONS
from esmm_jax.tasks import Tasks
from esmm_jax.types import Ragged
import numpy as np

PART_ROWS = 1 << 21
CHUNK = 1 << 20  # Rows read at once.
_BEGINNINGS = 1 << 12
_SHIFT = np.uint64(64 - 12)


class Log(NamedTuple):
  """The columns of a log that its history is made of.

  Attributes:
    clock: Of its times.
    time: int64 [n], nanoseconds since 1970.
    asked: int64 [n], what the history of a row is asked for at: its time, the
      first time of its request, or of its split (`plan.capped`).
    is_event: bool [n], rows that later rows may see.
    amounts: Label or number -> integers [n], numbers times `encode.FRACTION`.
    keys: Columns of a key -> hashes, uint64 [n], or a `Ragged` of them.
    entries: Column -> hashes of its values, uint64 [n].
    tasks: Of the labels.
  """

  clock: Clock
  time: np.ndarray
  asked: np.ndarray
  is_event: np.ndarray
  amounts: Mapping[str, np.ndarray]
  keys: Mapping[tuple[str, ...], np.ndarray | Ragged]
  entries: Mapping[str, np.ndarray]
  tasks: Tasks

  @property
  def names(self) -> list[str]:
    """The amounts in order, impressions first."""
    return [IMPRESSIONS, *self.amounts]

  def sums(self, rows: np.ndarray) -> np.ndarray:
    """Returns the amounts of rows, int64 [q, A]."""
    sums = np.ones((len(rows), 1 + len(self.amounts)), np.int64)
    for k, name in enumerate(self.amounts, 1):
      sums[:, k] = self.amounts[name][rows]
    return sums


class Part(NamedTuple):
  """Rows of a log whose keys have one beginning of their hash.

  Attributes:
    rows: int64 [p], ascending; a row with a list of keys is there for each, in
      ascending order of the keys.
    keys: uint64 [p].
  """

  rows: np.ndarray
  keys: np.ndarray


def priors_of(log: Log) -> Priors:
  """Sums the events of a log by quarter of an hour."""
  priors = Priors.empty(len(log.names))
  for low in range(0, len(log.time), CHUNK):
    rows = low + np.flatnonzero(log.is_event[low : low + CHUNK])
    priors = priors.add(log.time[rows], log.sums(rows), log.names)
  return priors


def parts(keys: np.ndarray | Ragged) -> Iterator[Part]:
  """Yields the parts of a log, in ascending order of the keys."""
  rows = None
  if isinstance(keys, Ragged):
    rows = np.repeat(np.arange(len(keys)), np.diff(keys.offsets))
    keys = keys.values
  beginnings = np.zeros(_BEGINNINGS, np.int64)
  for low in range(0, len(keys), CHUNK):
    some = keys[low : low + CHUNK] >> _SHIFT
    beginnings += np.bincount(some.astype(np.int64), minlength=_BEGINNINGS)
  low, total = 0, 0
  for high in range(_BEGINNINGS + 1):
    last = high == _BEGINNINGS
    if last or (total and total + beginnings[high] > PART_ROWS):
      yield _part(keys, rows, low, high)
      low, total = high, 0
    total += 0 if last else beginnings[high]


def _part(
    keys: np.ndarray, rows: np.ndarray | None, low: int, high: int
) -> Part:
  """Returns the rows of the beginnings [low, high)."""
  at = [np.zeros(0, np.int64)]
  for first in range(0, len(keys), CHUNK):
    some = keys[first : first + CHUNK]
    begin = some >> _SHIFT
    fits = (begin >= low) & (begin < high) & (some != NO_KEY)
    at.append(first + np.flatnonzero(fits))
  index = np.concatenate(at)
  if rows is None:
    return Part(index, keys[index])
  # Sums of floats depend on their order: that of the keys, in every part.
  index = index[np.argsort(keys[index], kind='stable')]
  return Part(rows[index], keys[index])


def held_events(state: State, kind: Kind, log: Log, part: Part) -> Events:
  """Builds the events of a part, those that a state has."""
  is_event = log.is_event[part.rows]
  if state.only:
    is_event = is_event & (log.amounts[state.only][part.rows] > 0)
  rows = part.rows[is_event]
  entry = log.entries[state.column][rows] if state.column else None
  amounts = log.sums(rows)
  if state.pause:
    amounts = amounts[:, :0]
  return events.build(
      kind, part.keys[is_event], log.time[rows], amounts, entry
  )
