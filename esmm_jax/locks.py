"""Locks by the file system: one process at a time uses a folder.

The operating system holds a lock for the process that has the file open, so a
killed process holds none, and two containers that share a disk exclude each
other whatever their host names and process ids are. Where the file system has
no locks (NFS without its lock service, some mounted object stores) a warning
says so once, and nothing is locked.
"""

from collections.abc import Iterator
import contextlib
import errno
import os
import re
import socket
import stat
import time
from typing import NamedTuple

from esmm_jax import streams, system_errors
from esmm_jax.types import InputError
from esmm_jax.whole_files import make_folders

try:
  import fcntl
except ImportError:  # Not on Windows, where nothing is locked.
  fcntl = None

NAME = '.lock'
_POLL_SECONDS = 0.2
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
# What stands in a lock file. A power cut leaves a beginning of it, and zeros.
_TEXT = b'process '
_OWN = re.compile(_TEXT + rb'\d*(?: o?n?(?: [^\n]*)?)?')
_SIZE = 512  # Bytes at most.
_warned = False


class _Lock(NamedTuple):
  """An open lock file.

  Attributes:
    number: Its descriptor, whose closing frees the lock.
    is_locked: False where the file system has no locks.
  """

  number: int
  is_locked: bool


class InUse(InputError):
  """Another process holds the lock."""


@contextlib.contextmanager
def held(folder: str, flag: str = '--workdir') -> Iterator[None]:
  """Locks a folder against other processes for the duration of the block.

  Args:
    folder: The folder, which need not exist yet. The lock is its file `.lock`.
    flag: The flag that names the folder, for messages.

  Raises:
    InUse: Another process holds the lock.
    InputError: The lock cannot be written, or `.lock` is a file of others.
  """
  try:
    make_folders(folder)
  except OSError as e:
    raise _unwritable(f'{flag}={folder}', e) from e
  path = os.path.join(folder, NAME)
  lock = _acquire(path, f'{flag}={folder}')
  if lock is None:
    raise InUse(
        f'{flag}={folder} is in use by {_holder(path)}. Wait for it to end,'
        f' stop it, or use another {flag}.'
    )
  with _released(lock):
    yield


@contextlib.contextmanager
def waiting(path: str, what: str) -> Iterator[bool]:
  """Locks a file for the duration of the block, once no other process does.

  What the lock guards may have been done in the meantime: look again.

  Args:
    path: The lock file, made if need be; its folder must exist.
    what: The work that others may be at, for the line on stderr that says that
      this process waits, such as 'the preparation of DIR'.

  Yields:
    Whether it is locked; False where the file system has no locks, so that
    others may be at the same work and nothing of theirs may be removed.

  Raises:
    InputError: The lock cannot be written, or is a file of others.
  """
  waited = False
  while (lock := _acquire(path, path)) is None:
    if not waited:
      streams.progress(f'Waiting for {what} by {_holder(path)}.')
    waited = True
    time.sleep(_POLL_SECONDS)
  with _released(lock):
    yield lock.is_locked


def _acquire(path: str, subject: str) -> _Lock | None:
  """Opens and locks a file; returns None if another process has locked it."""
  while True:
    number = _open(path, subject)
    try:
      is_locked = _lock(number, path)
      # Another process may have removed the file after it was opened here: the
      # lock of a file without a name excludes nobody.
      if is_locked is not None and _is_named(number, path):
        text = f'process {os.getpid()} on {socket.gethostname()}'.encode()
        with contextlib.suppress(OSError):  # It helps people alone.
          os.pwrite(number, text[:_SIZE], 0)
          os.ftruncate(number, len(text[:_SIZE]))
        lock, number = _Lock(number, is_locked), None
        return lock
      if is_locked is None:
        return None
    finally:
      if number is not None:
        os.close(number)


def _open(path: str, subject: str) -> int:
  """Opens a lock file; refuses a file that no lock has written."""
  # No link is followed: behind it is a file of others. It may be a pipe, which
  # must not block.
  flags = os.O_RDWR | os.O_CREAT
  for more in ('O_NOFOLLOW', 'O_NONBLOCK', 'O_CLOEXEC'):
    flags |= getattr(os, more, 0)
  try:
    number = os.open(path, flags, 0o666)
  except OSError as e:
    if e.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
      raise _foreign(path) from e
    raise _unwritable(subject, e) from e
  what = os.fstat(number)
  if stat.S_ISREG(what.st_mode) and what.st_size <= _SIZE:
    text = os.pread(number, _SIZE, 0).rstrip(b'\0')
    if _TEXT.startswith(text) or _OWN.fullmatch(text):
      return number
  os.close(number)
  raise _foreign(path)


def _lock(number: int, path: str) -> bool | None:
  """Locks an open file.

  Returns:
    Whether it is locked; False where that is not possible, None if another
    process holds the lock.
  """
  global _warned
  if fcntl is None:
    return False
  try:
    fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return True
  except BlockingIOError:
    return None
  except OSError as e:
    if e.errno not in _NO_LOCKS:
      raise InputError(
          f'{path} cannot be locked: {system_errors.told(e)}'
      ) from e
    if not _warned:
      _warned = True
      streams.warn(
          f'{path} cannot be locked ({e.strerror}): this file system'
          ' has no locks. Let only one process use a folder at a time.'
      )
    return False


def _is_named(number: int, path: str) -> bool:
  try:
    return os.path.samestat(os.fstat(number), os.lstat(path))
  except FileNotFoundError:
    return False


@contextlib.contextmanager
def _released(lock: _Lock) -> Iterator[None]:
  try:
    yield
  finally:
    os.close(lock.number)


def _holder(path: str) -> str:
  """Returns what the process that holds a lock has written into it."""
  try:
    with open(path, 'rb') as f:
      text = f.read(_SIZE).strip(b'\0').decode(errors='replace')
  except OSError:
    text = ''
  return text if text.isprintable() and text else 'another process'


def _unwritable(subject: str, error: OSError) -> InputError:
  advice = 'Name a folder that can be written.'
  return InputError(f'{subject}: {system_errors.told(error, advice)}')


def _foreign(path: str) -> InputError:
  return InputError(
      f'{path} was not made by this program, which needs that name for its'
      ' lock, and it is left as it is. Rename it, or use another folder.'
  )
