"""Slots that programs run in: as many at once as there are slots."""

import abc
from collections.abc import Callable
import contextlib
import queue
import sys
from typing import Any

from esmm_jax.engines.program import Call, End, Line, Program
from esmm_jax.engines.shares import shares

_SECONDS = 0.5  # In which `hear` looks for what programs say.
# (what runs in a slot, a line or the end)
Told = tuple[Any, Line | End]


class Slots(abc.ABC):
  """Runs programs."""

  @property
  @abc.abstractmethod
  def num(self) -> int:
    """Programs that may run at once."""

  @abc.abstractmethod
  def begin(self, call: Call) -> Any:
    """Starts a program; returns what `hear` names it by.

    Args:
      call: Its request gets `cores` set, see `Share`.
    """

  @abc.abstractmethod
  def hear(self) -> list[Told]:
    """Waits a moment for what programs say; returns it, in order."""

  @abc.abstractmethod
  def stop(self) -> None:
    """Asks all programs to end, with SIGTERM. `hear` tells how they do."""

  @abc.abstractmethod
  def close(self) -> None:
    """Ends what is still running."""


class Local(Slots):
  """Slots of this machine, which have a share of it each."""

  def __init__(self, num: int):
    """Takes the number of slots."""
    self._num = num
    self._free = shares(num)
    self._running: dict[int, tuple[Program, Any]] = {}
    self._heard: queue.SimpleQueue[tuple[int, Line | End]] = queue.SimpleQueue()
    self._next = 0

  @property
  def num(self) -> int:
    """See the base class."""
    return self._num

  def begin(self, call: Call) -> Any:
    """See the base class."""
    self._next += 1
    number, share = self._next, self._free.pop(0)
    call = call._replace(request={**call.request, 'cores': share.cores})
    hears: Callable[[Line | End], None] = (
        lambda heard: self._heard.put((number, heard))
    )
    program = Program(call, hears, sys.path, share.environment)
    self._running[number] = program, share
    return number

  def hear(self) -> list[Told]:
    """See the base class."""
    told: list[Told] = []
    with contextlib.suppress(queue.Empty):
      told.append(self._heard.get(timeout=_SECONDS))
      while True:
        told.append(self._heard.get_nowait())
    for number, heard in told:
      if isinstance(heard, End):
        self._free.append(self._running.pop(number)[1])
    return told

  def stop(self) -> None:
    """See the base class."""
    for program, _ in self._running.values():
      program.stop()

  def close(self) -> None:
    """See the base class."""
    for program, _ in self._running.values():
      program.kill()
