"""Silences what TensorStore prints after a checkpoint could not be written.

Orbax waits for its files in an event loop, and closes that at the first one
that fails. TensorStore tells the loop of each of the others all the same, and
Python prints a traceback of every refusal, which nobody can catch.
"""

import sys
from typing import Any

_CLOSED = 'Event loop is closed'  # The words of asyncio.
_TOLD = 'call_soon_threadsafe'  # Where TensorStore enters Python.


def silence() -> None:
  """Prints no such traceback in this process any more; others as before."""
  before = sys.unraisablehook
  if getattr(before, 'silences_late_callbacks', False):
    return

  def hook(unraisable: Any) -> None:
    error, where = unraisable.exc_value, unraisable.exc_traceback
    closed = isinstance(error, RuntimeError) and str(error) == _CLOSED
    if not (closed and where and where.tb_frame.f_code.co_name == _TOLD):
      before(unraisable)

  hook.silences_late_callbacks = True
  sys.unraisablehook = hook
