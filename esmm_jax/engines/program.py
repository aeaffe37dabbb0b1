"""A program in a process of its own: its lines and its end, as they come.

It gets a request, as the first pickle on its stdin, and ends with an answer.
Where its stdin is closed, whoever started it is gone, and it is to end too.
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from typing import Any, NamedTuple

# Command of a program: `function` of a module gets the number of the pipe that
# its answer goes into.
_START = (
    'import sys; sys.path[:] = {path!r}\n'
    'from {module} import {function}; {function}({number})'
)
_LAST_LINES = 5.0  # Seconds for them, once the process has ended.


class End(NamedTuple):
  """The end of a program.

  Attributes:
    code: Its exit code, -9 of signal 9.
    answer: What it sent; b'' of a process that was lost.
    why: Why it was lost, where no exit code says it.
  """

  code: int
  answer: bytes = b''
  why: str = ''

  @property
  def cause(self) -> str:
    """The exit code or the signal, for people."""
    if self.why:
      return self.why
    if self.code < 0:
      return f'signal {-self.code} ({signal.Signals(-self.code).name})'
    return f'exit code {self.code}'


# A line: ('stdout' or 'stderr', its text).
Line = tuple[str, str]
Hears = Callable[[Line | End], None]


class Call(NamedTuple):
  """The work of a program.

  Attributes:
    module: Has the function that is the program.
    function: Its name.
    request: For the program; whatever can be pickled.
  """

  module: str
  function: str
  request: Any


class Program:
  """A program that runs on this machine."""

  def __init__(
      self,
      call: Call,
      hears: Hears,
      path: Sequence[str],
      environment: Mapping[str, str | None],
  ):
    """Starts it.

    Args:
      call: What it does.
      hears: Gets its lines, of threads, and its end, last.
      path: Its `sys.path`.
      environment: Changes of this process's environment; None removes.
    """
    self._hears = hears
    env = {**os.environ, **environment}
    reads, writes = os.pipe()
    text = _START.format(
        path=list(path),
        module=call.module,
        function=call.function,
        number=writes,
    )
    try:
      self._process = subprocess.Popen(
          [sys.executable, '-c', text],
          stdin=subprocess.PIPE,
          stdout=subprocess.PIPE,
          stderr=subprocess.PIPE,
          pass_fds=[writes],
          env={k: v for k, v in env.items() if v is not None},
          # Signals of the terminal are for the program that started it.
          start_new_session=True,
      )
    finally:
      os.close(writes)
    self._answer = b''
    threading.Thread(
        target=self._follow, args=(reads, call.request), daemon=True
    ).start()

  def stop(self) -> None:
    """Sends SIGTERM."""
    self._process.send_signal(signal.SIGTERM)

  def kill(self) -> None:
    """Ends it at once."""
    self._process.kill()

  def _follow(self, reads: int, request: Any) -> None:
    """Hands the request over, and tells of all that comes back."""
    threads = [
        threading.Thread(target=self._read, args=(name,), daemon=True)
        for name in ('stdout', 'stderr')
    ]
    threads.append(
        threading.Thread(target=self._take, args=(reads,), daemon=True)
    )
    for thread in threads:
      thread.start()
    with contextlib.suppress(OSError):  # It was lost, as its end will say.
      self._process.stdin.write(pickle.dumps(request, pickle.HIGHEST_PROTOCOL))
      self._process.stdin.flush()
    code = self._process.wait()
    for thread in threads:  # A process that it started may hold the pipes.
      thread.join(_LAST_LINES)
    with contextlib.suppress(OSError):
      self._process.stdin.close()
    self._hears(End(code, self._answer))

  def _read(self, name: str) -> None:
    with getattr(self._process, name) as stream:
      for line in stream:
        text = line.decode(errors='replace').rstrip()
        if text:
          self._hears((name, text))

  def _take(self, reads: int) -> None:
    with open(reads, 'rb') as stream:
      self._answer = stream.read()
