"""Columns that grow on disk while they are written, never in memory."""

from collections.abc import Sequence
import io
import os
import shutil
from typing import Any

from esmm_jax import system_errors
from esmm_jax.data.store.columns import open_folder
from esmm_jax.data.store.feature_columns import cut
from esmm_jax.types import Columns, Ragged
import numpy as np

_HEADER = 128  # Bytes; a multiple of 64, so that the data is aligned.


class GrowingColumn:
  """A one-dimensional .npy file that is appended to; readable once closed."""

  def __init__(self, path: str, dtype: Any):
    self._path, self._dtype, self._length = path, np.dtype(dtype), 0
    with system_errors.naming(path), open(path, 'wb') as f:
      f.write(b' ' * _HEADER)

  def append(self, values: np.ndarray) -> None:
    """Adds values, [n], of any dtype that casts to the file's."""
    values = np.ascontiguousarray(values, self._dtype)
    # Opened anew: a data set may have more columns than files may be open.
    with system_errors.naming(self._path), open(self._path, 'ab') as f:
      f.write(values.tobytes())
    self._length += len(values)

  def close(self) -> None:
    """Writes the header, now that the length is known."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header,
        {
            'descr': np.lib.format.dtype_to_descr(self._dtype),
            'fortran_order': False,
            'shape': (self._length,),
        },
    )
    text = header.getvalue()
    # NumPy pads the header to another size than the one reserved, so its length
    # (two bytes, little-endian, behind the magic) is written anew.
    size = (_HEADER - 10).to_bytes(2, 'little')
    padded = text[10:].rstrip(b' \n').ljust(_HEADER - 11) + b'\n'
    with open(self._path, 'r+b') as f:
      f.write(text[:8] + size + padded)


class GrowingTable:
  """A folder of columns, arrays and lists, to which rows are appended."""

  def __init__(self, folder: str):
    os.makedirs(folder)
    self._folder = folder
    self._files: dict[str, GrowingColumn] = {}
    self._ends: dict[str, int] = {}
    self.num_rows = 0

  def append(self, columns: Columns) -> None:
    """Appends rows; every call has the same columns."""
    for name, column in columns.items():
      if not isinstance(column, Ragged):
        self._add(name, column)
        continue
      first = name not in self._ends
      offsets = column.offsets.astype(np.int64) + self._ends.get(name, 0)
      # The file's first offset is 0; each call adds the ones after it.
      self._add(f'{name}.offsets', offsets if first else offsets[1:])
      self._add(f'{name}.values', column.values)
      if column.weights is not None:
        self._add(f'{name}.weights', column.weights)
      self._ends[name] = int(offsets[-1])
    self.num_rows += len(next(iter(columns.values())))

  def _add(self, name: str, values: np.ndarray) -> None:
    if name not in self._files:
      path = os.path.join(self._folder, name + '.npy')
      self._files[name] = GrowingColumn(path, values.dtype)
    self._files[name].append(values)

  def close(self) -> None:
    """Makes the columns readable."""
    for file in self._files.values():
      file.close()


def join(folders: Sequence[str], folder: str, num_rows: int) -> None:
  """Makes one table of several, one after the other, and removes these.

  Args:
    folders: Tables with the same columns, closed; empty folders count as none.
    folder: Of the new one, must not exist.
    num_rows: Read at once.
  """
  folders = [path for path in folders if os.listdir(path)]
  if len(folders) == 1:
    os.rename(folders[0], folder)
    return
  table = GrowingTable(folder)
  for path in folders:
    columns = open_folder(path)
    num = len(next(iter(columns.values())))
    for low in range(0, num, num_rows):
      high = min(low + num_rows, num)
      table.append({n: cut(c, low, high) for n, c in columns.items()})
    shutil.rmtree(path)
  table.close()


class Pile:
  """Pieces of columns appended to one temporary file.

  One pass fills many piles side by side, the next one reads them one after the
  other. A file for each pile, not for each column, keeps the number of files
  low; only the object that wrote it can read it.

  Attributes:
    num_rows: Rows put in.
  """

  def __init__(self, path: str):
    self._path = path
    self._kinds: dict[str, list[np.dtype]] = {}
    self.num_rows = 0

  def put(self, columns: Columns) -> None:
    """Appends rows; every call has the same columns and dtypes."""
    arrays = {name: _arrays(column) for name, column in columns.items()}
    self._kinds = {n: [a.dtype for a in parts] for n, parts in arrays.items()}
    flat = [np.ascontiguousarray(a) for parts in arrays.values() for a in parts]
    sizes = np.array([a.size for a in flat], np.int64)
    with system_errors.naming(self._path), open(self._path, 'ab') as f:
      f.write(b''.join(a.tobytes() for a in [sizes, *flat]))
    self.num_rows += len(next(iter(columns.values())))

  def take(self) -> Columns:
    """Reads all rows; the file stays. {} if nothing was put in."""
    pieces = {n: [[] for _ in kinds] for n, kinds in self._kinds.items()}
    if not pieces:
      return {}
    data = np.fromfile(self._path, np.uint8)
    num = sum(map(len, self._kinds.values()))
    at = 0
    while at < len(data):
      sizes = np.frombuffer(data, np.int64, num, at).tolist()
      at += 8 * num
      for name, kinds in self._kinds.items():
        for k, dtype in enumerate(kinds):
          size = sizes.pop(0)
          pieces[name][k].append(np.frombuffer(data, dtype, size, at))
          at += size * dtype.itemsize
    return {name: _joined(parts) for name, parts in pieces.items()}

  def remove(self) -> None:
    """Removes the file, if it exists."""
    if os.path.exists(self._path):
      os.remove(self._path)


def _arrays(column: np.ndarray | Ragged) -> list[np.ndarray]:
  """Splits a column into arrays; lists into lengths, values and weights."""
  if not isinstance(column, Ragged):
    return [column]
  lengths = np.diff(column.offsets).astype(np.int32)
  weights = [] if column.weights is None else [column.weights]
  return [lengths, column.values, *weights]


def _joined(pieces: list[list[np.ndarray]]) -> np.ndarray | Ragged:
  """Joins the arrays of consecutive pieces to one column; undoes `_arrays`."""
  parts = [np.concatenate(part) for part in pieces]
  if len(parts) == 1:
    return parts[0]
  offsets = np.zeros(len(parts[0]) + 1, np.int64)
  np.cumsum(parts[0], out=offsets[1:])
  return Ragged(parts[1], offsets, parts[2] if len(parts) > 2 else None)
