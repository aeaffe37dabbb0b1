"""A lock that lets only one process use a folder at a time."""

from collections.abc import Iterator
import contextlib
import os
import socket

from esmm_jax.types import InputError
from esmm_jax.whole_files import make_folders

try:
  import fcntl
except ImportError:  # Not on Windows, where nothing is locked.
  fcntl = None

_NAME = '.lock'


@contextlib.contextmanager
def held(folder: str, flag: str = '--workdir') -> Iterator[None]:
  """Locks a folder against other processes for the duration of the block.

  The operating system holds the lock, so it frees that of a killed process.

  Args:
    folder: The folder, which need not exist yet.
    flag: The flag that names the folder, for messages.

  Raises:
    InputError: Another process holds the lock, or the lock cannot be written.
  """
  if fcntl is None:
    yield
    return
  path = os.path.join(folder, _NAME)
  try:
    make_folders(folder)
    file = open(path, 'a+', encoding='utf-8')
  except OSError as e:
    raise InputError(
        f'{flag}={folder}: {e.strerror}. Name a folder that can be written.'
    ) from e
  with file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
      file.seek(0)
      raise InputError(
          f'{flag}={folder} is in use by {file.read() or "another process"}.'
          f' Wait for it to end, stop it, or use another {flag}.'
      ) from e
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}')
    file.flush()
    yield
