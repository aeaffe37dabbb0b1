"""Notes the signals that ask a process to end, so that it can save its state.

Batch systems send SIGTERM some time before they take a machine away, a terminal
that is closed SIGHUP, a limit on processor time SIGXCPU. A run then saves a
checkpoint and ends with exit code 75, "try again later"; other work ends with
the same code, and what it was writing is removed.
"""

from collections.abc import Callable, Iterator
import contextlib
import os
import signal
import threading
import time
from typing import Any

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h.
# Those of them that this platform has.
SIGNALS = tuple(
    getattr(signal, name)
    for name in ('SIGTERM', 'SIGHUP', 'SIGXCPU')
    if hasattr(signal, name)
)
# Seconds in which the same signal again is no second wish: a shell repeats the
# SIGHUP of its terminal.
_SAME = 1.0


class Stopped(SystemExit):
  """Ends the program after a run was asked to stop and has saved its state."""

  def __init__(self, message: str):
    super().__init__(EXIT_CODE)
    self.message = message

  def __str__(self) -> str:
    return self.message


class _State:
  """State of the process.

  Attributes:
    came: The signal that came in a block of `ending`; None if none has.
    is_asked: True once any signal came, until a block of `ending` ends.
  """

  came: int | None = None
  is_asked = False


def is_asked() -> bool:
  """Returns whether this process was asked to end, and is at it."""
  return _State.is_asked


def check() -> None:
  """Raises `Stopped` if a signal came in `ending` and what it raised was lost.

  A library that imports what it may do without, or that is called back, drops
  all that is raised there. Called where other work would begin.
  """
  if _State.came is not None:
    raise _stopped(_State.came)


def _stopped(number: int) -> Stopped:
  return Stopped(
      f'stopped by {signal.Signals(number).name}; what was complete stays, and'
      ' the same command does the rest.'
  )


class Asked:
  """A flag that is true once the process was asked to stop.

  Attributes:
    now: The flag.
    number: The signal; SIGTERM, where another process of the run got it.
    interrupted: True once SIGINT came, which is raised at once; but a library
      that is called back may drop what is raised there.
  """

  def __init__(self):
    self.now = self.interrupted = False
    self.number = signal.SIGTERM

  def __bool__(self) -> bool:
    return self.now

  @property
  def name(self) -> str:
    """Name of the signal, for people."""
    return signal.Signals(self.number).name

  def check(self) -> None:
    """Raises the KeyboardInterrupt of a SIGINT that was dropped."""
    if self.interrupted:
      raise KeyboardInterrupt


@contextlib.contextmanager
def asked() -> Iterator[Asked]:
  """Notes the first signal within the block; a second one ends the process.

  Signals reach the main thread alone; in other threads nothing is noted. A
  signal that came too late for the block to look at it is handed on when the
  block has ended.

  Yields:
    The flag, set by the signal; set at once where one was lost (`check`).
  """
  noted = Asked()
  if _State.came is not None:
    noted.now, noted.number = True, _State.came
  handed_on: dict[int, Any] = {}

  def note(number: int) -> None:
    noted.now, noted.number = True, number

  with _handling(note, handed_on), _interrupts(noted):
    yield noted
    noted.check()
  check()
  before = handed_on.get(noted.number)
  if noted and callable(before):
    before(noted.number, None)


@contextlib.contextmanager
def _interrupts(noted: Asked) -> Iterator[None]:
  """Notes SIGINT within the block, besides what it does."""
  if signal.getsignal(signal.SIGINT) != signal.default_int_handler or (
      threading.current_thread() is not threading.main_thread()
  ):
    yield
    return

  def interrupt(number: int, frame: Any) -> None:
    noted.interrupted = True
    signal.default_int_handler(number, frame)

  signal.signal(signal.SIGINT, interrupt)
  try:
    yield
  finally:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def ending() -> Iterator[None]:
  """Lets the first signal within the block end it with `Stopped`.

  What the block was writing is so removed or kept as after any other error. A
  second signal ends the process at once. `asked` may be used within the block.

  Raises:
    Stopped: A signal came, whatever became of the block.
  """

  def stop(number: int) -> None:
    _State.came = number
    raise _stopped(number)

  try:
    with _handling(stop, {}):
      yield
    check()
  except Stopped:
    raise
  except BaseException:
    check()  # What was half imported, say, fails later.
    raise
  finally:
    _State.came, _State.is_asked = None, False


@contextlib.contextmanager
def _handling(
    first: Callable[[int], None], before: dict[int, Any]
) -> Iterator[None]:
  """Calls `first` with the first signal; puts earlier handlers in `before`."""
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  came: list[tuple[int, float]] = []

  def handle(number: int, frame: Any) -> None:
    del frame
    now = time.monotonic()
    if came:
      if number == came[0][0] and now - came[0][1] < _SAME:
        return
      signal.signal(number, signal.SIG_DFL)
      os.kill(os.getpid(), number)
      return
    came.append((number, now))
    _State.is_asked = True
    # At once, also while JAX compiles and no handler can run.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, 'SIGXCPU'):  # Comes again each second.
      signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    first(number)

  for number in SIGNALS:
    # `nohup` has SIGHUP ignored, and that is how it stays.
    ignored = signal.getsignal(number) == signal.SIG_IGN
    if number == signal.SIGTERM or not ignored:
      before[number] = signal.signal(number, handle)
  try:
    yield
  finally:
    for number, handler in before.items():  # None: one that is not Python's.
      signal.signal(number, signal.SIG_DFL if handler is None else handler)
