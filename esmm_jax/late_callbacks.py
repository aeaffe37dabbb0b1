"""Silences what Orbax leaves behind after a checkpoint cannot be written.

Orbax writes many files at once in an event loop, raises the first failure,
which `Checkpoints` reports in one line, and closes the loop. Of the others
Python prints, later and at any time, what nobody can catch:
  * TensorStore tells each to the loop that is closed: a traceback;
  * a failure that nobody asks for: `asyncio` logs it with a traceback;
  * a coroutine that had not begun: "was never awaited".
"""

import logging
import re
import sys
import traceback
from typing import Any
import warnings

_CLOSED = 'Event loop is closed'  # The words of asyncio.
_TOLD = 'call_soon_threadsafe'  # Where TensorStore enters Python.
_UNASKED = 'exception was never retrieved'  # The words of asyncio.
_UNBEGUN = r"coroutine '[^']*serialize[^']*' was never awaited"
_STORE = 'in OCDBT database'  # TensorStore's words; these have no traceback.
_LIBRARY = re.compile(r'[\\/]orbax[\\/]checkpoint[\\/]')


def _is_late(unraisable: Any) -> bool:
  """Tells whether an exception that nobody can catch is one of these."""
  error, where = unraisable.exc_value, unraisable.exc_traceback
  if isinstance(error, RuntimeWarning):  # Where warnings are errors.
    return bool(re.match(_UNBEGUN, str(error)))
  closed = isinstance(error, RuntimeError) and str(error) == _CLOSED
  return bool(closed and where and where.tb_frame.f_code.co_name == _TOLD)


class _Asked(logging.Filter):
  """Passes what `asyncio` logs, but for failures inside of Orbax."""

  def filter(self, record: logging.LogRecord) -> bool:
    if not record.exc_info or _UNASKED not in record.getMessage():
      return True
    _, error, frames = record.exc_info
    return _STORE not in str(error) and not any(
        _LIBRARY.search(frame.f_code.co_filename)
        for frame, _ in traceback.walk_tb(frames)
    )


def silence() -> None:
  """Prints none of these in this process any more; others as before."""
  before = sys.unraisablehook
  if getattr(before, 'silences_late_callbacks', False):
    return

  def hook(unraisable: Any) -> None:
    if not _is_late(unraisable):
      before(unraisable)

  hook.silences_late_callbacks = True
  sys.unraisablehook = hook
  warnings.filterwarnings('ignore', _UNBEGUN, RuntimeWarning)
  logger = logging.getLogger('asyncio')
  if not any(isinstance(one, _Asked) for one in logger.filters):
    logger.addFilter(_Asked())
