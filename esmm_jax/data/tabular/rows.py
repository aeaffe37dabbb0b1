"""Rows of a user's log: their labels and their splits."""

from collections.abc import Iterator, Mapping
import dataclasses
import itertools
from typing import Any, NamedTuple
import zlib

from esmm_jax.data.files import raw_values, row_files
from esmm_jax.data.files.quoted_names import split_names
from esmm_jax.data.files.raw_values import Location
from esmm_jax.data.store.policies import apply_conversion_policy
from esmm_jax.data.store.sessions import session_hash
from esmm_jax.data.tabular.config import SPLITS, TabularConfig
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

READ_ROWS = 1 << 17
LEFT_OUT = -1


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

  def times(self, name: str) -> np.ndarray:
    """Returns a column as times, float64 [n]."""
    return raw_values.times(self.arrow(name), self.location.column(name))


class Log:
  """The files of a log.

  Attributes:
    paths: Of the files, in order.
    sizes: Path -> bytes.
  """

  def __init__(self, config: TabularConfig):
    """Finds the files.

    Raises:
      InputError: A file does not exist, is named twice, or lacks a column.
    """
    self._config = config
    self._splits: list[int] = []
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

  def chunks(self, names: list[str] | None = None) -> Iterator[Chunk]:
    """Reads all rows, `READ_ROWS` at a time.

    Args:
      names: The columns to read; default: all that the config names.
    """
    names = self._config.read if names is None else names
    dialect = self._config.dialect
    why = ', which the dataset section names'
    total = 0
    for number, path in enumerate(self.paths):
      present = row_files.names(path, dialect)
      row_files.require(names, present, path, why, dialect)
      begin = row_files.location(path, 0, dialect)
      for _, first, table in row_files.read(path, names, READ_ROWS, dialect):
        location = dataclasses.replace(begin, first=first)
        columns = {n: table[n] for n in table.column_names}
        split = self._splits[number]
        yield Chunk(columns, location, number, first, total, split)
        total += table.num_rows


def joint_labels(
    chunk: Chunk, config: TabularConfig
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """Reads the labels of rows and applies `conversion_without_click`.

  Returns:
    Label -> int8 [n]; bool [n], the rows that are kept.

  Raises:
    InputError: A label is not 0 or 1, or an event comes without the one before
      and the policy is `error`.
  """
  labels = {
      label: raw_values.labels(chunk.arrow(name), chunk.location.column(name))
      for label, name in config.events.items()
  }
  policy = config.conversion_without_click
  is_kept = np.ones(len(labels['click']), bool)
  pairs = list(itertools.pairwise(labels))
  # A purchase makes the cart 1, which makes the click 1; but a click of 0 makes
  # the cart 0, which makes the purchase 0.
  for before, after in pairs[::-1] if policy == 'click' else pairs:
    joint = apply_conversion_policy(labels[before], labels[after], policy)
    if policy == 'error' and joint.unclicked.any():
      row = np.flatnonzero(joint.unclicked)[0]
      raise InputError(
          f'{chunk.location.at(row)}: {config.events[after]!r} is 1 and'
          f' {config.events[before]!r} is 0. Say what such rows are with'
          ' --config.dataset.conversion_without_click: drop, keep (the later'
          ' event is made 0) or click (the earlier one is made 1).'
      )
    labels[before], labels[after] = joint.click, joint.conversion
    is_kept &= joint.is_kept
  return labels, is_kept


def ends_of_time(log: Log, config: TabularConfig) -> tuple[float, float]:
  """Finds the times at which validation and test begin.

  These are the config's, or follow from its shares. Takes 8 bytes a row. Rows
  of one time are in one split, the later one.

  Raises:
    InputError: They leave a split empty.
  """
  name = config.time
  pieces = [c.times(name) for c in log.chunks([name])]
  times = np.sort(np.concatenate([np.zeros(0), *pieces]))
  num = len(times)
  ends = []
  for option, share in (
      ('valid_from', config.valid_share + config.test_share),
      ('test_from', config.test_share),
  ):
    first = num - round(share * num)
    by_share = float(times[first]) if first < num else np.inf
    boundary = config.boundary(option)
    ends.append(by_share if boundary is None else boundary)
    if boundary is not None and num and not times[0] < boundary <= times[-1]:
      raise InputError(
          f'dataset.{option} is {getattr(config, option)}, {boundary:.17g} as a'
          f' number, but column {name!r} goes from {times[0]:.17g} to'
          f' {times[-1]:.17g}.'
      )
  if ends[0] > ends[1]:
    raise InputError(
        'dataset.valid_from comes after test_from; validation rows are those'
        ' between the two.'
    )
  return ends[0], ends[1]


def split_of(
    chunk: Chunk, config: TabularConfig, ends: tuple[float, float] | None
) -> np.ndarray:
  """Assigns rows to splits.

  Args:
    chunk: The rows.
    config: Has the rule.
    ends: Of `split='time'`: the times at which validation and test begin.

  Returns:
    int8 [n], a position in `SPLITS`, or LEFT_OUT.
  """
  num = len(next(iter(chunk.columns.values())))
  if config.split == 'files':
    return np.full(num, chunk.split, np.int8)
  if config.split == 'time':
    times = chunk.times(config.time)
    return np.searchsorted(ends, times, side='right').astype(np.int8)
  if config.split == 'column':
    names = chunk.texts(config.split_column)
    split = pc.fill_null(pc.index_in(names, pa.array(SPLITS)), LEFT_OUT)
    return split.to_numpy(zero_copy_only=False).astype(np.int8)
  keys = np.arange(chunk.total, chunk.total + num, dtype=np.uint64)
  if config.split_by:
    values = chunk.texts(config.split_by).dictionary_encode()
    distinct = ['', *values.dictionary.to_pylist()]
    codes = np.array([zlib.crc32(t.encode()) for t in distinct], np.uint64)
    index = pc.fill_null(values.indices, -1).to_numpy(zero_copy_only=False)
    keys = codes[index + 1]
  # By a hash, so that a row's split depends neither on the other rows nor on
  # how the files are read.
  seed = session_hash(np.array([config.split_seed], np.uint64))
  position = (session_hash(keys ^ seed) >> np.uint64(11)) * (1.0 / (1 << 53))
  test = 1 - config.test_share
  return np.searchsorted(
      [test - config.valid_share, test], position, side='right'
  ).astype(np.int8)
