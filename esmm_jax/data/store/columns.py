"""Slicing, concatenating, reading and writing columns."""

from collections.abc import Iterator
import errno
import os

from esmm_jax.data.store import bus_errors
from esmm_jax.data.store.feature_columns import cut, take
from esmm_jax.data.store.prepared_files import unreadable
from esmm_jax.types import Columns, InputError, Ragged
from esmm_jax.whole_files import is_stray, save_array
import numpy as np

DAMAGED = 'The prepared data is damaged; delete its folder and prepare again.'


def concatenate(pieces: list[np.ndarray | Ragged]) -> np.ndarray | Ragged:
  """Joins consecutive pieces of a column; a single piece is not copied."""
  if len(pieces) == 1:
    return pieces[0]
  if not isinstance(pieces[0], Ragged):
    return np.concatenate(pieces)
  ends = np.cumsum([0] + [p.offsets[-1] for p in pieces])
  return Ragged(
      np.concatenate([p.values for p in pieces]),
      np.concatenate(
          [[0]] + [p.offsets[1:] + e for p, e in zip(pieces, ends)]
      ).astype(np.int64),
      None
      if pieces[0].weights is None
      else np.concatenate([p.weights for p in pieces]),
  )


def take_rows(columns: Columns, index: np.ndarray) -> Columns:
  """Returns the rows of these indices, at least 0, in this order; copies."""
  return {
      name: take(c, index) if isinstance(c, Ragged) else c[index]
      for name, c in columns.items()
  }


def concatenate_rows(parts: list[Columns]) -> Columns:
  """Returns the rows of several parts, one part after the other."""
  return {name: concatenate([p[name] for p in parts]) for name in parts[0]}


def rebatched(pieces: Iterator[Columns], step: int) -> Iterator[Columns]:
  """Joins and cuts pieces so that each has `step` rows, the last one fewer.

  The batches are then those of one long file, whatever files hold the rows.
  """
  waiting, num = [], 0
  for piece in pieces:
    size = len(next(iter(piece.values())))
    if not size:
      continue
    waiting.append(piece)
    num += size
    while num >= step:
      whole = concatenate_rows(waiting)
      yield {name: cut(c, 0, step) for name, c in whole.items()}
      num -= step
      waiting = [take_rows(whole, np.arange(step, step + num))] if num else []
  if num:
    yield concatenate_rows(waiting)


def open_folder(folder: str) -> Columns:
  """Maps a folder's files into memory; a list's files become one `Ragged`.

  Raises:
    InputError: The folder does not exist, or a file is damaged, missing or
      cannot be read.
  """
  bus_errors.tell()
  arrays, columns = {}, {}
  path = folder
  try:
    for name in sorted(os.listdir(folder)):
      if name.endswith('.npy') and not is_stray(name):
        path = os.path.join(folder, name)
        arrays[name.removesuffix('.npy')] = np.load(path, mmap_mode='r')
    path = folder
    for name, array in arrays.items():
      base = name.removesuffix('.values')
      if base != name:
        offsets, weights = arrays[f'{base}.offsets'], f'{base}.weights'
        columns[base] = Ragged(array, offsets, arrays.get(weights))
      elif not name.endswith(('.offsets', '.weights')):
        columns[name] = array
  except OSError as e:
    if e.errno not in (None, errno.ENOENT, errno.ENOTDIR):
      raise unreadable(e, path) from e
    raise InputError(f'{path}: {e.strerror or e}. {DAMAGED}') from e
  except (EOFError, KeyError, ValueError) as e:
    why = str(e).partition('\n')[0]
    raise InputError(f'{path}: {why}. {DAMAGED}') from e
  return columns


def paths_of(
    folder: str, name: str, column: np.ndarray | Ragged
) -> list[str]:
  """Returns the paths of the files of a column that `open_folder` opened."""
  parts = [name]
  if isinstance(column, Ragged):
    parts = [f'{name}.values', f'{name}.offsets']
    parts += [] if column.weights is None else [f'{name}.weights']
  return [os.path.join(folder, f'{part}.npy') for part in parts]


def write_column(folder: str, name: str, column: np.ndarray | Ragged) -> int:
  """Writes one column's files. Returns the bytes written."""
  parts = {name: column}
  if isinstance(column, Ragged):
    parts = {
        f'{name}.values': column.values,
        f'{name}.offsets': column.offsets.astype(np.int64),
    }
    if column.weights is not None:
      parts[f'{name}.weights'] = column.weights
  total = 0
  for part, array in parts.items():
    file = os.path.join(folder, part + '.npy')
    save_array(file, array)
    total += os.stat(file).st_size
  return total
