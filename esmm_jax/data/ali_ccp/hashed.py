"""Hashes the raw files of Ali-CCP while they are read."""

from collections.abc import Callable, Iterator, Sequence
import concurrent.futures
import contextlib
import hashlib
import io
import threading
import time
from typing import NamedTuple

from esmm_jax.data.files.file_hashes import stamp, Stamp

_BUFFER = 1 << 20


class Record(NamedTuple):
  """The hash of a file that was read.

  Attributes:
    path: The file.
    stamp: Its `stamp` before it was read.
    began_ns: The time then.
    sha256: Of its bytes.
  """

  path: str
  stamp: Stamp
  began_ns: int
  sha256: str


class Hashed(io.RawIOBase):
  """A file whose bytes are hashed as they are read.

  Attributes:
    path: The file.
  """

  def __init__(self, path: str, progress: Callable[[int], None]):
    """Opens the file; `progress` gets the number of bytes just read."""
    self.path = path
    self._digest = hashlib.sha256()
    self._began_ns, self._stamp = time.time_ns(), stamp(path)
    self._file = open(path, 'rb', buffering=0)
    self._progress = progress

  def readable(self) -> bool:
    return True

  def readinto(self, buffer) -> int:
    num = self._file.readinto(buffer)
    self._digest.update(memoryview(buffer)[:num])
    self._progress(num)
    return num

  def close(self) -> None:
    self._file.close()
    super().close()

  def record(self) -> Record:
    """Reads the bytes that no reader has read, and returns the hash of all."""
    while self.read(_BUFFER):
      pass
    return Record(
        self.path, self._stamp, self._began_ns, self._digest.hexdigest()
    )


class _Left(Exception):
  """The hashes are not needed any more."""


@contextlib.contextmanager
def in_thread(
    paths: Sequence[str],
) -> Iterator[Callable[[], list[Record]]]:
  """Hashes files in a thread, while others read parts of them.

  Args:
    paths: The files, hashed one after the other.

  Yields:
    A function that waits for the hashes.
  """
  left = threading.Event()

  def stop(num: int) -> None:
    del num
    if left.is_set():
      raise _Left

  def hash_all() -> list[Record]:
    records = []
    for path in paths:
      with Hashed(path, stop) as stream:
        records.append(stream.record())
    return records

  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    future = pool.submit(hash_all)
    try:
      yield future.result
    finally:
      left.set()
