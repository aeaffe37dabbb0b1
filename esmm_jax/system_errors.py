"""Errors of the operating system, also those that a library wraps in others.

They say nothing of what is in a file: a disk that is full or failing, rights
that are missing, too many open files are never damage. Each is told in one
line: the file, the system's words, and what to do.
"""

from collections.abc import Iterator
import contextlib
import errno
import os
import re

from esmm_jax.types import InputError

# TensorStore, below Orbax, raises ValueError with the code in its text, and
# shutil.copytree an OSError that lists those of the files.
_WRAPPED = re.compile(r"os_error_code='(\d+)'|\[Errno (\d+)\]")
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
    errno.ENOMEM: 'Close other programs, or use a machine with more memory.',
    errno.EIO: _HARDWARE,
    errno.ESTALE: _HARDWARE,
    errno.ETIMEDOUT: _HARDWARE,
    errno.EREMOTEIO: _HARDWARE,
    errno.ENXIO: _HARDWARE,
    errno.ENODEV: _HARDWARE,
    errno.ENOLCK: 'The file system has no locks; use a folder on another one.',
    errno.ENAMETOOLONG: 'Use a shorter path.',
    errno.ELOOP: 'A symbolic link leads to itself; remove it.',
    errno.EBUSY: 'Another program uses it; wait for it to end.',
    errno.ETXTBSY: 'Another program uses it; wait for it to end.',
    errno.EEXIST: 'Something else stands there; move it, or use another name.',
    errno.ENOTDIR: 'A part of the path is a file; use another path.',
    errno.EISDIR: 'A folder stands there; move it, or use another name.',
}
# These are of what is there, which damage may change.
_CONTENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL)


def code_of(error: BaseException) -> int | None:
  """Returns the errno of an error; None if no system call failed."""
  if isinstance(error, OSError) and error.errno:
    return error.errno
  wrapped = _WRAPPED.search(str(error))
  return int(wrapped[1] or wrapped[2]) if wrapped else None


def refused(error: BaseException) -> bool:
  """Returns True if the system could not do what it was asked.

  Then nothing is known of the content of the file. A file that is missing is
  not such an error.
  """
  code = code_of(error)
  return code is not None and code not in _CONTENT


def told(error: BaseException, otherwise: str = '') -> str:
  """Returns the system's words for an error and what to do about it.

  Args:
    error: The error.
    otherwise: A sentence, for errors that tell nothing about what to do.
  """
  code = code_of(error)
  if code is None:
    words = str(error).splitlines()[0] if str(error) else repr(error)
    return f'{words} {otherwise}'.strip()
  words = f'{os.strerror(code)} (errno {code}, {errno.errorcode.get(code)}).'
  return f'{words} {_ADVICE.get(code, otherwise)}'.strip()


def line(error: OSError, otherwise: str = '') -> str:
  """Returns `told` with the file in front, where it is known."""
  if error.filename is None:
    return told(error, otherwise)
  name = error.filename
  name = os.fsdecode(name) if isinstance(name, (str, bytes)) else str(name)
  if error.filename2 is not None:
    name = f'{name} -> {error.filename2}'
  return f'{name}: {told(error, otherwise)}'


def refuse(path: str, error: BaseException) -> None:
  """Raises an error if the system could not read a file.

  For use before an error is taken for damage of the file.

  Args:
    path: The file.
    error: The error of reading it.

  Raises:
    InputError: `refused` is true of the error.
  """
  if refused(error):
    raise unreadable(path, error) from error


def unreadable(path: str, error: BaseException) -> InputError:
  """Makes the error of a file that may be sound, but cannot be read."""
  return InputError(f'{path} cannot be read: {told(error)}')


@contextlib.contextmanager
def naming(path: str, temporary: str = '') -> Iterator[None]:
  """Notes in an error of the block which file it was about.

  The system names the file where it is opened, but not where it is written.

  Args:
    path: The file.
    temporary: A part of the names that it has in the meantime.

  Raises:
    OSError: That of the block, with the file.
  """
  try:
    yield
  except OSError as e:
    name = e.filename
    if code_of(e) and (name is None or temporary and temporary in str(name)):
      e.filename, e.filename2 = path, None
    raise
