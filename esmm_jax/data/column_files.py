"""Columns that grow while they are written: on disk, never in memory."""

from collections.abc import Mapping
import io
import os
from typing import Any

from esmm_jax.types import Columns, Ragged
import numpy as np

_HEADER = 128  # Bytes; a multiple of 64, so that the data is aligned.


class GrowingColumn:
  """A one-dimensional .npy file that is appended to; readable once closed."""

  def __init__(self, path: str, dtype: Any):
    self._file = open(path, 'wb', buffering=1 << 20)
    self._file.write(b' ' * _HEADER)
    self._dtype, self._length = np.dtype(dtype), 0

  def append(self, values: np.ndarray) -> None:
    """Adds values, [n], of any dtype that casts to the file's."""
    values = np.ascontiguousarray(values, self._dtype)
    self._file.write(memoryview(values).cast('B') if len(values) else b'')
    self._length += len(values)

  def close(self) -> None:
    """Writes the header, with the length that is known by now."""
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
    # Of the header's own length, two bytes little-endian behind the magic.
    size = (_HEADER - 10).to_bytes(2, 'little')
    padded = text[10:].rstrip(b' \n').ljust(_HEADER - 11) + b'\n'
    self._file.seek(0)
    self._file.write(text[:8] + size + padded)
    self._file.close()


class GrowingTable:
  """A folder of columns, arrays and lists, that is appended to by rows."""

  def __init__(self, folder: str):
    os.makedirs(folder)
    self._folder = folder
    self._files: dict[str, GrowingColumn] = {}
    self._ends: dict[str, int] = {}
    self.num_rows = 0

  def append(self, columns: Columns) -> None:
    """Adds rows; every call has the same columns."""
    for name, column in columns.items():
      if not isinstance(column, Ragged):
        self._add(name, column)
        continue
      first = name not in self._ends
      offsets = column.offsets.astype(np.int64) + self._ends.get(name, 0)
      # The file's first offset is 0, and each call adds those behind it.
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
    for file in self._files.values():
      file.close()


class Pile:
  """Batches of columns put on top of each other in one file, read once.

  For temporary data: a file of its own for each of many piles, which one pass
  fills side by side and the next one reads one after the other.
  """

  def __init__(self, path: str):
    self._path = path
    self.num_rows = 0

  def put(self, columns: Mapping[str, np.ndarray | Ragged]) -> None:
    """Appends rows; every call has the same columns and dtypes."""
    with open(self._path, 'ab') as f:
      for column in columns.values():
        arrays = [column]
        if isinstance(column, Ragged):
          lengths = np.diff(column.offsets).astype(np.int32)
          arrays = [lengths, column.values]
          if column.weights is not None:
            arrays.append(column.weights)
        for array in arrays:
          np.lib.format.write_array(f, np.ascontiguousarray(array))
    self.num_rows += len(next(iter(columns.values())))

  def take(self, like: Mapping[str, int]) -> Columns:
    """All rows; the file stays.

    Args:
      like: Column name -> 0 for an array, 1 for lists, 2 for lists with
        weights, in the order in which they were put.
    """
    arrays = {name: [] for name in like}
    if self.num_rows:
      end = os.path.getsize(self._path)
      with open(self._path, 'rb') as f:
        while f.tell() < end:
          for name, kind in like.items():
            arrays[name].append(
                [np.lib.format.read_array(f) for _ in range(1 + kind)]
            )
    return {name: _joined(pieces) for name, pieces in arrays.items()}

  def remove(self) -> None:
    if os.path.exists(self._path):
      os.remove(self._path)


def _joined(pieces: list[list[np.ndarray]]) -> np.ndarray | Ragged:
  """One column of what was put in turn."""
  parts = [np.concatenate(part) for part in zip(*pieces)]
  if len(parts) == 1:
    return parts[0]
  offsets = np.zeros(len(parts[0]) + 1, np.int64)
  np.cumsum(parts[0], out=offsets[1:])
  return Ragged(parts[1], offsets, parts[2] if len(parts) > 2 else None)
