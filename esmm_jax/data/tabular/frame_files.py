"""A log in memory, a DataFrame say, as the Parquet files of a data set.

A file is named by a hash of its values, so that the same rows are the same log
when a run is resumed, whatever library holds them.
"""

from collections.abc import Mapping, Sequence
import contextlib
import hashlib
import os
import tempfile
from typing import Any

from esmm_jax.data.files import frames
from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.values import raw_values
from esmm_jax.data.values.raw_values import Location
from esmm_jax.types import InputError
from esmm_jax.whole_files import replacing, SUFFIX
import numpy as np
from pyarrow import parquet
import pyarrow as pa
import pyarrow.compute as pc

FOLDER = 'frames'
_ROWS = 1 << 17
_OPTIONS = ('files', 'valid_files', 'test_files')
_EXACT = 2.0**53  # Whole numbers up to here are exact as float64.


def saved(
    log: Any, folder: str, options: Mapping[str, Any]
) -> dict[str, Any]:
  """Writes a log in memory into files, of the columns that are read of it.

  Args:
    log: Rows as `frames.read` takes them; or a tuple of such, of training,
      validation (or None) and test.
    folder: Of all prepared data; the files go into its folder `frames`.
    options: Of the data set, without files.

  Returns:
    The options, with the files.

  Raises:
    InputError: Files are named too, an option is not possible, or the rows
      lack a column.
  """
  if any(options.get(key) for key in _OPTIONS):
    raise InputError(
        'the log is given in memory, and dataset.files, valid_files or'
        ' test_files name files; leave these empty.'
    )
  parts = {'files': log}
  options = {k: v for k, v in options.items() if k not in _OPTIONS}
  if isinstance(log, tuple):
    if not 2 <= len(log) <= len(_OPTIONS) or log[0] is None or log[-1] is None:
      raise InputError(
          'a log in parts is a tuple (training, test) or (training,'
          ' validation, test), of frames.'
      )
    keys = _OPTIONS if len(log) == len(_OPTIONS) else _OPTIONS[::2]
    parts = {k: part for k, part in zip(keys, log) if part is not None}
    options['split'] = 'files'
  # The names stand for the files, of which the columns do not depend.
  names = TabularConfig.from_options({**options, **dict.fromkeys(parts, '-')})
  words = {'files': 'log', 'valid_files': 'validation', 'test_files': 'test'}
  files = {
      key: save(part, os.path.join(folder, FOLDER), names.read, words[key])
      for key, part in parts.items()
  }
  return options | files


def save(
    frame: Any, folder: str, names: Sequence[str], where: str = 'log'
) -> str:
  """Writes columns of a frame into a Parquet file, unless it is there.

  Args:
    frame: Rows as `frames.read` takes them.
    folder: Gets the file.
    names: The columns.
    where: Name of the frame, for messages.

  Returns:
    Path of the file, the absolute one.

  Raises:
    InputError: The rows lack a column, or a column is none.
  """
  folder = os.path.abspath(folder)
  os.makedirs(folder, exist_ok=True)
  number, unnamed = tempfile.mkstemp(SUFFIX, '.log.', folder)
  os.close(number)
  try:
    name = _write(unnamed, frame, names, where)
    path = os.path.join(folder, f'{name}.parquet')
    if not os.path.exists(path):
      with replacing(path) as temporary:
        os.replace(unnamed, temporary)
  finally:
    if os.path.exists(unnamed):
      os.remove(unnamed)
  return path


def _write(path: str, frame: Any, names: Sequence[str], where: str) -> str:
  """Writes columns of a frame; returns the hash of their values."""
  hashes = {name: _Hash() for name in names}
  why = ', which the dataset section names'
  with contextlib.ExitStack() as stack:
    writer = None
    for first, piece in frames.pieces(frame, names, _ROWS, where, why):
      location = Location(where, first)
      table = pa.table({
          name: _storable(column, location.column(name))
          for name, column in piece.columns.items()
      })
      writer = writer or stack.enter_context(
          parquet.ParquetWriter(path, table.schema)
      )
      for low in range(0, table.num_rows, _ROWS):
        rows = table.slice(low, _ROWS)
        for name, values in hashes.items():
          values.add(pa.concat_arrays(rows[name].chunks))
        writer.write_table(rows)
  texts = [f'{name!r} {values.hexdigest()}' for name, values in hashes.items()]
  return hashlib.sha256(' '.join(texts).encode()).hexdigest()[:16]


def _storable(column: Any, location: Location) -> pa.Array:
  """Converts a column to a type that Parquet has.

  Of texts and lists it is one, so that the same rows give the same file. It
  does not depend on the values, which may all be null in a piece.
  """
  if isinstance(column, pa.ChunkedArray):
    kind = _storable_type(column.type)
    pieces = [_storable(chunk, location) for chunk in column.chunks]
    return pa.concat_arrays(pieces or [pa.nulls(0, kind)])
  array = column
  if not isinstance(column, pa.Array):
    array = raw_values.arrow(column, location)
  if isinstance(array, pa.ExtensionArray):
    array = array.storage
  if pa.types.is_run_end_encoded(array.type):
    array = pc.run_end_decode(array)
  if pa.types.is_dictionary(array.type):
    array = array.dictionary_decode()
  return array.cast(_storable_type(array.type))


