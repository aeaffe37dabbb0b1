"""Processes of a run on this machine."""

import time

from esmm_jax.engines.together.attempts import Group
from esmm_jax.engines.together.process import Event, free_port, Process
from esmm_jax.engines.together.process import Program

_PAUSE = 0.1  # Seconds.


class LocalGroup(Group):
  """Processes that this one has started; they end with it."""

  def __init__(self, program: Program):
    """Starts them.

    Args:
      program: What they run.
    """
    host = '127.0.0.1'
    coordinator = f'{host}:{free_port(host)}'
    self._processes: list[Process] = []
    try:
      for k in range(program.num):
        self._processes.append(Process(program, k, coordinator))
    except BaseException:
      self.close()
      raise

  def events(self) -> list[Event]:
    """See the base class."""
    time.sleep(_PAUSE)
    return [event for one in self._processes for event in one.events(0)]

  def stop(self) -> None:
    """See the base class."""
    for one in self._processes:
      one.stop()

  def close(self) -> None:
    """See the base class."""
    for one in self._processes:
      one.end()
