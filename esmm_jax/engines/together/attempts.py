"""Starts the processes of a run, and all of them again when one is lost."""

import abc
from collections.abc import Callable
import signal
import time
from typing import Any

from esmm_jax import streams
from esmm_jax.engines.together.child import LOST
from esmm_jax.engines.together.process import END, ERR, Event, GONE, OUT

STOPPED = 75  # Exit code of processes that were asked to stop, and saved.
# Seconds in which others may say why they end, after the first bad end.
_GRACE = 5.0


class Group(abc.ABC):
  """The processes of one attempt, which their maker has started."""

  @abc.abstractmethod
  def events(self) -> list[Event]:
    """Returns what they said since the last call; waits for less than 1 s."""

  @abc.abstractmethod
  def stop(self) -> None:
    """Asks all of them to save and to end."""

  @abc.abstractmethod
  def close(self) -> None:
    """Ends those that are left, and returns when they have ended."""


class _Attempt:
  """One attempt.

  Attributes:
    ends: Number -> exit code, or why there is none; in the order of the ends.
  """

  def __init__(self, group: Group, num: int, asked: Any):
    self.ends: dict[int, int | str] = {}
    self._group, self._num, self._asked = group, num, asked
    # Said after a bad end; and by others than the first process.
    self._held: dict[int, list[str]] = {}
    self._until = float('inf')

  def watch(self) -> int:
    """Shows the console of the first process until all have ended.

    Returns:
      The exit code of the run; `LOST` where a process was lost.
    """
    told = False
    while len(self.ends) < self._num and time.monotonic() < self._until:
      if self._asked and not told:
        told = True
        self._group.stop()
      for event in self._group.events():
        self._take(event)
    return self._code()

  def reason(self) -> str:
    """Returns which process was lost, and by what."""
    hard = [k for k, end in self.ends.items() if _is_hard(end)]
    lost = [k for k, end in self.ends.items() if end == LOST]
    for k in hard:
      end = self.ends[k]
      if isinstance(end, int):
        end = f'by signal {-end} ({signal.Signals(-end).name})'
      return f'process {k} was lost, {end}'
    if lost:
      return f'process {lost[0]} has lost another one'
    return f'process {next(iter(self.ends), 0)} was stopped by its machine'

  def show(self, k: int) -> None:
    """Prints what a process said at last and was not shown."""
    prefix = f'[process {k}] ' if k else ''
    for text in self._held.pop(k, []):
      streams.progress(prefix + text)

  def _take(self, event: Event) -> None:
    k, kind, value = event
    if kind in (END, GONE):
      self.ends.setdefault(k, value)
      if value not in (0, STOPPED) and self._until == float('inf'):
        self._until = time.monotonic() + _GRACE
    elif k or (kind == ERR and self._until < float('inf')):
      self._held.setdefault(k, []).append(value)
    elif kind == OUT:
      streams.say(value)
    else:
      streams.progress(value)

  def _code(self) -> int:
    """Returns the exit code of the run; see `watch`."""
    bad = [(k, end) for k, end in self.ends.items() if end != 0]
    if not bad:
      return 0
    errors = {k: e for k, e in bad if e not in (LOST, STOPPED)}
    # Else the errors of others come of it.
    if errors and not any(_is_hard(e) for e in [*errors.values()][:1]):
      errors = {k: e for k, e in errors.items() if not _is_hard(e)}
      k = min(errors)
      self.show(k)
      return errors[k]
    saved = all(end == STOPPED for _, end in bad)
    return STOPPED if self._asked and saved else LOST


def _is_hard(end: int | str) -> bool:
  """Returns whether a process had no time to say anything."""
  return isinstance(end, str) or end < 0


def run(
    start: Callable[[], Group], num: int, max_failures: int, asked: Any
) -> int:
  """Runs the processes until they have ended, whichever are lost meanwhile.

  Args:
    start: Starts all of them.
    num: Number of processes.
    max_failures: Times that they start again after a loss; -1: always.
    asked: True once they are to save and to end; with a `name`, of the signal.

  Returns:
    The exit code of the run.
  """
  failures = 0
  while True:
    group = start()
    try:
      attempt = _Attempt(group, num, asked)
      code = attempt.watch()
    finally:
      group.close()
    if code != LOST:
      return code
    if asked:
      streams.complain(
          f'error: stopped by {asked.name} before all had saved; the same'
          ' command goes on from the last checkpoint.'
      )
      return STOPPED
    failures += 1
    reason = attempt.reason()
    if 0 <= max_failures < failures:
      for k in sorted(attempt.ends):
        if attempt.ends[k] != 0:
          attempt.show(k)
      streams.complain(
          f'error: {reason}; --max_failures={max_failures} allows no further'
          ' attempt. The same command goes on from the last checkpoint.'
      )
      return LOST
    most = '' if max_failures < 0 else f' of {max_failures}'
    streams.warn(
        f'{reason}. All start again at the last checkpoint (failure'
        f' {failures}{most}).'
    )