def _storable_type(kind: pa.DataType) -> pa.DataType:
  kinds = pa.types
  if isinstance(kind, pa.BaseExtensionType):
    return _storable_type(kind.storage_type)
  if kinds.is_dictionary(kind) or kinds.is_run_end_encoded(kind):
    return _storable_type(kind.value_type)
  if kinds.is_string(kind) or kinds.is_string_view(kind):
    return pa.large_string()
  if kinds.is_binary(kind) or kinds.is_binary_view(kind):
    return pa.large_binary()
  if kinds.is_list(kind) or kinds.is_large_list(kind) or (
      kinds.is_list_view(kind) or kinds.is_large_list_view(kind)
  ):
    return pa.large_list(_storable_type(kind.value_type))
  if kinds.is_fixed_size_list(kind):
    return pa.list_(_storable_type(kind.value_type), kind.list_size)
  return kind


class _Hash:
  """Hash of a column's values.

  It depends neither on the pieces that the column comes in nor on how its
  values are stored: 7 and 7.0 are one number, all texts of one kind.
  """

  def __init__(self):
    self._parts: dict[str, Any] = {}
    self._entries: _Hash | None = None
    self._kind = ''

  def hexdigest(self) -> str:
    """Returns the hash of what was added."""
    texts = [self._kind]
    texts += [f'{k} {h.hexdigest()}' for k, h in sorted(self._parts.items())]
    texts += [self._entries.hexdigest()] if self._entries else []
    return hashlib.sha256(' '.join(texts).encode()).hexdigest()

  def add(self, array: pa.Array) -> None:
    """Adds values; all arrays are of one type."""
    kinds, kind = pa.types, array.type
    if kinds.is_large_list(kind) or kinds.is_fixed_size_list(kind):
      self._kind = 'list'
      self._update('valid', array.is_valid())
      self._update('lengths', pc.fill_null(pc.list_value_length(array), 0))
      self._entries = self._entries or _Hash()
      self._entries.add(array.flatten())
    elif kinds.is_integer(kind) or kinds.is_floating(kind):
      self._add_numbers(array)
    elif kinds.is_temporal(kind) or kinds.is_boolean(kind):
      self._kind = str(kind)
      self._update('valid', array.is_valid())
      width = {1: pa.uint8(), 32: pa.int32()}.get(kind.bit_width, pa.int64())
      is_bit = kinds.is_boolean(kind)
      values = array.cast(width) if is_bit else array.view(width)
      self._update('values', values.fill_null(0))
    else:
      self._add_texts(array)

  def _add_numbers(self, array: pa.Array) -> None:
    self._kind = 'number'
    values = array.fill_null(0).to_numpy(zero_copy_only=False)
    is_valid = array.is_valid().to_numpy(zero_copy_only=False)
    as_floats = values.astype(np.float64) + 0.0  # -0 is 0.
    is_valid = is_valid & ~np.isnan(as_floats)
    self._update('valid', is_valid)
    self._update('values', np.where(is_valid, as_floats, 0))
    # Of large ones float64 does not hold every digit.
    size = np.abs(as_floats)
    is_large = is_valid & (size >= _EXACT)
    if values.dtype.kind == 'f':
      is_large &= size < 2.0**63
    if is_large.any():
      whole = values[is_large]
      if values.dtype != np.uint64:
        whole = whole.astype(np.int64)
      self._update('large', whole)

  def _add_texts(self, array: pa.Array) -> None:
    kinds, kind = pa.types, array.type
    is_text = kinds.is_large_string(kind) or kinds.is_large_binary(kind)
    self._kind = 'text' if is_text else str(kind)
    self._update('valid', array.is_valid())
    if not is_text:
      texts = [None if v is None else str(v) for v in array.to_pylist()]
      array = pa.array(texts, pa.string())
    array = array.cast(pa.large_binary()).fill_null(b'')
    self._update('lengths', pc.binary_length(array))
    _, offsets, content = array.buffers()
    ends = np.frombuffer(offsets, np.int64)
    low, high = ends[array.offset], ends[array.offset + len(array)]
    if high > low:
      self._update('content', np.frombuffer(content, np.uint8)[low:high])

  def _update(self, part: str, values: Any) -> None:
    if isinstance(values, pa.Array):
      values = values.to_numpy(zero_copy_only=False)
    if part == 'lengths':
      values = values.astype(np.int64)
    part_hash = self._parts.setdefault(part, hashlib.sha256())
    part_hash.update(np.ascontiguousarray(values).data)
