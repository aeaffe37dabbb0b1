"""Specs -> the states that answer them, and the times that they ask for."""

from collections.abc import Sequence
from typing import NamedTuple

from esmm_jax.data.history.clock import Clock
from esmm_jax.data.history.events import Kind
from esmm_jax.data.history.spans import earlier
from esmm_jax.data.history.specs import Counter, Entries, Session, Spec
import numpy as np


class State(NamedTuple):
  """Identifies an `Events`: which rows it has and what they add up to.

  Attributes:
    key: Columns of the key.
    half_life: Nanoseconds, or 0.
    pause: Nanoseconds of a session's pause, or 0.
    only: Label that its rows have; '' for all rows.
    column: Whose values its rows hold; '' for none.
  """

  key: tuple[str, ...]
  half_life: int = 0
  pause: int = 0
  only: str = ''
  column: str = ''


def state_of(spec: Spec) -> State:
  """Returns the state that answers a spec."""
  if isinstance(spec, Session):
    return State(spec.key, pause=spec.pause.ns)
  if isinstance(spec, Entries):
    return State(spec.key, only=spec.only, column=spec.column)
  return State(spec.key, half_life=spec.half_life.ns if spec.half_life else 0)


def states(specs: Sequence[Spec]) -> dict[State, tuple[Kind, list[Spec]]]:
  """Groups specs by the state that answers them."""
  groups: dict[State, list[Spec]] = {}
  for spec in specs:
    groups.setdefault(state_of(spec), []).append(spec)
  return {
      state: (
          Kind(
              state.half_life,
              state.pause,
              max(getattr(spec, 'last', 0) for spec in some),
          ),
          some,
      )
      for state, some in groups.items()
  }


def limits(
    spec: Counter | Entries, clock: Clock, asked: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
  """Returns the last nanosecond that rows see, and that before their window.

  A delay of whole days is one of days of the calendar: with 1d a row sees the
  days before its own.

  Args:
    spec: Has the delay.
    clock: That of the log.
    asked: int64 [q], nanoseconds: the times of the rows.

  Returns:
    int64 [q] and, of a spec with a window, int64 [q].
  """
  window = getattr(spec, 'window', None)
  if not spec.delay.days:
    limit = earlier(asked, spec.delay.ns)
    return limit, earlier(limit, window.ns) if window else None
  # Its first day that is not seen.
  day = clock.days(asked) - (spec.delay.days - 1)
  since = clock.begins(day - window.days) - 1 if window else None
  return clock.begins(day) - 1, since


def horizon(specs: Sequence[Spec], clock: Clock, first: int) -> int:
  """Returns the last time that no row from `first` on asks for singly."""
  ends = [first - 1]
  for spec in specs:
    if not isinstance(spec, Session):
      limit, since = limits(spec, clock, np.array([first]))
      ends.append(int((limit if since is None else since)[0]))
  return min(ends)


def capped(
    asked: np.ndarray, split: np.ndarray, held_out: Sequence[int]
) -> np.ndarray:
  """Returns the times of rows, of held-out rows the first one of their split.

  Of the nightly protocol: no row of a split sees another one, or a positive row
  would raise the scores of the key's later rows above its own, and even random
  labels would have a GAUC below 1/2.

  Args:
    asked: int64 [n].
    split: Integers [n].
    held_out: The splits that are no training rows.
  """
  times = asked.copy()
  for number in held_out:
    rows = split == number
    if rows.any():
      times[rows] = asked[rows].min()
  return times
