"""Reads files of vectors: Parquet, .npz, or the text of word2vec."""

import functools
import hashlib
import os
from typing import Any, NamedTuple
import zipfile

from esmm_jax import paths
from esmm_jax.checksums import hash_json
from esmm_jax.data.values import raw_values
from esmm_jax.data.values.raw_values import Location
from esmm_jax.types import InputError
import numpy as np
from pyarrow import parquet
import pyarrow as pa
import pyarrow.compute as pc

_FORMS = ('.parquet', '.npz', '.txt', '.vec')
_MOST = 4096  # Numbers of a vector.


class ByValue(NamedTuple):
  """Vectors by the raw value that they are of.

  Attributes:
    values: Texts [n], one for one value as an encoder has them; no two equal.
    vectors: float32 [n, d].
  """

  values: pa.Array
  vectors: np.ndarray


class About(NamedTuple):
  """Facts of a file that a run notes.

  Attributes:
    sha256: Of the values and vectors, in whatever form they are written.
    dim: Numbers of a vector.
  """

  sha256: str
  dim: int


def read(path: str) -> ByValue:
  """Reads a file of vectors.

  Args:
    path: A Parquet file with the columns `value` and `vector` (a list of
      numbers), an .npz with the arrays `values` [n] and `vectors` [n, d], or a
      .txt or .vec with a value and its numbers a line, blanks between them.

  Raises:
    InputError: It cannot be read, or holds something else; names the file, and
      the row where it is one.
  """
  name = paths.expand(path)
  form = os.path.splitext(name)[1]
  if form not in _FORMS:
    raise InputError(
        f'{path} is no file of vectors: its name must end in one of'
        f' {", ".join(_FORMS)}.'
    )
  readers = {'.parquet': _parquet, '.npz': _npz}
  try:
    values, vectors = readers.get(form, _text)(name, path)
  except InputError:
    raise
  except (OSError, ValueError, zipfile.BadZipFile, pa.ArrowException) as e:
    if isinstance(e, OSError) and e.errno is not None:
      raise InputError(
          f'{path} cannot be read: {e.strerror}. Name the file of vectors.'
      ) from e
    raise InputError(
        f'{path} cannot be read as {form} ({str(e).splitlines()[0]}). Write the'
        ' file of vectors again.'
    ) from e
  return _checked(values, vectors, path)


def about(path: str) -> About:
  """Returns what a run notes of a file; reads it where it has changed.

  Raises:
    InputError: See `read`.
  """
  try:
    stat = os.stat(paths.expand(path))
  except OSError:
    read(path)  # Raises.
    raise
  return _about(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)


@functools.lru_cache(maxsize=64)
def _about(path: str, *unchanged: int) -> About:
  """Reads a file; the runs of a sweep ask for the same one."""
  del unchanged
  values, vectors = read(path)
  order = pc.sort_indices(values).to_numpy()
  texts = hash_json(values.take(pa.array(order)).to_pylist())
  whole = hashlib.sha256(texts.encode())
  for low in range(0, len(order), 1 << 14):
    whole.update(vectors[order[low : low + (1 << 14)]].tobytes())
  return About(whole.hexdigest(), vectors.shape[1])


def _parquet(name: str, path: str) -> tuple[Any, np.ndarray]:
  with open(name, 'rb') as f:
    file = parquet.ParquetFile(f)
    names = file.schema_arrow.names
    for column in ('value', 'vector'):
      if column not in names:
        raise InputError(
            f'{path} has no column {column!r}; a file of vectors has value and'
            f' vector, and here are {", ".join(names)}.'
        )
    table = file.read(['value', 'vector']).combine_chunks()
  column = table['vector'].combine_chunks()
  is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
  if not is_list and not pa.types.is_fixed_size_list(column.type):
    raise InputError(
        f'{path}: column vector is of type {column.type}; it must be a list of'
        ' numbers.'
    )
  if column.null_count:
    row = pc.index(pc.is_null(column), True).as_py()
    raise InputError(f'{path}, row {row}: the vector is missing.')
  lengths = pc.list_value_length(column)
  flat = pc.list_flatten(column)
  if not (pa.types.is_floating(flat.type) or pa.types.is_integer(flat.type)):
    raise InputError(
        f'{path}: column vector is a list of {flat.type}; it must be one of'
        ' numbers.'
    )
  lengths = lengths.to_numpy(zero_copy_only=False)
  _check_lengths(lengths, path, 'row')
  numbers = flat.cast(pa.float64()).to_numpy(zero_copy_only=False)  # Null: nan.
  dim = int(lengths[0]) if len(lengths) else 0
  return table['value'].combine_chunks(), numbers.reshape(len(column), dim)


