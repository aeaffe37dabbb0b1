"""The rows of each key, sorted by time, and what they add up to.

An `Events` holds for each key its rows in order of time, a running total after
each row, and a base: the total of older rows, which are held no more. It is
built from rows, merged with newer rows, and trimmed of rows that no question
will ask for singly. What a question finds (`look_up`) depends neither on how
the rows came in nor on how many were trimmed: sums are of integers, and a total
with a half-life is formed row by row in the order of time.
"""

from typing import NamedTuple

from esmm_jax.data.history import totals
from esmm_jax.data.history.hashes import NO_KEY
import numpy as np


class Kind(NamedTuple):
  """The totals of an `Events`; sums where neither of both is set.

  Attributes:
    half_life: Nanoseconds at which a row counts half; 0: all count alike.
    pause: Nanoseconds that end a session; the totals are those of a session.
    keep: Last rows of each key that trimming leaves.
  """

  half_life: int = 0
  pause: int = 0
  keep: int = 0

  @property
  def dtype(self) -> type:
    """The type of the totals."""
    return np.float64 if self.half_life else np.int64

  def width(self, num_amounts: int) -> int:
    """Returns the number of totals, given that of the amounts."""
    return len(totals.SESSION) if self.pause else num_amounts


class Events(NamedTuple):
  """The rows of m keys.

  Attributes:
    kind: The totals.
    keys: uint64 [m], distinct hashes, ascending.
    start: int64 [m + 1], key k has the rows [start[k], start[k + 1]).
    time: int64 [e], nanoseconds, ascending for each key.
    amounts: Integers [e, A].
    entry: uint64 [e], a hash of each row's value, or [0] if there is none.
    running: [e, R], the key's totals after each row; see `totals`.
    base: [m, R], the totals before the first row.
    base_time: int64 [m], time of the last row in the base; `totals.NEVER` if
      there is none.
  """

  kind: Kind
  keys: np.ndarray
  start: np.ndarray
  time: np.ndarray
  amounts: np.ndarray
  entry: np.ndarray
  running: np.ndarray
  base: np.ndarray
  base_time: np.ndarray

  @property
  def nbytes(self) -> int:
    """Bytes of all arrays."""
    return sum(array.nbytes for array in self[1:])


def build(
    kind: Kind,
    keys: np.ndarray,
    time: np.ndarray,
    amounts: np.ndarray,
    entry: np.ndarray | None = None,
) -> Events:
  """Sorts rows by key and time; of one time, by amounts and entry.

  The order of a log's files changes nothing.

  Args:
    kind: The totals.
    keys: uint64 [n], hashes; rows with `NO_KEY` are left out.
    time: int64 [n], nanoseconds.
    amounts: Integers [n, A].
    entry: uint64 [n], or None.
  """
  rows = np.flatnonzero(keys != NO_KEY)
  none = np.zeros(0, np.uint64)
  entry = none if entry is None else entry[rows]
  order = _order(kind, keys[rows], time[rows], amounts[rows], entry)
  rows, entry = rows[order], _taken(entry, order)
  keys = keys[rows]
  is_first = np.ones(len(rows), bool)
  is_first[1:] = keys[1:] != keys[:-1]
  start = np.append(np.flatnonzero(is_first), len(rows))
  distinct = keys[start[:-1]]
  num = len(distinct)
  width = kind.width(amounts.shape[1])
  return _totalled(
      Events(
          kind,
          distinct,
          start,
          time[rows],
          amounts[rows],
          entry,
          np.zeros((0, width), kind.dtype),
          np.zeros((num, width), kind.dtype),
          np.full(num, totals.NEVER),
      )
  )


def merge(old: Events, new: Events) -> Events:
  """Adds rows to an `Events`; the result is that of building both at once.

  If rows of one time are added after `trim`, the trimmed ones are the older.

  Args:
    old: Of any rows.
    new: As `build` makes it, nothing in its base.
  """
  distinct = np.union1d(old.keys, new.keys)
  to_old = np.searchsorted(distinct, old.keys)
  to_new = np.searchsorted(distinct, new.keys)
  key = np.concatenate([
      np.repeat(to_old, np.diff(old.start)),
      np.repeat(to_new, np.diff(new.start)),
  ])
  time = np.concatenate([old.time, new.time])
  amounts = np.concatenate([old.amounts, new.amounts])
  entry = np.concatenate([old.entry, new.entry])
  order = _order(old.kind, key, time, amounts, entry)
  start = np.zeros(len(distinct) + 1, np.int64)
  np.cumsum(np.bincount(key, minlength=len(distinct)), out=start[1:])
  base = np.zeros((len(distinct), old.base.shape[1]), old.base.dtype)
  base[to_old] = old.base
  base_time = np.full(len(distinct), totals.NEVER)
  base_time[to_old] = old.base_time
  return _totalled(
      Events(
          old.kind,
          distinct,
          start,
          time[order],
          amounts[order],
          _taken(entry, order),
          old.running[:0],
          base,
          base_time,
      )
  )


