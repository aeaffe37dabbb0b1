"""Stopping when the system asks for it, so that nothing is lost.

Batch systems send SIGTERM some time before they take a machine away. The run
then saves where it is and ends with exit code 75, "try again later".
"""

from collections.abc import Iterator
import contextlib
import signal
import threading

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h.


class Stopped(SystemExit):
  """The run was asked to stop and has saved where it is."""

  def __init__(self, message: str):
    super().__init__(EXIT_CODE)
    self.message = message

  def __str__(self) -> str:
    return self.message


class Asked:
  """Whether the process was asked to stop.

  Attributes:
    now: True once it was.
  """

  def __init__(self):
    self.now = False

  def __bool__(self) -> bool:
    return self.now


@contextlib.contextmanager
def asked() -> Iterator[Asked]:
  """While it lasts, the first SIGTERM is noted; a second one ends the process.

  Signals reach the main thread alone; in another one nothing is noted.
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
