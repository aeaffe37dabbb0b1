"""The first pass over a log: counts on training rows, checks every value."""

from collections import Counter
from collections.abc import Mapping
import contextlib
import os
import shutil
from typing import Any, NamedTuple

from esmm_jax.data.csv_files import file_kinds
from esmm_jax.data.csv_files.file_kinds import DAMAGED
from esmm_jax.data.files import parquet_rows, row_files
from esmm_jax.data.history.reading import Reading
from esmm_jax.data.store.vocabulary import ValueCounts
from esmm_jax.data.tabular import splits
from esmm_jax.data.tabular.config import SPLITS, TabularConfig, WEIGHT
from esmm_jax.data.tabular.fit import Fit
from esmm_jax.data.tabular.passes.parts import evenly, Part, with_totals
from esmm_jax.data.tabular.past.log_files import LogPart
from esmm_jax.data.tabular.rows import Chunk, joint_labels, Log
from esmm_jax.data.tabular.rows import row_weights, split_of
from esmm_jax.data.tabular.splits import LEFT_OUT
from esmm_jax.data.tabular.time_ends import Ends
from esmm_jax.engines.engine import Engine, Tell
from esmm_jax.types import Columns, InputError
import numpy as np


class Shared(NamedTuple):
  """The things that all parts share.

  Attributes:
    config: Of the log.
    log: Its files.
    ends: Of a split by time.
    reading: Of a history.
    folder: See `LogFiles.folder`.
    edges: Of the buckets of numbers, see `Fit`.
  """

  config: TabularConfig
  log: Log
  ends: Ends | None = None
  reading: Reading | None = None
  folder: str = ''
  edges: Mapping[str, tuple[float, ...]] | None = None


class Counted:
  """Counts of rows, added up in their order.

  Attributes:
    fit: Of the training rows.
    groups: Of the groups.
    num: Split -> `rows`; label -> rows where it is not 0; `row_weight`.
    others: Names of no split -> their rows.
    total: All rows.
    left_out: Rows in no split.
    ungrouped: Rows without a group.
    unsplit: Rows without a value of `split_by`.
  """

  def __init__(
      self,
      config: TabularConfig,
      base: Any = None,
      edges: Mapping[str, tuple[float, ...]] | None = None,
  ):
    """Prepares the counts.

    Args:
      config: Of the log.
      base: See `Fit`.
      edges: See there.
    """
    self.fit, self.groups = Fit(config, base, edges), ValueCounts()
    self.num: dict[str, dict[str, Any]] = {n: {'rows': 0} for n in SPLITS}
    # Sums by chunk: those of floats depend on their order.
    self._weights: dict[str, list[float]] = {n: [] for n in SPLITS}
    self.others: Counter[str] = Counter()
    self.left_out = self.total = self.ungrouped = self.unsplit = 0

  def add_rows(
      self, split: np.ndarray, labels: Columns, weights: np.ndarray | None
  ) -> None:
    """Adds rows to the counts of their splits.

    Args:
      split: int8 [n].
      labels: Label -> [n].
      weights: float32 [n], or None.
    """
    for k, name in enumerate(SPLITS):
      rows = split == k
      counts = {'rows': int(rows.sum())}
      for label, values in labels.items():
        counts[label] = int(np.count_nonzero(values[rows]))
      self._add(name, counts)
      if weights is not None:
        total = float(weights[rows].sum(dtype=np.float64))
        self._weights[name].append(total)
        self._add(name, {WEIGHT: total})
    self.left_out += int((split == LEFT_OUT).sum())
    self.total += len(split)

  def merge(self, other: 'Counted') -> None:
    """Adds what is counted of the rows that follow."""
    self.fit.merge(other.fit)
    self.groups.merge(other.groups)
    for name, counts in other.num.items():
      self._add(name, {k: n for k, n in counts.items() if k != WEIGHT})
      for total in other._weights[name]:
        self._add(name, {WEIGHT: total})
    self.others += other.others
    self.left_out += other.left_out
    self.total += other.total
    self.ungrouped += other.ungrouped
    self.unsplit += other.unsplit

  def _add(self, split: str, counts: dict[str, Any]) -> None:
    num = self.num[split]
    for key, count in counts.items():
      num[key] = num.get(key, 0) + count


