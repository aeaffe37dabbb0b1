"""Looks up keys at times: their sums, last rows and sessions.

Each question is a key (`find` makes its index, -1 for a key without rows) and a
limit: the last nanosecond whose rows are seen.
"""

from typing import NamedTuple

from esmm_jax.data.history import totals
from esmm_jax.data.history.events import Events
from esmm_jax.data.history.spans import passed
import numpy as np


class Visit(NamedTuple):
  """The session of a key, of the rows before a time.

  Attributes:
    position: int64 [q], times of the session before; 0: it begins now.
    age: int64 [q], nanoseconds since it began.
    gap: int64 [q], nanoseconds since the row before, whatever session it was
      of; -1: there is none.
  """

  position: np.ndarray
  age: np.ndarray
  gap: np.ndarray


def find(events: Events, keys: np.ndarray) -> np.ndarray:
  """Returns the index of each key, int64 [q], -1 for a key without rows.

  Args:
    events: Of any rows.
    keys: uint64 [q].
  """
  if not len(events.keys):
    return np.full(len(keys), -1)
  at = np.minimum(np.searchsorted(events.keys, keys), len(events.keys) - 1)
  return np.where(events.keys[at] == keys, at, -1)


def sums(
    events: Events,
    index: np.ndarray,
    limit: np.ndarray,
    since: np.ndarray | None = None,
) -> np.ndarray:
  """Sums the amounts of rows up to a limit, int64 [q, A] (decayed: float64).

  Args:
    events: Whose kind is sums, or has a half-life.
    index: int64 [q].
    limit: int64 [q]; totals with a half-life are those of this moment.
    since: int64 [q]; rows up to it are not summed. None: all are.
  """
  total, time = _totals(events, index, limit)
  if events.kind.half_life:
    half_life = float(events.kind.half_life)
    return totals.faded(total, time, limit, half_life)
  return total if since is None else total - _totals(events, index, since)[0]


def last(
    events: Events, index: np.ndarray, limit: np.ndarray, num: int
) -> np.ndarray:
  """Finds the last rows up to a limit.

  Returns:
    int64 [q, num], positions in `events`, the newest first; -1: there are
    fewer. Of rows of one time see `events.build`.
  """
  end = totals.positions(events.start, events.time, index, limit)
  first = np.where(index < 0, 0, events.start[index])
  at = end[:, None] - 1 - np.arange(num)
  return np.where((at >= first[:, None]) & (index >= 0)[:, None], at, -1)


def session(events: Events, index: np.ndarray, time: np.ndarray) -> Visit:
  """Returns the session of each key at a time, of the rows strictly before.

  Args:
    events: Whose kind has a pause.
    index: int64 [q].
    time: int64 [q].
  """
  total, _ = _totals(events, index, time - 1)
  first, steps, before = total.T
  gap = np.where(steps == 0, -1, passed(before, time))
  is_same = (steps > 0) & (gap <= events.kind.pause)
  return Visit(
      np.where(is_same, steps, 0),
      np.where(is_same, passed(first, time), 0),
      gap,
  )


def _totals(
    events: Events, index: np.ndarray, limit: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the totals at a limit, [q, R], and the time of the last row."""
  out = np.zeros((len(index), events.base.shape[1]), events.kind.dtype)
  time = np.full(len(index), totals.NEVER)
  totals.at(
      events.start,
      events.time,
      events.running,
      events.base,
      events.base_time,
      index,
      limit,
      out,
      time,
  )
  return out, time
