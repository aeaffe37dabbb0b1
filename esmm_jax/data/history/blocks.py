"""Stretches of time in which no row sees a label of another one.

Live histories tell of labels that are minutes old. A positive row raises the
scores of the later rows of its user above its own, so that even random labels
would have a GAUC below 1/2 over a split: it compares rows of a block. Blocks
are as long as the shortest delay, and end with the day.
"""

from collections.abc import Sequence
from typing import NamedTuple

from esmm_jax.data.history.clock import Clock
from esmm_jax.data.history.spans import DAY
from esmm_jax.data.history.specs import shortest_delay, Spec
import numpy as np


def blocks(specs: Sequence[Spec], clock: Clock, time: np.ndarray) -> np.ndarray:
  """Numbers the blocks of times, int64 [n].

  Args:
    specs: The history.
    clock: Of the times.
    time: int64 [n], nanoseconds.
  """
  length = _length(specs)
  day = clock.days(time)
  # A day of the zone may have an hour more than others.
  return day * (2 * DAY // length) + (time - clock.begins(day)) // length


class Dated(NamedTuple):
  """The blocks of rows whose days are not those of their times.

  Attributes:
    days: int64 [b], in ascending order with `stretches`.
    stretches: int64 [b]; 0 where a block is a day.
  """

  days: np.ndarray
  stretches: np.ndarray

  @classmethod
  def of(
      cls, specs: Sequence[Spec], day: np.ndarray, time: np.ndarray
  ) -> 'Dated':
    """Finds the blocks of rows.

    Args:
      specs: The history.
      day: Integers [n] that grow with the days.
      time: int64 [n], nanoseconds.
    """
    return cls(day.astype(np.int64), _stretches(specs, time))._distinct()

  def merge(self, other: 'Dated') -> 'Dated':
    """Returns the blocks of both."""
    return Dated(*map(np.concatenate, zip(self, other)))._distinct()

  def numbers(
      self, specs: Sequence[Spec], day: np.ndarray, time: np.ndarray
  ) -> np.ndarray:
    """Numbers the blocks of rows, int32 [n], from 0 and without gaps.

    Args:
      specs: See `of`.
      day: See there; all blocks of the rows are among these.
      time: See there.
    """
    names = np.unique(self.stretches)
    codes = lambda day, stretch: (
        np.searchsorted(self.days, day) * len(names)
        + np.searchsorted(names, stretch)
    )
    rows = codes(day.astype(np.int64), _stretches(specs, time))
    return np.searchsorted(codes(*self), rows).astype(np.int32)

  def _distinct(self) -> 'Dated':
    """Returns each block once, in order."""
    pairs = np.unique(np.stack(self, axis=1), axis=0)
    return Dated(pairs[:, 0], pairs[:, 1])


def _length(specs: Sequence[Spec]) -> int:
  """Returns the length of blocks in nanoseconds."""
  delay = shortest_delay(specs)
  return DAY if delay is None else min(DAY, delay.ns)


def _stretches(specs: Sequence[Spec], time: np.ndarray) -> np.ndarray:
  """Returns which stretch of its day a time is in, int64 [n]."""
  length = _length(specs)
  return np.zeros(len(time), np.int64) if length == DAY else time // length
