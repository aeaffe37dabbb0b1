"""Arrays in files that exist only while a log is prepared."""

from collections.abc import Iterable
import mmap
import os
import shutil
from typing import Any

from esmm_jax import system_errors
from esmm_jax.data.store.columns import open_folder
from esmm_jax.types import Columns, Ragged
import numpy as np


class Scratch:
  """A folder of arrays that are mapped into memory.

  Pages of such arrays count as memory of the process until they are given back
  (`release`), although the system may write them to the disk at any time.
  """

  def __init__(self, folder: str):
    """Makes the folder."""
    os.makedirs(folder)
    self._folder = folder
    self._maps: list[mmap.mmap] = []
    self._num = 0

  def make(self, name: str, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Makes an array of zeros; see `compute.Make`."""
    del name  # It may be none of a file.
    path = os.path.join(self._folder, f'{self._num:04d}.npy')
    self._num += 1
    with system_errors.naming(path):
      array = np.lib.format.open_memmap(path, 'w+', dtype, shape)
    self.watch([array])
    return array

  def open(self, name: str) -> Columns:
    """Opens a table in a folder of this one; `path` says where it is."""
    columns = open_folder(self.path(name))
    for column in columns.values():
      parts = [column]
      if isinstance(column, Ragged):
        parts = [column.values, column.offsets]
      self.watch(parts)
    return columns

  def path(self, name: str) -> str:
    """Returns the path of a folder in this one."""
    return os.path.join(self._folder, name)

  def new(self, name: str) -> str:
    """Makes a folder in this one; returns its path."""
    os.mkdir(self.path(name))
    return self.path(name)

  def watch(self, arrays: Iterable[np.ndarray]) -> None:
    """Takes mapped arrays, whose pages `release` gives back."""
    self._maps += _maps(arrays)

  def release(self) -> None:
    """Gives the memory of all pages back; the arrays stay as they are."""
    _give_back(self._maps)

  def remove(self) -> None:
    """Removes the folder with all in it."""
    self._maps.clear()
    shutil.rmtree(self._folder)


def release(arrays: Iterable[np.ndarray]) -> None:
  """Gives the memory of the pages of mapped arrays back."""
  _give_back(_maps(arrays))


def _maps(arrays: Iterable[np.ndarray]) -> list[mmap.mmap]:
  maps = []
  for array in arrays:
    base = array
    while isinstance(base, np.ndarray):
      base = base.base
    if isinstance(base, mmap.mmap):
      maps.append(base)
  return maps


def _give_back(maps: Iterable[mmap.mmap]) -> None:
  if hasattr(mmap, 'MADV_DONTNEED'):  # Not on Windows.
    for mapped in maps:
      mapped.madvise(mmap.MADV_DONTNEED)