def _npz(name: str, path: str) -> tuple[Any, np.ndarray]:
  with np.load(name, allow_pickle=False) as file:
    for array in ('values', 'vectors'):
      if array not in file:
        raise InputError(
            f'{path} has no array {array!r}; a file of vectors has values and'
            f' vectors, and here are {", ".join(file.files)}.'
        )
    values, vectors = file['values'], file['vectors']
  if values.ndim != 1 or vectors.ndim != 2 or len(values) != len(vectors):
    raise InputError(
        f'{path}: values has the shape {list(values.shape)} and vectors'
        f' {list(vectors.shape)}; they must be [n] and [n, d].'
    )
  if vectors.dtype.kind not in 'fiu':
    raise InputError(
        f'{path}: vectors is of type {vectors.dtype}; it must be of numbers.'
    )
  return values, vectors


def _text(name: str, path: str) -> tuple[Any, np.ndarray]:
  values, rows = [], []
  with open(name, encoding='utf-8') as f:
    for number, line in enumerate(f, 1):
      value, *numbers = line.rstrip().rsplit(' ') or ['']
      if number == 1 and len(numbers) == 1:  # word2vec: rows and dimension.
        continue
      if not line.strip():
        continue
      try:
        rows.append(np.array(numbers, np.float64))
      except ValueError as e:
        raise InputError(
            f'{path}, line {number}: {str(e).splitlines()[0]}; write a value'
            ' and its numbers, with one blank between them.'
        ) from e
      values.append(value)
  _check_lengths(np.array([len(row) for row in rows]), path, 'vector')
  return values, np.array(rows).reshape(len(rows), len(rows[0]) if rows else 0)


def _check_lengths(lengths: np.ndarray, path: str, noun: str) -> None:
  """Refuses vectors that are not of one size."""
  if len(lengths) and (lengths != lengths[0]).any():
    row = int(np.argmax(lengths != lengths[0]))
    raise InputError(
        f'{path}, {noun} {row}: the vector has {lengths[row]} numbers, and that'
        f' of {noun} 0 has {lengths[0]}; all must be of one size.'
    )


def _checked(values: Any, vectors: np.ndarray, path: str) -> ByValue:
  """Returns what was read in its final form.

  Raises:
    InputError: A value is missing or there twice, or a number is not finite.
  """
  location = Location(path, name='value')
  texts = raw_values.texts(raw_values.arrow(values, location), location)
  num, dim = vectors.shape
  if not num or not 1 <= dim <= _MOST:
    raise InputError(
        f'{path} has {num} vectors of {dim if num else 0} numbers; there must'
        f' be at least one, of 1 to {_MOST}.'
    )
  if texts.null_count:
    row = pc.index(pc.is_null(texts), True).as_py()
    raise InputError(f'{path}, row {row}: the value is missing.')
  with np.errstate(over='ignore'):
    vectors = np.ascontiguousarray(vectors, np.float32)
  bad = ~np.isfinite(vectors).all(axis=1)
  if bad.any():
    row = int(np.argmax(bad))
    raise InputError(
        f'{path}, row {row}: the vector of {texts[row].as_py()!r} holds a'
        ' number that is missing, not finite or past float32.'
    )
  indices = texts.dictionary_encode().indices.to_numpy()
  _, first = np.unique(indices, return_index=True)
  if len(first) < num:
    again = np.ones(num, bool)
    again[first] = False
    row = int(np.argmax(again))
    raise InputError(
        f'{path}, row {row}: the value {texts[row].as_py()!r} stands in row'
        f' {int(np.argmax(indices == indices[row]))} too; each may have one'
        ' vector.'
    )
  return ByValue(texts, vectors)
