"""Measures the examples trained a second, over all processes of a run."""

from collections.abc import Mapping
import contextlib
import math
import time
from typing import Any


class Clock:
  """Times steps, without evaluation and, where it can be, compilation.

  The first step of a process is compiled. It is timed by itself and counts
  only while nothing else does: a run of one step has the rate of that step
  with its compilation, not none.
  """

  def __init__(self, batch_size: int):
    """Makes a clock at zero.

    Args:
      batch_size: Examples of a step, of all replicas together.
    """
    self._batch_size = batch_size
    self._compiled = {'examples': 0, 'seconds': 0.0}
    self._timed = {'examples': 0, 'seconds': 0.0}
    self._examples = 0  # Since the last reading.
    self._since = math.nan
    self._first = True

  @property
  def rate(self) -> float:
    """Examples a second; nan where no step was timed."""
    total = self._timed if self._timed['examples'] else self._compiled
    if not total['seconds']:
      return math.nan
    return total['examples'] / total['seconds']

  def start(self) -> None:
    """Begins to count, before the first step of a process."""
    self._since = time.perf_counter()

  def count(self, steps: int) -> None:
    """Counts steps that were asked for, which may not be done yet."""
    self._examples += steps * self._batch_size

  def read(self) -> None:
    """Adds the time since the last reading; the steps so far must be done."""
    total = self._compiled if self._first else self._timed
    now = time.perf_counter()
    if self._examples:
      total['examples'] += self._examples
      total['seconds'] += now - self._since
      self._examples, self._since, self._first = 0, now, False

  @contextlib.contextmanager
  def paused(self):
    """Does not count the time in here."""
    before = time.perf_counter()
    yield
    self._since += time.perf_counter() - before

  def position(self) -> dict[str, Any]:
    """Returns what a checkpoint needs to know, as JSON.

    In examples, so that a replica's own checkpoint can be resumed alone.
    """
    return {'compiled': dict(self._compiled), 'timed': dict(self._timed)}

  def load(self, position: Mapping[str, Any]) -> None:
    """Takes over what `position` gave, before `start`."""
    self._compiled = dict(position['compiled'])
    self._timed = dict(position['timed'])
