"""Stretches of time in which no row sees a label of another one.

Live histories tell of labels that are minutes old. A positive row raises the
scores of the later rows of its user above its own, so that even random labels
would have a GAUC below 1/2 over a split: it compares rows of a block.
"""

from collections.abc import Sequence

from esmm_jax.data.history.clock import Clock
from esmm_jax.data.history.spans import DAY
from esmm_jax.data.history.specs import shortest_delay, Spec
import numpy as np


def blocks(specs: Sequence[Spec], clock: Clock, time: np.ndarray) -> np.ndarray:
  """Numbers the blocks of times, int64 [n].

  They are as long as the shortest delay, and end with the day.

  Args:
    specs: The history.
    clock: Of the times.
    time: int64 [n], nanoseconds.
  """
  delay = shortest_delay(specs)
  length = DAY if delay is None else min(DAY, delay.ns)
  day = clock.days(time)
  # A day of the zone may have an hour more than others.
  return day * (2 * DAY // length) + (time - clock.begins(day)) // length
