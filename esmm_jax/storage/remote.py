"""One object of a store: read, written, copied whole or not at all."""

import contextlib
import os
from typing import Any

from esmm_jax import paths, whole_files
from esmm_jax.checksums import sha256
from esmm_jax.storage import faults
from esmm_jax.types import InputError

# Of these an object is there with its last byte, and folders are names only.
# Making a "folder" there could make a bucket.
_OBJECTS = (
    'abfs', 'abfss', 'adl', 'az', 'gcs', 'gs', 'hf', 'memory', 'obs', 'oss',
    's3', 's3a',
)  # fmt: skip
_PARTIAL = '.partial'


def is_remote(path: str) -> bool:
  """Returns whether a path has a protocol of fsspec."""
  return '://' in paths.expand(path)


def join(url: str, *names: str) -> str:
  """Returns the URL of something below another one."""
  return '/'.join([url.rstrip('/'), *names])


def read(url: str) -> bytes | None:
  """Returns what an object holds; None if there is none.

  Raises:
    InputError: It cannot be read.
  """
  fs, name = paths.file_system(url)
  try:
    return faults.retried(url, lambda: fs.cat_file(name))
  except FileNotFoundError:
    return None


def write(url: str, data: bytes, new: bool = False) -> bool:
  """Writes an object.

  Args:
    url: The object.
    data: What it is to hold.
    new: Writes nothing where there is one already, also of another process now
      (of stores that can tell: S3, Google; of others just before).

  Returns:
    False if there was one, with `new`.

  Raises:
    InputError: It cannot be written, or there is no such bucket.
  """
  fs, name = paths.file_system(url)
  _make_folder(fs, name)

  def put() -> None:
    if not new:
      fs.pipe_file(name, data)
    elif size(url) is not None:
      raise FileExistsError(name)
    else:
      fs.pipe_file(name, data, mode='create')

  try:
    faults.retried(url, put)
  except FileExistsError:
    # An attempt that seemed to fail may have done it.
    return new and read(url) == data
  except FileNotFoundError as e:
    raise faults.refusal(url, e) from e
  return True


def size(url: str) -> int | None:
  """Returns the bytes of an object; None if there is none.

  Raises:
    InputError: The store does not say.
  """
  fs, name = paths.file_system(url)

  def ask() -> int:
    fs.invalidate_cache()
    return int(fs.info(name)['size'])

  try:
    return faults.retried(url, ask)
  except FileNotFoundError:
    return None


def upload(path: str, url: str, name: str = '') -> None:
  """Copies a file of this machine to a store.

  Args:
    path: The file.
    url: The object.
    name: What it is, for messages.

  Raises:
    InputError: It cannot be written; what was there before is there still.
  """
  fs, final = paths.file_system(url)
  to = final if _is_objects(fs) else final + _PARTIAL
  _make_folder(fs, final)
  where = f'{url} ({name})' if name else url

  def put() -> None:
    fs.put_file(path, to)
    if to != final:
      fs.mv(to, final)
    fs.invalidate_cache()
    wrote, wanted = int(fs.info(final)['size']), os.path.getsize(path)
    if wrote != wanted:
      raise OSError(f'{wrote} bytes of {wanted} arrived')

  try:
    faults.retried(where, put)
  except FileNotFoundError as e:
    raise faults.refusal(where, e) from e


def download(
    url: str, path: str, num_bytes: int, digest: str, name: str = ''
) -> None:
  """Copies an object to a file of this machine, and compares it.

  Args:
    url: The object.
    path: The file; its folder must exist.
    num_bytes: Of it.
    digest: Its sha256.
    name: What it is, for messages.

  Raises:
    InputError: It is missing, or not what was written.
  """
  fs, source = paths.file_system(url)
  where = f'{url} ({name})' if name else url

  def get() -> None:
    with whole_files.replacing(path) as temporary:
      fs.get_file(source, temporary)
      if (now := os.path.getsize(temporary)) != num_bytes:
        raise OSError(f'{now} bytes of {num_bytes} arrived')
      if sha256(temporary) != digest:
        raise OSError('it is not as it was written, by its sha256')

  try:
    faults.retried(where, get)
  except FileNotFoundError as e:
    raise InputError(
        f'{where} is missing, though the list of its folder has it. Remove that'
        ' folder, and make it anew.'
    ) from e


def remove(url: str) -> None:
  """Removes an object, if it is there."""
  fs, name = paths.file_system(url)
  with contextlib.suppress(FileNotFoundError):
    faults.retried(url, lambda: fs.rm_file(name))


def _is_objects(fs: Any) -> bool:
  protocols = (fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol
  return any(p in _OBJECTS for p in protocols)


def _make_folder(fs: Any, name: str) -> None:
  """Makes the folder of a file, where there are folders."""
  if not _is_objects(fs):
    parent = fs._parent(name)
    faults.retried(parent, lambda: fs.makedirs(parent, exist_ok=True))