def trim(events: Events, horizon: int) -> Events:
  """Puts rows up to a time into the base, but the last `kind.keep` of them.

  What later questions find stays, as long as they ask for nothing that was
  before `horizon`.

  Args:
    events: Of any rows.
    horizon: Nanoseconds; a session is asked for after it only.
  """
  low, high = events.start[:-1], events.start[1:]
  # The rest of a time would be added to a decayed total by itself, which is
  # another number in its last bits.
  whole = events.kind.half_life > 0
  drop = totals.dropped(
      events.start, events.time, horizon, events.kind.keep, whole
  )
  has = drop > 0
  base, base_time = events.base.copy(), events.base_time.copy()
  last = (low + drop - 1)[has]
  base[has] = events.running[last]
  base_time[has] = events.time[last]
  keep = np.arange(len(events.time)) >= np.repeat(low + drop, high - low)
  start = np.zeros_like(events.start)
  np.cumsum(high - low - drop, out=start[1:])
  return events._replace(
      start=start,
      time=events.time[keep],
      amounts=events.amounts[keep],
      entry=_taken(events.entry, keep),
      running=events.running[keep],
      base=base,
      base_time=base_time,
  )


def take(events: Events, at: np.ndarray) -> Events:
  """Returns those of the keys at some positions, in their order.

  Args:
    events: Of any rows.
    at: int64, distinct.
  """
  lengths = events.start[at + 1] - events.start[at]
  start = np.zeros(len(at) + 1, np.int64)
  np.cumsum(lengths, out=start[1:])
  rows = np.arange(start[-1]) + np.repeat(
      events.start[at] - start[:-1], lengths
  )
  return events._replace(
      keys=events.keys[at],
      start=start,
      time=events.time[rows],
      amounts=events.amounts[rows],
      entry=_taken(events.entry, rows),
      running=events.running[rows],
      base=events.base[at],
      base_time=events.base_time[at],
  )


def join(parts: list[Events]) -> Events:
  """Joins parts of ascending keys, no key in two of them."""
  first = parts[0]
  ends = np.cumsum([0] + [len(p.time) for p in parts])
  start = [p.start[:-1] + end for p, end in zip(parts, ends)]
  joined = {
      name: np.concatenate([getattr(p, name) for p in parts])
      for name in Events._fields
      if name not in ('kind', 'start')
  }
  joined['start'] = np.append(np.concatenate(start), ends[-1])
  return first._replace(**joined)


def _order(
    kind: Kind,
    keys: np.ndarray,
    time: np.ndarray,
    amounts: np.ndarray,
    entry: np.ndarray,
) -> np.ndarray:
  """Orders rows by key and time, and rows that agree in both by what they hold.

  The last rows would otherwise depend on the order in which rows of one time
  came in. Those with a label are the newer ones.

  Args:
    kind: The totals.
    keys: Integers [n].
    time: int64 [n].
    amounts: Integers [n, A].
    entry: uint64 [n], or [0].

  Returns:
    int64 [n].
  """
  order = np.lexsort((time, keys))
  if not kind.keep:  # Sums do not depend on it, see `totals.decayed`.
    return order
  tied = np.zeros(len(order) + 1, bool)
  for values in (keys, time):
    same = values[order[1:]] == values[order[:-1]]
    tied[1:-1] = same if values is keys else tied[1:-1] & same
  at = np.flatnonzero(tied[1:] | tied[:-1])
  rows = order[at]
  by = [entry[rows]] if len(entry) else []
  by += [*amounts[rows].T[::-1], time[rows], keys[rows]]
  order[at] = rows[np.lexsort(tuple(by))]
  return order


def _totalled(events: Events) -> Events:
  """Returns events with their running totals."""
  kind = events.kind
  if kind.pause:
    running = totals.sessions(
        events.start, events.time, events.base, kind.pause
    )
  elif kind.half_life:
    running = totals.decayed(
        events.start,
        events.time,
        events.amounts,
        events.base,
        events.base_time,
        float(kind.half_life),
    )
  else:
    running = totals.sums(events.start, events.amounts, events.base)
  return events._replace(running=running)


def _taken(entry: np.ndarray, rows: np.ndarray) -> np.ndarray:
  return entry[rows] if len(entry) else entry