def _count(shared: Shared, part: Part, tell: Tell) -> Counted:
  """Counts a part, and writes what its history is computed from."""
  config = shared.config
  counted, written = Counted(config, edges=shared.edges), None
  if shared.reading:
    folder = os.path.join(shared.folder, str(part.number))
    shutil.rmtree(folder, ignore_errors=True)  # Of a worker that was lost.
    written = LogPart(shared.reading, folder)
  for chunk in shared.log.chunks(part.spans, part.total):
    split = split_of(chunk, config, shared.ends)
    if config.split == 'column':
      names = chunk.texts(config.split_column)
      counted.others += splits.of_names(names)[1]
    labels, is_kept = joint_labels(chunk, config)
    split = np.where(is_kept, split, LEFT_OUT)
    weights = row_weights(chunk, config)
    fitted = splits.fitted(split, config.fit_on)
    counted.fit.add(chunk.columns, fitted, chunk.location)
    if written:
      written.add(chunk.columns, chunk.location, labels, split)
    _count_values(counted, chunk, config)
    counted.add_rows(split, labels, weights)
    tell(len(split))
  if written:
    written.close()
  return counted


def _count_values(
    counted: Counted, chunk: Chunk, config: TabularConfig
) -> None:
  """Counts the values by which rows belong together."""
  if config.group:
    values = chunk.texts(config.group)
    counted.groups.add(values)
    counted.ungrouped += values.null_count
  if config.splits_by_value:
    counted.unsplit += chunk.texts(config.split_by).null_count


def count(
    engine: Engine, shared: Shared, base: Any, folder: str, tell: Tell
) -> tuple[list[Part], Counted]:
  """Makes the first pass.

  Args:
    engine: Does the parts.
    shared: What they share.
    base: See `Fit`.
    folder: For files of the engine.
    tell: Gets rows as they are done.

  Returns:
    The parts, with their places in the log, and what is counted.

  Raises:
    InputError: A value is not possible; the first one of the log.
  """
  config, log = shared.config, shared.log

  def merged(parts: list[Part]) -> tuple[list[int], Counted]:
    error = None
    if len(parts) > 1 and _is_by_position(config):
      parts, error = _placed(engine, log, config, parts, folder)
    told = 0

    def advance(rows: int) -> None:
      nonlocal told
      told += rows
      tell(rows)

    total, rows = Counted(config, base, shared.edges), []
    try:
      for counted in engine.map(_count, shared, parts, folder, advance):
        total.merge(counted)
        rows.append(counted.total)
    except row_files.UnevenPieces:
      tell(-told)
      raise
    if error is not None:  # Nothing before that file was wrong.
      raise error
    return rows, total

  parts, (rows, counted) = evenly(log, engine.workers, merged)
  return with_totals(parts, rows), counted


def _is_by_position(config: TabularConfig) -> bool:
  """Returns whether the place of a row in the log decides on its split."""
  return config.split == 'random' or config.valid_of_train > 0


def _placed(
    engine: Engine,
    log: Log,
    config: TabularConfig,
    parts: list[Part],
    folder: str,
) -> tuple[list[Part], InputError | None]:
  """Finds where in the log parts begin, which decides on the splits of rows.

  Returns:
    The parts as far as that is clear, and the error of the last of them, which
    cannot be read to its end.
  """
  rows: list[int] = []
  nothing = lambda num: None
  with contextlib.closing(
      engine.map(_num_rows, (log, config.read[:1]), parts, folder, nothing)
  ) as results:
    for num, error in results:
      rows.append(num)
      if error is not None:
        return with_totals(parts, rows), error
  return with_totals(parts, rows), None


def _num_rows(
    shared: tuple[Log, list[str]], part: Part, tell: Tell
) -> tuple[int, InputError | None]:
  """Counts the rows of a part; returns the error of a file in it, too."""
  del tell
  log, names = shared
  total = 0
  try:
    for file, first, stop in part.spans:
      path = log.paths[file]
      if stop is not None:
        total += stop - first
      elif not file_kinds.is_csv(path, log.dialect):
        total += parquet_rows.group_begins(path)[1]
      else:
        pieces = row_files.read(path, names, log.read_rows, log.dialect)
        total += sum(table.num_rows for _, _, table in pieces)
  except InputError as e:
    return total, e
  except DAMAGED as e:
    return total, InputError(f'{path}: {e}')
  return total, None
