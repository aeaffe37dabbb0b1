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

PART_ROWS = 1 << 20
_BEGINNINGS = 1 << 12
_SHIFT = np.uint64(64 - 12)
_LIST_ROWS = CHUNK // 8
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


EVERY = Part(0, _BEGINNINGS, 0)  # The whole of a short log.


class Some(NamedTuple):
  """Rows of a part.

  Attributes:
    rows: int64 [p], ascending; a row with a list of keys is there for each, in
      ascending order of the keys.
    keys: uint64 [p].
  """

  rows: np.ndarray
  keys: np.ndarray


NO_ROWS = Some(np.zeros(0, np.int64), np.zeros(0, np.uint64))


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
  """Yields the rows of a part, those of `CHUNK` rows of the log at a time."""
  if isinstance(keys, Ragged):
    yield from _rows_of_lists(keys, part)
    return
  for first in range(0, len(keys), CHUNK):
    some = keys[first : first + CHUNK]
    index = np.flatnonzero(_fits(some, part))
    yield Some(first + index, some[index])


def _rows_of_lists(keys: Ragged, part: Part) -> Iterator[Some]:
  """Does it with lists of keys, in order of the keys.

  Sums of floats depend on their order: a row's are added in that of its keys,
  however the log is cut.
  """
  for first in range(0, len(keys), _LIST_ROWS):
    offsets = np.asarray(keys.offsets[first : first + _LIST_ROWS + 1])
    some = keys.values[offsets[0] : offsets[-1]]
    index = np.flatnonzero(_fits(some, part))
    index = index[np.argsort(some[index], kind='stable')]
    rows = np.searchsorted(offsets, offsets[0] + index, side='right') - 1
    yield Some(first + rows, some[index])


def _fits(keys: np.ndarray, part: Part) -> np.ndarray:
  begin = keys >> _SHIFT
  return (begin >= part.low) & (begin < part.high) & (keys != NO_KEY)


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
  pieces = []
  for some in rows_of(log.keys[state.key], part):
    is_event = _is_event(state, log, some.rows)
    is_event &= _within(log.time[some.rows], slab)
    pieces.append(Some(some.rows[is_event], some.keys[is_event]))
  rows, keys = map(np.concatenate, zip(*(pieces or [NO_ROWS])))
  entry = log.entries[state.column][rows] if state.column else None
  amounts = log.sums(rows)
  if state.pause:
    amounts = amounts[:, :0]
  return events.build(kind, keys, log.time[rows], amounts, entry)


def questions(
    state: State, log: Log, part: Part, slab: Slab
) -> Iterator[Some]:
  """Yields the rows of a part that ask in a slab, some at a time."""
  for some in rows_of(log.keys[state.key], part):
    if slab != Slab():
      asks = _within(log.asked[some.rows], slab)
      some = Some(some.rows[asks], some.keys[asks])
    yield some  # Without rows too: every column is made.


def _is_event(state: State, log: Log, rows: np.ndarray) -> np.ndarray:
  """Returns bool [q], which rows are events of a state."""
  is_event = log.is_event[rows]
  if state.only:
    is_event = is_event & (log.amounts[state.only][rows] > 0)
  return is_event


def _within(time: np.ndarray, slab: Slab) -> np.ndarray:
  return (time >= slab.low) & (time < slab.high)
