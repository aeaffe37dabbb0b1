"""Rows of a user's log: their labels and their splits."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple
import zlib

from esmm_jax.data.csv_files.quoted_names import split_names
from esmm_jax.data.files import row_files
from esmm_jax.data.store.sessions import session_hash
from esmm_jax.data.tabular import joint, labels, splits
from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.tabular.splits import LEFT_OUT
from esmm_jax.data.values import raw_values
from esmm_jax.data.values.raw_values import Location, Times
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

READ_ROWS = 1 << 17


class Chunk(NamedTuple):
  """Consecutive rows of a file.

  Attributes:
    columns: Column -> arrow array [n], as the file has it.
    location: Where the rows are, for messages.
    file: Number of the file.
    row: Number of the first row in the file.
    total: Number of the first row in all files.
    split: The split that the whole file belongs to, or LEFT_OUT.
  """

  columns: Mapping[str, Any]
  location: Location
  file: int
  row: int
  total: int
  split: int

  def arrow(self, name: str) -> pa.Array:
    """Returns a column as one array."""
    return raw_values.arrow(self.columns[name], self.location.column(name))

  def texts(self, name: str) -> pa.Array:
    """Returns a column as identifiers."""
    return raw_values.texts(self.arrow(name), self.location.column(name))

  def times(self, name: str) -> Times:
    """Returns a column as times."""
    return raw_values.times(self.arrow(name), self.location.column(name))


class Span(NamedTuple):
  """Rows of a file, or all of them.

  Attributes:
    file: Number of the file.
    first: The first row.
    stop: One past the last row; None: the file as a whole.
  """

  file: int
  first: int = 0
  stop: int | None = None


class Log:
  """The files of a log.

  Attributes:
    paths: Of the files, in order.
    sizes: Path -> bytes.
    dialect: Of CSV files.
    read_rows: Rows of a chunk. Parts of a file begin at multiples of it, so
      that sums of floats, which are made by chunk, are those of one pass.
  """

  def __init__(self, config: TabularConfig):
    """Finds the files.

    Raises:
      InputError: A file does not exist, is named twice, or lacks a column.
    """
    self._config = config
    self._splits: list[int] = []
    self.dialect, self.read_rows = config.dialect, READ_ROWS
    self.paths: list[str] = []
    self.sizes: dict[str, int] = {}
    options = ('files', 'valid_files', 'test_files')
    seen: dict[object, str] = {}
    for split, option in enumerate(options):
      patterns = split_names(getattr(config, option))
      if option == 'files' and not patterns:
        raise InputError(
            "dataset.files is empty; name the log, as in"
            " --config.dataset.files='log/*.parquet'."
        )
      for path, size in row_files.find(
          patterns, f'dataset.{option}', config.dialect, seen
      ):
        self.paths.append(path)
        self.sizes[path] = size
        self._splits.append(split if config.split == 'files' else LEFT_OUT)

  def chunks(
      self,
      spans: Iterable[Span],
      total: int = 0,
      names: list[str] | None = None,
  ) -> Iterator[Chunk]:
    """Reads consecutive rows, `read_rows` at a time.

    Args:
      spans: The rows.
      total: Number of the first row in all files.
      names: The columns to read; default: all that the config names.

    Raises:
      InputError: A file is damaged, or lacks a column.
      UnevenPieces: See `row_files.read`.
    """
    names = self._config.read if names is None else names
    dialect = self.dialect
    why = ', which the dataset section names'
    for number, first, stop in spans:
      path = self.paths[number]
      present = row_files.names(path, dialect)
      row_files.require(names, present, path, why, dialect)
      begin = row_files.location(path, 0, dialect)
      for _, row, table in row_files.read(
          path, names, self.read_rows, dialect, first, stop
      ):
        location = dataclasses.replace(begin, first=row)
        columns = {n: table[n] for n in table.column_names}
        split = self._splits[number]
        yield Chunk(columns, location, number, row, total, split)
        total += table.num_rows


def joint_labels(
    chunk: Chunk, config: TabularConfig
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """Reads the labels of rows and makes them joint (`joint.make_joint`).

  Returns:
    Label -> int8 [n], of a regression float32 [n]; bool [n], the rows that are
    kept.

  Raises:
    InputError: A label is not possible, or the options refuse a row.
  """
  values = {}
  for task in config.tasks:
    event = config.events[task.label]
    location = chunk.location.column(event.column)
    array = chunk.arrow(event.column)
    if task.kind == 'regression':
      values[task.label] = labels.read_numbers(array, location)
    else:
      values[task.label] = event.read(array, location)
    if not task.parent:  # No event before it says what null means.
      unknown = joint.is_unknown(values[task.label])
      must = '0 or 1' if task.kind == 'binary' else 'a number'
      if event.operator:
        must = f'a value: where it is missing, {str(event)!r} is not known'
      raw_values.refuse(unknown, array, must, location)
  return joint.make_joint(
      values,
      config.tasks,
      {label: str(event) for label, event in config.events.items()},
      joint.Rules(config.conversion_without_click, config.unknown_conversion),
      chunk.location,
  )


def row_weights(chunk: Chunk, config: TabularConfig) -> np.ndarray | None:
  """Reads the weights of rows, float32 [n]; None where no column is named.

  Raises:
    InputError: A weight is missing, negative or too large.
  """
  if not config.weight:
    return None
  location = chunk.location.column(config.weight)
  return labels.read_weights(chunk.arrow(config.weight), location)


def split_of(
    chunk: Chunk,
    config: TabularConfig,
    ends: Sequence[Any] | None,
) -> np.ndarray:
  """Assigns rows to splits.

  Args:
    chunk: The rows.
    config: Has the rule.
    ends: Of `split='time'`, `time_ends.Ends`: the times at which validation and
      test begin.

  Returns:
    int8 [n], a position in `SPLITS`, or LEFT_OUT.
  """
  num = len(next(iter(chunk.columns.values())))
  if config.split == 'files':
    split = np.full(num, chunk.split, np.int8)
    if chunk.split or not config.valid_of_train:
      return split
    return splits.by_share(_positions(chunk, config), config.valid_of_train, 0)
  if config.split == 'time':
    times = chunk.times(config.time).values
    split = np.zeros(num, np.int8)
    for end in ends[:2]:
      split += raw_values.reached(times, end)
    return split
  if config.split == 'column':
    return splits.of_names(chunk.texts(config.split_column))[0]
  position = _positions(chunk, config)
  return splits.by_share(position, config.valid_share, config.test_share)


def _positions(chunk: Chunk, config: TabularConfig) -> np.ndarray:
  """Returns numbers of rows as if drawn evenly, float64 [n] in [0, 1)."""
  num = len(next(iter(chunk.columns.values())))
  # Of rows without a value, which are no group that must stay together.
  keys = np.arange(chunk.total, chunk.total + num, dtype=np.uint64)
  if config.split_by:
    values = chunk.texts(config.split_by).dictionary_encode()
    distinct = ['', *values.dictionary.to_pylist()]
    codes = np.array([zlib.crc32(t.encode()) for t in distinct], np.uint64)
    index = pc.fill_null(values.indices, -1).to_numpy(zero_copy_only=False)
    keys = np.where(index < 0, keys, codes[index + 1])
  # By a hash, so that a row's split depends neither on the other rows nor on
  # how the files are read.
  seed = session_hash(np.array([config.split_seed], np.uint64))
  return (session_hash(keys ^ seed) >> np.uint64(11)) * (1.0 / (1 << 53))
