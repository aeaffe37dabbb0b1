"""Notes SIGTERM, so that a run can save its state before it ends.

Batch systems send SIGTERM some time before they take a machine away. The run
then saves a checkpoint and ends with exit code 75, "try again later".
"""

from collections.abc import Iterator
import contextlib
import signal
import threading

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h.


class Stopped(SystemExit):
  """Ends the program after a run was asked to stop and has saved its state."""

  def __init__(self, message: str):
    super().__init__(EXIT_CODE)
    self.message = message

  def __str__(self) -> str:
    return self.message


class Asked:
  """A flag that is true once the process was asked to stop.

  Attributes:
    now: The flag.
  """

  def __init__(self):
    self.now = False

  def __bool__(self) -> bool:
    return self.now


@contextlib.contextmanager
def asked() -> Iterator[Asked]:
  """Notes the first SIGTERM within the block; a second one ends the process.

  Signals reach the main thread alone; in other threads nothing is noted.

  Yields:
    The flag, set by the signal.
  """
  noted = Asked()
  if threading.current_thread() is not threading.main_thread():
    yield noted
    return

  def note(number, frame):
    del number, frame
    noted.now = True
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

  before = signal.signal(signal.SIGTERM, note)
  try:
    yield noted
  finally:
    signal.signal(signal.SIGTERM, before)
