"""A value that all parts share, as a file that each worker reads once.

Arrays that are mapped from files are named there and not copied.
"""

from collections.abc import Callable
import mmap
import os
import pickle
import tempfile
from typing import Any

from esmm_jax import system_errors
import numpy as np


class _Pickler(pickle.Pickler):
  """Writes mapped arrays as the names of their files."""

  def reducer_override(self, obj: Any) -> Any:
    """Returns how an object is made again; see `pickle.Pickler`."""
    if isinstance(obj, np.memmap) and isinstance(obj.base, mmap.mmap):
      obj.flush()
      return _mapped, (os.path.abspath(obj.filename),)
    return NotImplemented


def _mapped(path: str) -> np.ndarray:
  return np.load(path, mmap_mode='r')


def save(value: Any, folder: str) -> str:
  """Writes a value into a new file of a folder; returns the path."""
  number, path = tempfile.mkstemp('.pickle', 'shared-', folder)
  with system_errors.naming(path), os.fdopen(number, 'wb') as f:
    _Pickler(f, pickle.HIGHEST_PROTOCOL).dump(value)
  return path


class Last:
  """The value that was read last, which the next part mostly shares."""

  def __init__(self):
    self._path, self._value = '', None

  def load(
      self, path: str, read: Callable[[], bytes] | None = None
  ) -> Any:
    """Returns the value of a file that `save` wrote.

    Args:
      path: The file.
      read: Returns its content, where the file is of another machine.
    """
    if path != self._path:
      self._path, self._value = '', None  # Before there are two of them.
      if read is not None:
        self._value = pickle.loads(read())
      else:
        with open(path, 'rb') as f:
          self._value = pickle.load(f)
      self._path = path
    return self._value
