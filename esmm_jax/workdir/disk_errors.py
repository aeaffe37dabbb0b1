"""Errors of the operating system, also those that a library wraps in others."""

import errno
import os
import re

# TensorStore, below Orbax, raises ValueError with the code in its text.
_WRAPPED = re.compile(r"os_error_code='(\d+)'")
_ROOM = 'Make room.'
_RIGHTS = 'Give this user the right to it, or use another folder.'
_HARDWARE = 'Look at the disk: its hardware, cable or network may be failing.'
_ADVICE = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: 'Make room, or raise the quota.',
    errno.EFBIG: 'Make room, or raise the limit on file sizes (ulimit -f).',
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: 'Make it writable, or use another folder.',
    errno.EMFILE: 'Raise the limit on open files (ulimit -n).',
    errno.ENFILE: 'Close other programs: the machine has too many open files.',
    errno.EIO: _HARDWARE,
    errno.ESTALE: _HARDWARE,
}


def code_of(error: BaseException) -> int | None:
  """Returns the errno of an error; None if no system call failed."""
  if isinstance(error, OSError) and error.errno:
    return error.errno
  wrapped = _WRAPPED.search(str(error))
  return int(wrapped.group(1)) if wrapped else None


def told(error: BaseException) -> str:
  """Returns the system's words for an error and what to do about it."""
  code = code_of(error)
  if code is None:
    return str(error).splitlines()[0] if str(error) else repr(error)
  words = f'{os.strerror(code)} (errno {code}, {errno.errorcode.get(code)}).'
  return f'{words} {_ADVICE[code]}' if code in _ADVICE else words
