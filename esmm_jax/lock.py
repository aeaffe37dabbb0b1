"""One process a folder."""

from collections.abc import Iterator
import contextlib
import os
import socket

from esmm_jax.types import InputError

try:
  import fcntl
except ImportError:  # Not on Windows, where nothing is locked.
  fcntl = None

_NAME = '.lock'


@contextlib.contextmanager
def held(folder: str) -> Iterator[None]:
  """Keeps other processes out of a folder while it lasts.

  The lock is the operating system's, so that of a killed process is free.

  Raises:
    InputError: Another process is in there, or the lock cannot be written.
  """
  if fcntl is None:
    yield
    return
  path = os.path.join(folder, _NAME)
  try:
    os.makedirs(folder, exist_ok=True)
    file = open(path, 'a+', encoding='utf-8')
  except OSError as e:
    raise InputError(
        f'--workdir={folder}: {e.strerror}. Name a folder that can be written.'
    ) from e
  with file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as e:
      file.seek(0)
      raise InputError(
          f'--workdir={folder} is in use by {file.read() or "another process"}.'
          ' Wait for it to end, stop it, or use another --workdir.'
      ) from e
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}')
    file.flush()
    yield
