"""Errors of object stores: those that pass are waited for, others are told.

The libraries below try again by themselves, a few times within seconds; what is
here waits longer, and knows no library by name but those of fsspec.
"""

from collections.abc import Callable
import errno
import os
import random
import re
import time
from typing import Any, TypeVar

from esmm_jax import streams
from esmm_jax.types import InputError

T = TypeVar('T')
ATTEMPTS = 4
FIRST_WAIT = 1.0  # Seconds; three times as long before each next attempt.
# Seconds after which no attempt is begun: the library has tried for as long.
PATIENCE = 30.0
# Of botocore and google-auth, by name: they are imported by others, if at all.
_NO_CREDENTIALS = (
    'NoCredentialsError', 'PartialCredentialsError', 'DefaultCredentialsError',
    'CredentialRetrievalError', 'TokenRetrievalError',
)  # fmt: skip
_SECRET = re.compile('SECRET|TOKEN|PASSWORD|CREDENTIAL|_KEY')
# Of this machine, whatever the store does.
_HERE = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EMFILE,
    errno.ENFILE,
)  # fmt: skip
_LEAST = 8  # Characters of a secret; fewer may be in any text.


class StoreError(InputError):
  """A store cannot be read or written."""


def retried(url: str, action: Callable[[], T]) -> T:
  """Does what is asked, again where an error may pass.

  Args:
    url: The object, for messages.
    action: May be done several times.

  Returns:
    What the action returns.

  Raises:
    FileNotFoundError: There is no such object, or no such bucket.
    FileExistsError: There is one, and there should be none.
    InputError: Access is denied, or the store failed at every attempt.
    OSError: The disk of this machine is full, say.
  """
  begin = time.monotonic()
  for left in reversed(range(ATTEMPTS)):
    try:
      return action()
    except (InputError, FileNotFoundError, FileExistsError):
      raise
    except Exception as e:
      if isinstance(e, OSError) and e.errno in _HERE:
        raise
      late = time.monotonic() - begin > PATIENCE
      if not left or late or not _passes(e):
        raise refusal(url, e) from e
      wait = FIRST_WAIT * 3 ** (ATTEMPTS - 1 - left)
      streams.progress(f'{url}: {told(e)} It is tried again in {wait:.0f} s.')
      # So that processes that failed together do not come back together.
      time.sleep(wait * random.uniform(0.5, 1.5))
  raise AssertionError


def refusal(url: str, error: Exception) -> StoreError:
  """Makes the error of an object that cannot be read or written."""
  if isinstance(error, PermissionError) or _has_none(error):
    return StoreError(
        f'{url}: access is denied ({told(error)}) Look at the credentials in'
        ' the environment (docs/storage.md) and at the rights of their user.'
    )
  if isinstance(error, FileNotFoundError):
    return StoreError(
        f'{url}: there is no such bucket or file ({told(error)}) Make the'
        ' bucket, or look at the name.'
    )
  if _is_changed(error):
    return StoreError(
        f'{url} was changed while it was read. Wait until it is complete, then'
        ' run the same command.'
    )
  if isinstance(error, NotImplementedError):
    return StoreError(f'{url}: its file system cannot do this; use another.')
  return StoreError(
      f'{url}: {told(error)} Look at the network and the server; then run the'
      ' same command.'
  )


def told(error: BaseException) -> str:
  """Returns the first line of an error, without secrets of the environment."""
  text = ' '.join(str(error).split('\n')[0].split()) or type(error).__name__
  for name, value in os.environ.items():
    if _SECRET.search(name.upper()) and len(value) >= _LEAST:
      text = text.replace(value, '***')
  return text.rstrip('.') + '.'


class Patient:
  """A file for reading whose store may fail now and then."""

  def __init__(self, file: Any, url: str):
    self._file, self._url = file, url

  def __getattr__(self, name: str) -> Any:
    return getattr(self._file, name)

  def read(self, size: int = -1) -> bytes:
    """Reads `size` bytes; all that are left, if it is negative.

    Raises:
      InputError: The store failed at every attempt, or the file was changed.
    """
    begin = self._file.tell()

    def read() -> bytes:
      self._file.seek(begin)
      return self._file.read(size)

    try:
      return retried(self._url, read)
    except FileNotFoundError as e:
      raise refusal(self._url, e) from e

  def readinto(self, buffer: Any) -> int:
    """Fills a buffer; returns the number of bytes."""
    data = self.read(len(buffer))
    buffer[: len(data)] = data
    return len(data)

  def __enter__(self) -> 'Patient':
    return self

  def __exit__(self, *unused: Any) -> None:
    self._file.close()


def _has_none(error: BaseException) -> bool:
  return type(error).__name__ in _NO_CREDENTIALS


def _is_changed(error: BaseException) -> bool:
  """Returns whether a file has another ETag than when it was opened."""
  return type(error).__name__ == 'FileExpired'


def _passes(error: Exception) -> bool:
  """Returns whether the same may work in a moment."""
  lasting = (PermissionError, NotImplementedError, ImportError, TypeError,
             AttributeError, IsADirectoryError, NotADirectoryError)  # fmt: skip
  if _is_changed(error) or _has_none(error):
    return False
  return not isinstance(error, lasting)
