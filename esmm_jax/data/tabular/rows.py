"""Rows of a user's log: their labels and their splits."""

from collections.abc import Iterator, Mapping
import itertools
from typing import Any, NamedTuple
import zlib

from esmm_jax.data.files import raw_values, row_files
from esmm_jax.data.files.raw_values import Location, NOUNS, Times
from esmm_jax.data.store.policies import apply_conversion_policy
from esmm_jax.data.store.sessions import session_hash
from esmm_jax.data.tabular.config import SPLITS, TabularConfig
from esmm_jax.data.tabular.inputs import split_commas
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

  def times(self, name: str) -> Times:
    """Returns a column as times."""
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
    for split, option in enumerate(options):
      patterns = split_commas(getattr(config, option))
      if option == 'files' and not patterns:
        raise InputError(
            "dataset.files is empty; name the log, as in"
            " --config.dataset.files='log/*.parquet'."
        )
      for path, size in row_files.find(patterns, f'dataset.{option}'):
        if path in self.sizes:
          raise InputError(
              f'dataset.{option}: {path} is named twice; its rows would count'
              ' twice.'
          )
        self.paths.append(path)
        self.sizes[path] = size
        self._splits.append(split if config.split == 'files' else LEFT_OUT)

  def chunks(self, names: list[str] | None = None) -> Iterator[Chunk]:
    """Reads all rows, `READ_ROWS` at a time.

    Args:
      names: The columns to read; default: all that the config names.
    """
    names = self._config.read if names is None else names
    total = 0
    for number, path in enumerate(self.paths):
      why = ', which the dataset section names'
      row_files.require(names, row_files.names(path), path, why)
      for _, first, table in row_files.read(path, names, READ_ROWS):
        is_csv = '.csv' in path.rpartition('/')[2]
        location = Location(path, first, 'line' if is_csv else 'row')
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


def ends_of_time(
    log: Log, config: TabularConfig
) -> tuple[int | float, int | float]:
  """Finds the times at which validation and test begin.

  These are the config's, or follow from its shares. Takes 8 bytes a row. Rows
  of one time are in one split, the later one.

  Returns:
    Values comparable with `Times.values`.

  Raises:
    InputError: They leave a split empty, or rows differ in the kind of time.
  """
  name = config.time
  column = _all_times(log, name)
  times = column.values
  num = len(times)
  ends = []
  for option, share in (
      ('valid_from', config.valid_share + config.test_share),
      ('test_from', config.test_share),
  ):
    first = num - round(share * num)
    by_share = times[first].item() if first < num else np.inf
    boundary = config.boundary(option, column) if num else None
    ends.append(by_share if boundary is None else boundary)
    if boundary is not None and num and not times[0] < boundary <= times[-1]:
      raise InputError(
          f'dataset.{option} is {getattr(config, option)}, but column'
          f' {name!r} goes from {column.words(times[0].item())} to'
          f' {column.words(times[-1].item())}.'
      )
  if ends[0] > ends[1]:
    raise InputError(
        'dataset.valid_from comes after test_from; validation rows are those'
        ' between the two.'
    )
  return ends[0], ends[1]


def _all_times(log: Log, name: str) -> Times:
  """Returns the times of all rows, ascending."""
  pieces: list[Times] = []
  for chunk in log.chunks([name]):
    piece = chunk.times(name)
    if pieces and piece.kind != pieces[0].kind:
      raise InputError(
          f'{chunk.location.at(0)}: column {name!r} holds {NOUNS[piece.kind]}'
          f' here and {NOUNS[pieces[0].kind]} before; give all rows one form.'
      )
    pieces.append(piece)
  if not pieces:
    return Times(np.zeros(0), 'number')
  zones = {piece.zone for piece in pieces}
  return Times(
      np.sort(np.concatenate([piece.values for piece in pieces])),
      pieces[0].kind,
      zones.pop() if len(zones) == 1 else '',
  )


def split_of(
    chunk: Chunk,
    config: TabularConfig,
    ends: tuple[int | float, int | float] | None,
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
    times = chunk.times(config.time).values
    split = np.zeros(num, np.int8)
    for end in ends:
      split += raw_values.reached(times, end)
    return split
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
