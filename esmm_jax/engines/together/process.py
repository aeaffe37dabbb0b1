"""One process of a run, and what it says, for whoever holds it."""

from collections import deque
from collections.abc import Mapping, Sequence
import contextlib
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from typing import Any, NamedTuple

from esmm_jax.types import InputError

# Kinds of events: a line on stdout, on stderr; the end, with the exit code,
# negative where it was a signal; or without one, with a reason.
OUT, ERR, END, GONE = 'out', 'err', 'end', 'gone'
# Of others than the first one: the lines that are told when they fail.
_TAIL = 30
_QUIET_ENDS = (0, 75)
_START = (
    'import sys; sys.path[:] = {path} or sys.path\n'
    'from esmm_jax.engines.together import child\n'
    'child.run({module!r}, {argv!r}, {typed!r})'
)


class Event(NamedTuple):
  """Something that a process said, or its end.

  Attributes:
    process: Its number.
    kind: One of `OUT`, `ERR`, `END`, `GONE`.
    value: A line, an exit code or a reason.
  """

  process: int
  kind: str
  value: Any


class Program(NamedTuple):
  """Program of all processes of a run.

  Attributes:
    module: Its name, as `experiments.train`.
    argv: Program and arguments, without those that `Process` adds.
    typed: The command of the person.
    num: Number of processes.
    cwd: Working folder, which all their machines have.
    path: `sys.path`; () leaves that of the machine.
    env: Environment variables that are set besides those of the machine.
  """

  module: str
  argv: Sequence[str]
  typed: Sequence[str]
  num: int
  cwd: str
  path: Sequence[str] = ()
  env: Mapping[str, str] = {}


def free_port(host: str) -> int:
  """Returns a port of an address of this machine at which nothing listens."""
  family = socket.AF_INET6 if ':' in host else socket.AF_INET
  with socket.socket(family) as s:
    s.bind((host, 0))
    return s.getsockname()[1]


class Process:
  """A process that was started, its lines and its end."""

  def __init__(self, program: Program, k: int, coordinator: str):
    """Starts it.

    Args:
      program: What it runs.
      k: Its number.
      coordinator: HOST:PORT of the first process.

    Raises:
      InputError: The machine lacks the working folder.
    """
    if not os.path.isdir(program.cwd):
      raise InputError(
          f'{socket.gethostname()} lacks the folder {program.cwd}, in which the'
          ' command was started: all machines must have it under this path.'
      )
    self._k = k
    self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    self._tail: deque[Event] = deque(maxlen=_TAIL)
    argv = [
        *program.argv,
        f'--coordinator={coordinator}',
        f'--num_processes={program.num}',
        f'--process_id={k}',
    ]
    start = _START.format(
        path=list(program.path),
        module=program.module,
        argv=argv,
        typed=list(program.typed),
    )
    self._process = subprocess.Popen(
        [sys.executable, '-c', start],
        cwd=program.cwd,
        env=_environment(program.env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Signals of the terminal are for the program that starts it alone.
        start_new_session=True,
        text=True,
        encoding='utf-8',
        errors='replace',
    )
    self._readers = [
        threading.Thread(target=self._read, args=pipe, daemon=True)
        for pipe in ((OUT, self._process.stdout), (ERR, self._process.stderr))
    ]
    for thread in (*self._readers, threading.Thread(target=self._end)):
      thread.daemon = True
      thread.start()

  def events(self, timeout: float) -> list[Event]:
    """Returns what came since the last call; waits if that is nothing.

    Args:
      timeout: Seconds to wait.
    """
    events = []
    with contextlib.suppress(queue.Empty):
      events.append(self._events.get(timeout=timeout))
      while True:
        events.append(self._events.get_nowait())
    return events

  def stop(self) -> None:
    """Asks it to save its state and to end."""
    with contextlib.suppress(OSError):  # It has just ended.
      self._process.stdin.write('\n')
      self._process.stdin.flush()

  def end(self) -> None:
    """Ends it at once, if it runs."""
    self._process.kill()
    self._process.wait()
    with contextlib.suppress(OSError):
      self._process.stdin.close()

  def _read(self, kind: str, pipe: Any) -> None:
    """Takes the lines of a pipe."""
    with pipe:
      for text in pipe:
        event = Event(self._k, kind, text.rstrip('\n'))
        if self._k:
          self._tail.append(event)
        else:
          self._events.put(event)

  def _end(self) -> None:
    """Waits for the end."""
    code = self._process.wait()
    until = time.monotonic() + 2.0  # What it has started may hold the pipes.
    for thread in self._readers:
      thread.join(max(0.0, until - time.monotonic()))
    if code not in _QUIET_ENDS:
      for event in list(self._tail):
        self._events.put(event)
    self._events.put(Event(self._k, END, code))


def _environment(changes: Mapping[str, str]) -> dict[str, str]:
  """Returns the environment of this process with changes."""
  # Ray sets it for its workers; so numbers are those of another start.
  environment = dict(os.environ)
  if 'RAY_JOB_ID' in os.environ or 'RAY_RAYLET_PID' in os.environ:
    environment.pop('OMP_NUM_THREADS', None)
  return environment | changes
