"""Rows of somebody's log: their labels, and which split they go to."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
import zlib

from esmm_jax.data.files import raw_values, row_files
from esmm_jax.data.files.raw_values import Place
from esmm_jax.data.store.sessions import session_hash
from esmm_jax.data.tabular.config import listed, SPLITS, TabularConfig
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
    place: Where they are, for messages.
    file: Number of the file.
    row: Number of the first row in the file.
    total: Number of the first row in all files.
    of: The split that the file is of, or LEFT_OUT.
  """

  columns: Mapping[str, Any]
  place: Place
  file: int
  row: int
  total: int
  of: int

  def arrow(self, name: str) -> pa.Array:
    """A column as one array."""
    return raw_values.arrow(self.columns[name], name, self.place)

  def texts(self, name: str) -> pa.Array:
    """A column as identifiers."""
    return raw_values.texts(self.arrow(name), name, self.place)

  def times(self, name: str) -> np.ndarray:
    """A column as times, float64 [n]."""
    return raw_values.times(self.arrow(name), name, self.place)


class Log:
  """The files of a log.

  Attributes:
    paths: Of the files, in order.
    sizes: Path -> bytes.
  """

  def __init__(self, config: TabularConfig):
    """Finds the files.

    Raises:
      InputError: A file is not there, twice there, or lacks a column.
    """
    self._config = config
    self._of: list[int] = []
    self.paths: list[str] = []
    self.sizes: dict[str, int] = {}
    options = ('files', 'valid_files', 'test_files')
    for split, option in enumerate(options):
      patterns = listed(getattr(config, option))
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
        self._of.append(split if config.split == 'files' else LEFT_OUT)

  def chunks(self, names: list[str] | None = None) -> Iterator[Chunk]:
    """All rows, some at a time.

    Args:
      names: The columns wanted; default: all that the config names.
    """
    names = self._config.read if names is None else names
    total = 0
    for number, path in enumerate(self.paths):
      there = row_files.names(path)
      row_files.require(names, there, path, ', which the dataset section names')
      for _, first, table in row_files.read(path, names, READ_ROWS):
        is_csv = '.csv' in path.rpartition('/')[2]
        place = Place(path, first, 'line' if is_csv else 'row')
        columns = {n: table[n] for n in table.column_names}
        yield Chunk(columns, place, number, first, total, self._of[number])
        total += table.num_rows


def labels(
    chunk: Chunk, config: TabularConfig
) -> tuple[dict[str, np.ndarray], np.ndarray]:
  """The labels of rows.

  Returns:
    Label -> int8 [n]; bool [n], which rows are kept.

  Raises:
    InputError: A label is not 0 or 1, or an event comes without the one before
      and the config says that this is an error.
  """
  found, kept = {}, None
  for label, name in config.events.items():
    values = raw_values.labels(chunk.arrow(name), name, chunk.place)
    found[label] = values
    kept = np.ones(len(values), bool)
  policy = config.conversion_without_click
  order = list(found)
  pairs = list(zip(order, order[1:]))
  for before, after in pairs[::-1] if policy == 'click' else pairs:
    odd = (found[after] == 1) & (found[before] == 0)
    if policy == 'error' and odd.any():
      row = np.flatnonzero(odd)[0]
      raise InputError(
          f'{chunk.place.at(row)}: {config.events[after]!r} is 1 and'
          f' {config.events[before]!r} is 0. Say what such rows are with'
          ' --config.dataset.conversion_without_click: drop, keep (the later'
          ' event is made 0) or click (the earlier one is made 1).'
      )
    if policy == 'drop':
      kept &= ~odd
    elif policy == 'click':
      found[before] = np.where(odd, 1, found[before]).astype(np.int8)
    else:
      found[after] = np.where(odd, 0, found[after]).astype(np.int8)
  return found, kept


def ends_of_time(log: Log, config: TabularConfig) -> tuple[float, float]:
  """The times at which validation and test begin.

  Those that the config names, or by its shares. Takes 8 bytes a row. Rows of
  one time are in one split, the later one.

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
    given = config.boundary(option)
    ends.append(by_share if given is None else given)
    if given is not None and num and not times[0] < given <= times[-1]:
      raise InputError(
          f'dataset.{option} is {getattr(config, option)}, {given:.17g} as a'
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
  """Which split rows go to.

  Args:
    chunk: The rows.
    config: Has the rule.
    ends: Of `split='time'`: where validation and test begin.

  Returns:
    int8 [n], a position in `SPLITS`, or LEFT_OUT.
  """
  num = len(next(iter(chunk.columns.values())))
  if config.split == 'files':
    return np.full(num, chunk.of, np.int8)
  if config.split == 'time':
    times = chunk.times(config.time)
    return np.searchsorted(ends, times, side='right').astype(np.int8)
  if config.split == 'column':
    found = chunk.texts(config.split_column)
    at = pc.fill_null(pc.index_in(found, pa.array(SPLITS)), LEFT_OUT)
    return at.to_numpy(zero_copy_only=False).astype(np.int8)
  keys = np.arange(chunk.total, chunk.total + num, dtype=np.uint64)
  if config.split_by:
    found = chunk.texts(config.split_by).dictionary_encode()
    known = found.dictionary.to_pylist()
    codes = np.array([zlib.crc32(t.encode()) for t in ['', *known]], np.uint64)
    at = pc.fill_null(found.indices, -1)
    keys = codes[at.to_numpy(zero_copy_only=False) + 1]
  seed = session_hash(np.array([config.split_seed], np.uint64))
  position = (session_hash(keys ^ seed) >> np.uint64(11)) * (1.0 / (1 << 53))
  test = 1 - config.test_share
  return np.searchsorted(
      [test - config.valid_share, test], position, side='right'
  ).astype(np.int8)
