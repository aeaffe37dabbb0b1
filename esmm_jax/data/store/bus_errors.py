"""Ends with a line, not a core dump, when a file is cut short as it is read.

A column is mapped into memory. If another program cuts the file short, the
next access to the missing part is a signal, SIGBUS, and no error that Python
could raise. A Python handler would never run, because it waits for the very
instruction that failed; so a handler in C is installed, which prints a line and
ends the process.
"""

import ctypes
import os
import signal
import sys

EXIT_CODE = 1
_MAX_MASK = 128  # Bytes of sigset_t in glibc and musl.
_SA_SIGINFO = 4
_ADDRESS = 16  # Of si_addr in siginfo_t, on 64-bit Linux.
_handler = None  # The C function must live as long as the process.


class _Action(ctypes.Structure):
  """`struct sigaction` of Linux."""

  _fields_ = [
      ('handler', ctypes.c_void_p),
      ('mask', ctypes.c_char * _MAX_MASK),
      ('flags', ctypes.c_int),
      ('restorer', ctypes.c_void_p),
  ]


def tell() -> None:
  """Lets SIGBUS end the process with one line; does nothing but on Linux."""
  global _handler
  if _handler is not None or sys.platform != 'linux':
    return
  kind = ctypes.CFUNCTYPE(
      None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p
  )
  _handler = kind(_end)
  action = _Action(
      ctypes.cast(_handler, ctypes.c_void_p), b'', _SA_SIGINFO, None
  )
  ctypes.CDLL(None).sigaction(signal.SIGBUS, ctypes.byref(action), None)


def _end(number: int, info: int, context: int) -> None:
  """Prints which file it was, and ends the process."""
  del number, context
  try:
    address = ctypes.c_size_t.from_address(info + _ADDRESS).value
    name = _mapped_at(address) or 'A file that is mapped into memory'
    line = (
        f'error: {name} was cut short while it was read, or its disk failed.'
        ' Restore it; or, if it is prepared data, delete the folder of the data'
        ' set, and the same command prepares it again and resumes.\n'
    )
    os.write(2, line.encode(errors='backslashreplace'))
  finally:
    os._exit(EXIT_CODE)


def _mapped_at(address: int) -> str:
  """Returns the path of the file that is mapped at an address, or ''."""
  with open('/proc/self/maps', encoding='utf-8', errors='replace') as f:
    for line in f:
      low, high = (int(n, 16) for n in line.split(' ', 1)[0].split('-'))
      if low <= address < high:
        return line[line.find('/') :].strip() if '/' in line else ''
  return ''
