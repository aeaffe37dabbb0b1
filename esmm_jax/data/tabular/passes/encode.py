"""The second pass over a log: encodes its rows, into a folder for each part."""

from collections.abc import Iterator, Sequence
import os
import shutil
from typing import NamedTuple

from esmm_jax.data.store.column_files import GrowingTable
from esmm_jax.data.store.columns import concatenate_rows, open_folder
from esmm_jax.data.store.columns import take_rows
from esmm_jax.data.store.feature_columns import cut
from esmm_jax.data.store.vocabulary import Vocabulary
from esmm_jax.data.tabular.config import FILE, GROUP, ROW, SPLITS
from esmm_jax.data.tabular.config import TabularConfig, WEIGHT
from esmm_jax.data.tabular.encoder import Encoder
from esmm_jax.data.tabular.passes.parts import Part
from esmm_jax.data.tabular.past.prepare import Encoding
from esmm_jax.data.tabular.rows import Chunk, joint_labels, Log
from esmm_jax.data.tabular.rows import row_weights, split_of
from esmm_jax.data.tabular.splits import LEFT_OUT
from esmm_jax.data.tabular.time_ends import Ends
from esmm_jax.data.tabular.unseen import Counts
from esmm_jax.engines.engine import Engine, Tell
from esmm_jax.types import Columns
import numpy as np


class Shared(NamedTuple):
  """The things that all parts share.

  Attributes:
    config: Of the log.
    log: Its files.
    ends: Of a split by time.
    encoder: Of the inputs.
    groups: Of the groups; None without them.
    history: Of all rows; None without one.
    splits: Names of the splits that have rows.
    folder: Gets the rows.
  """

  config: TabularConfig
  log: Log
  ends: Ends | None
  encoder: Encoder
  groups: Vocabulary | None
  history: Encoding | None
  splits: Sequence[str]
  folder: str

  def folder_of(self, split: str, part: int) -> str:
    """Returns the folder of the rows of a part in a split."""
    return os.path.join(self.folder, f'rows-{split}', f'{part:05d}')


class Gaps(NamedTuple):
  """Values that are not there, of some rows.

  Attributes:
    counts: The missing and unseen values of each column.
    numbers: Split -> column of numbers -> rows without one, which the encoded
      rows do not show.
  """

  counts: Counts
  numbers: dict[str, dict[str, int]]

  def add(self, other: 'Gaps') -> None:
    """Adds those of more rows."""
    self.counts.add_all(other.counts.fields)
    for split, numbers in other.numbers.items():
      own = self.numbers.setdefault(split, {})
      for name, num in numbers.items():
        own[name] = own.get(name, 0) + num


class _Chunk(Counts):
  """The counts of a chunk; notes the rows without a number, bool [n]."""

  def __init__(self) -> None:
    super().__init__()
    self.absent: dict[str, np.ndarray] = {}

  def add(
      self,
      name: str,
      values: np.ndarray,
      offsets: np.ndarray | None = None,
  ) -> None:
    super().add(name, values, offsets)
    if offsets is None and values.dtype.kind == 'f':
      self.absent[name] = np.isnan(values)


def _encode(shared: Shared, part: Part, tell: Tell) -> Gaps:
  """Encodes a part; all its splits grow in one pass."""
  tables = {}
  for name in shared.splits:
    folder = shared.folder_of(name, part.number)
    shutil.rmtree(folder, ignore_errors=True)  # Of a worker that was lost.
    tables[name] = GrowingTable(folder)
  gaps = Gaps(Counts(), {})
  for chunk in shared.log.chunks(part.spans, part.total):
    counts, numbers = _Chunk(), {}
    columns, split = _columns(shared, chunk, counts)
    if shared.history:
      columns |= shared.history.encode(chunk.total, len(split))
    for name, table in tables.items():
      rows = np.flatnonzero(split == SPLITS.index(name))
      table.append(take_rows(columns, rows))
      numbers[name] = {
          n: int(absent[rows].sum()) for n, absent in counts.absent.items()
      }
    gaps.add(Gaps(counts, numbers))
    tell(len(split))
  for table in tables.values():
    table.close()
  return gaps


def _columns(
    shared: Shared, chunk: Chunk, counts: Counts
) -> tuple[Columns, np.ndarray]:
  """Returns all columns of rows but their history, and their splits."""
  config = shared.config
  split = split_of(chunk, config, shared.ends)
  labels, is_kept = joint_labels(chunk, config)
  location = chunk.location
  columns = shared.encoder.encode(
      chunk.columns,
      location.where,
      location.first,
      location.noun,
      location.dialect,
      counts,
  )
  columns |= labels
  weights = row_weights(chunk, config)
  columns |= {} if weights is None else {WEIGHT: weights}
  num = len(split)
  columns[ROW] = np.arange(chunk.row, chunk.row + num, dtype=np.int64)
  columns[FILE] = np.full(num, chunk.file, np.int32)
  if shared.groups is not None:
    ids = shared.groups.encode(chunk.texts(config.group))
    # All rows were counted, so none is rare: id 1 is free.
    columns[GROUP] = np.maximum(ids - 1, 0)
  return columns, np.where(is_kept, split, LEFT_OUT)


def encode(
    engine: Engine, shared: Shared, parts: Sequence[Part], tell: Tell
) -> Gaps:
  """Makes the second pass.

  Args:
    engine: Does the parts.
    shared: What they share.
    parts: The parts, with their places in the log.
    tell: Gets rows as they are done.

  Raises:
    InputError: A value is not possible.
  """
  total = Gaps(Counts(), {})
  folder = shared.folder
  for gaps in engine.map(_encode, shared, parts, folder, tell):
    total.add(gaps)
  return total


def shards(folder: str, num_rows: int) -> Iterator[Columns]:
  """Yields the rows of a split, so many at a time; removes the folder.

  Args:
    folder: Has the folders of the parts.
    num_rows: Of a shard; where parts meet does not matter.
  """
  paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
  pieces = [columns for path in paths if (columns := open_folder(path))]
  ends = np.cumsum([0, *(len(columns[ROW]) for columns in pieces)]).tolist()
  for low in range(0, ends[-1], num_rows):
    high = low + num_rows
    yield concatenate_rows([
        {n: cut(c, max(low - first, 0), high - first) for n, c in some.items()}
        for some, first, end in zip(pieces, ends, ends[1:])
        if first < high and end > low
    ])
  shutil.rmtree(folder)
