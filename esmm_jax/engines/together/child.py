"""The child of a process that starts it: runs a program, and listens.

Its standard input is a pipe of the process that started it: a line there is
SIGTERM, and the end of the pipe ends it, so that it outlives nobody.
"""

from collections.abc import Sequence
import os
import runpy
import signal
import sys
import threading

LOST = 6  # Exit code where another process of the run is gone.


class _State:
  """State of the process: the command that people typed, [] for its own."""

  command: list[str] = []


def command() -> list[str]:
  """Returns what was typed to start this process, through another; or []."""
  return _State.command


def run(module: str, argv: Sequence[str], typed: Sequence[str]) -> None:
  """Runs a module as the main program.

  Args:
    module: Its name.
    argv: Program and arguments.
    typed: Those of the process that starts this one.
  """
  _State.command = list(typed)
  pipe = os.dup(0)
  nothing = os.open(os.devnull, os.O_RDONLY)
  os.dup2(nothing, 0)  # What this one starts does not hear.
  os.close(nothing)
  threading.Thread(target=_listen, args=(pipe,), daemon=True).start()
  sys.argv[:] = argv
  runpy.run_module(module, run_name='__main__', alter_sys=True)


def _listen(pipe: int) -> None:
  while os.read(pipe, 1):
    os.kill(os.getpid(), signal.SIGTERM)
  os._exit(LOST)
