"""Slots that programs run in: as many at once as there are slots."""

import abc
from collections.abc import Callable
import contextlib
import os
import queue
import sys
from typing import Any, NamedTuple

from esmm_jax.engines.program import Call, End, Line, Program
from esmm_jax.engines.shares import shares
from esmm_jax.types import InputError

_SECONDS = 0.5  # In which `hear` looks for what programs say.
# (what runs in a slot, a line or the end)
Told = tuple[Any, Line | End]


class Ask(NamedTuple):
  """Flags that say where programs run.

  Attributes:
    engine: 'local' or 'ray'.
    slots: Programs at once on this machine.
    workers: The same, of `ray`; None: as many as the cluster has room for.
    resources: Of each program, of `ray`, as 'GPU=1,CPU=4'; '' for one GPU where
      there are any, or one processor.
    address: Of the cluster; '' starts a Ray on this machine.
  """

  engine: str = 'local'
  slots: int | None = None
  workers: int | None = None
  resources: str = ''
  address: str = ''

  def check(self) -> None:
    """Raises InputError where flags contradict each other."""
    if self.engine == 'ray' and self.slots is not None:
      raise InputError(
          f'--slots={self.slots} is of --engine=local; --workers says how many'
          ' groups --engine=ray trains at once.'
      )
    if self.engine != 'ray' and self.resources:
      raise InputError(
          f'--resources={self.resources} is of --engine=ray, and --engine is'
          f' {self.engine}; leave one out.'
      )
    if self.slots is not None and self.slots > 1 and os.name == 'nt':
      raise InputError(
          f'--slots={self.slots}: on Windows groups are trained one after the'
          ' other; leave --slots out.'
      )
    if self.engine == 'ray':
      parse(self.resources)

  @property
  def several(self) -> bool:
    """True if programs run in slots, and not in this process."""
    return self.engine == 'ray' or (self.slots or 1) > 1


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


def opened(ask: Ask) -> Slots:
  """Opens slots.

  Raises:
    InputError: Ray is not there, or the cluster lacks the resources.
  """
  if ask.engine == 'local':
    return Local(ask.slots or 1)
  from esmm_jax.engines.ray_slots import OnRay

  return OnRay(ask.workers, parse(ask.resources), ask.address)


def parse(text: str) -> dict[str, float]:
  """Reads resources, such as 'GPU=1,CPU=4'; '' leads to {}.

  Raises:
    InputError: The text has another form, or names what a group cannot have.
  """
  from esmm_jax.engines.together import resources

  chosen = resources.parse(text)
  for name, value in chosen.items():
    if isinstance(value, str):
      raise InputError(
          f'--resources={text}: {name} is of a training over several machines;'
          ' a group of runs takes numbers, such as GPU=1,CPU=4.'
      )
  return chosen
