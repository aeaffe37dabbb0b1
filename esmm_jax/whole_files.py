"""Writes files and folders whole or not at all, and durably.

The one way in which the package writes what is read again: under a temporary
name in the same folder, synchronised with the disk, then renamed, then the
folder synchronised. After a crash of the process or the machine either what was
there before is there, or the whole of what is new.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

from esmm_jax import system_errors
import numpy as np

# Temporary names are `.NAME.XXXXXXXX.partial`. Nothing else is named so, and a
# name that begins with a dot is no part of any data.
SUFFIX = '.partial'
# What file managers and network file systems leave in folders they are shown.
_STRAY = ('.DS_Store', 'Thumbs.db', 'desktop.ini', '.directory')
_STRAY_PREFIXES = ('._', '.nfs', '.fuse_hidden', '.~lock')


def is_stray(name: str) -> bool:
  """Returns True for the name of a file that is nobody's, or unfinished.

  Such files do not count: they are neither read, nor damage, nor removed.

  Args:
    name: Of a file in a folder, without the folder.
  """
  unfinished = name.startswith('.') and name.endswith(SUFFIX)
  return unfinished or name in _STRAY or name.startswith(_STRAY_PREFIXES)


@contextlib.contextmanager
def replacing(path: str) -> Iterator[str]:
  """Yields a temporary path whose file replaces `path` when it is complete.

  If the body raises, `path` is left as it was and the temporary file is
  removed. Where `path` is a symbolic link, the link is replaced and the file
  behind it stays as it was.

  Args:
    path: The file; its folder must exist.

  Yields:
    Path of an empty file in the same folder that only this process has.

  Raises:
    OSError: Of `path`, also where it was the temporary file that failed.
  """
  with system_errors.naming(path, SUFFIX):
    number, temporary = tempfile.mkstemp(SUFFIX, *_prefix_and_folder(path))
    os.fchmod(number, 0o666 & ~_umask())  # `mkstemp` lets the user alone read.
    os.close(number)
    try:
      yield temporary
      synchronise(temporary)
      os.replace(temporary, path)
    except BaseException:
      with contextlib.suppress(OSError):
        os.remove(temporary)
      raise
    synchronise(os.path.dirname(path) or '.')


@contextlib.contextmanager
def new_folder(path: str) -> Iterator[str]:
  """Yields a temporary folder that becomes `path` when it is complete.

  If the body raises, the temporary folder is removed with all that is in it.

  Args:
    path: The folder, which must not exist, or be an empty folder; its parent
      must exist.

  Yields:
    Path of an empty folder beside it that only this process has.

  Raises:
    OSError: `path` exists and is not empty.
  """
  with system_errors.naming(path, SUFFIX):
    temporary = tempfile.mkdtemp(SUFFIX, *_prefix_and_folder(path))
    os.chmod(temporary, 0o777 & ~_umask())
    try:
      yield temporary
      synchronise_all(temporary)
      os.rename(temporary, path)
    except BaseException:
      shutil.rmtree(temporary, ignore_errors=True)
      raise
    synchronise(os.path.dirname(path) or '.')


def write_text(path: str, text: str) -> None:
  """Writes a file whole or not at all."""
  with replacing(path) as temporary:
    with open(temporary, 'w', encoding='utf-8') as f:
      f.write(text)


def make_folders(path: str) -> None:
  """Makes a folder and those above it that are missing, durably."""
  path = os.path.abspath(path)
  if os.path.isdir(path):
    return
  parent = os.path.dirname(path)
  if not os.path.lexists(parent):
    make_folders(parent)
  os.makedirs(path, exist_ok=True)
  synchronise(parent)


def save_array(path: str, array: np.ndarray) -> None:
  """Writes an .npy file, as `np.save` does.

  NumPy's own writing into a file tells how many values are missing, and not
  why.

  Raises:
    OSError: The file cannot be written.
  """
  with system_errors.naming(path), open(path, 'wb') as f:
    np.save(_Sink(f.write), array)


class _Sink(NamedTuple):
  """A file that NumPy knows nothing of but how to write to it."""

  write: Callable[[bytes], int]


def synchronise(path: str) -> None:
  """Waits until a file, or the list of names of a folder, is on the disk."""
  number = os.open(path, os.O_RDONLY)
  try:
    os.fsync(number)
  finally:
    os.close(number)


def synchronise_all(folder: str) -> None:
  """Waits until all files and folders in a folder, and itself, are on disk."""
  for root, _, names in os.walk(folder):
    for name in names:
      synchronise(os.path.join(root, name))
    synchronise(root)


def _prefix_and_folder(path: str) -> tuple[str, str]:
  folder, name = os.path.split(path)
  return f'.{name[:100]}.', folder or '.'


def _umask() -> int:
  """Returns the file mode creation mask, which can only be read by setting."""
  mask = os.umask(0o022)
  os.umask(mask)
  return mask
