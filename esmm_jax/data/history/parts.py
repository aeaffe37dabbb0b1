"""The parts of a log: rows of some keys, and of those some of some time.

A part is the rows whose keys have one beginning of their hash, of at most
`PART_ROWS` rows or of one beginning. Where that has more, of a key in every
row say, it is taken in slabs of time, one after the other.
"""

from collections.abc import Iterator
from typing import NamedTuple

from esmm_jax.data.history import events
from esmm_jax.data.history.events import Events, Kind
from esmm_jax.data.history.hashes import NO_KEY
from esmm_jax.data.history.log import CHUNK, Log
from esmm_jax.data.history.plan import State
from esmm_jax.data.history.priors import Priors, QUARTER
from esmm_jax.types import Ragged
import numpy as np

PART_ROWS = 1 << 21
_BEGINNINGS = 1 << 12
_SHIFT = np.uint64(64 - 12)
# Before and after all times.
_FIRST, _LAST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


class Part(NamedTuple):
  """The rows whose keys have the beginnings [low, high) of their hash.

  Attributes:
    low: Of 2^12 beginnings.
    high: See there.
    num_rows: Entries of lists count each.
  """

  low: int
  high: int
  num_rows: int


class Some(NamedTuple):
  """Rows of a part.

  Attributes:
    rows: int64 [p], ascending; where keys are in lists, a row is there for each
      of its keys, and the order is that of the keys.
    keys: uint64 [p].
  """

  rows: np.ndarray
  keys: np.ndarray


class Slab(NamedTuple):
  """The times [low, high), nanoseconds."""

  low: int = _FIRST
  high: int = _LAST


def parts(keys: np.ndarray | Ragged) -> Iterator[Part]:
  """Yields the parts of a log, in ascending order of the keys."""
  if isinstance(keys, Ragged):
    keys = keys.values
  beginnings = np.zeros(_BEGINNINGS, np.int64)
  for first in range(0, len(keys), CHUNK):
    some = keys[first : first + CHUNK]
    some = (some[some != NO_KEY] >> _SHIFT).astype(np.int64)
    beginnings += np.bincount(some, minlength=_BEGINNINGS)
  low, total = 0, 0
  for high, num in enumerate(beginnings.tolist()):
    if total and total + num > PART_ROWS:
      yield Part(low, high, total)
      low, total = high, 0
    total += num
  yield Part(low, _BEGINNINGS, total)


def rows_of(keys: np.ndarray | Ragged, part: Part) -> Iterator[Some]:
  """Yields the rows of a part, some rows of the log at a time."""
  is_list = isinstance(keys, Ragged)
  num = CHUNK // 4 if is_list else CHUNK
  for first in range(0, len(keys), num):
    if is_list:
      offsets = keys.offsets[first : first + num + 1]
      values = keys.values[offsets[0] : offsets[-1]]
      rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    else:
      values = keys[first : first + num]
    begin = values >> _SHIFT
    fits = (begin >= part.low) & (begin < part.high) & (values != NO_KEY)
    at = np.flatnonzero(fits)
    if is_list:
      # Sums of floats depend on their order: that of the keys, in every part.
      at = at[np.argsort(values[at], kind='stable')]
      yield Some(first + rows[at], values[at])
    else:
      yield Some(first + at, values[at])


def slabs(state: State, log: Log, part: Part) -> list[Slab]:
  """Cuts a part into slabs, of at most `PART_ROWS` events where that can be.

  Rows of one quarter of an hour stay together.
  """
  if part.num_rows <= PART_ROWS:
    return [Slab()]
  counts = Priors.empty(1)
  for some in rows_of(log.keys[state.key], part):
    rows = some.rows[_is_event(state, log, some.rows)]
    counts = counts.add(log.time[rows], np.ones((len(rows), 1), np.int64))
  cuts, total = [_FIRST], 0
  for quarter, (num,) in zip(counts.quarter.tolist(), counts.sums.tolist()):
    if total and total + num > PART_ROWS:
      cuts.append(quarter * QUARTER)
      total = 0
    total += num
  return [Slab(*ends) for ends in zip(cuts, [*cuts[1:], _LAST])]


def held_events(
    state: State, kind: Kind, log: Log, part: Part, slab: Slab
) -> Events:
  """Builds the events of a slab of a part, those that a state has."""
  pieces = [Some(np.zeros(0, np.int64), np.zeros(0, np.uint64))]
  for some in rows_of(log.keys[state.key], part):
    within = _within(log.time[some.rows], slab)
    pieces.append(Some(some.rows[within], some.keys[within]))
  return events_of(
      state, kind, log, Some(*map(np.concatenate, zip(*pieces)))
  )


def events_of(state: State, kind: Kind, log: Log, some: Some) -> Events:
  """Builds the events of some rows, those that a state has."""
  is_event = _is_event(state, log, some.rows)
  rows = some.rows[is_event]
  entry = log.entries[state.column][rows] if state.column else None
  amounts = log.sums(rows)
  if state.pause:
    amounts = amounts[:, :0]
  return events.build(
      kind, some.keys[is_event], log.time[rows], amounts, entry
  )


def questions(
    state: State, log: Log, part: Part, slab: Slab
) -> Iterator[Some]:
  """Yields the rows of a part that ask in a slab, some at a time."""
  for some in rows_of(log.keys[state.key], part):
    if slab != Slab():
      asks = _within(log.asked[some.rows], slab)
      some = Some(some.rows[asks], some.keys[asks])
    yield some  # Without rows too: each column is made.


def _is_event(state: State, log: Log, rows: np.ndarray) -> np.ndarray:
  """Returns bool [q], which rows are events of a state."""
  is_event = log.is_event[rows]
  if state.only:
    is_event = is_event & (log.amounts[state.only][rows] > 0)
  return is_event


def _within(time: np.ndarray, slab: Slab) -> np.ndarray:
  return (time >= slab.low) & (time < slab.high)
