"""The second pass: counts on the training rows, and columns of the history."""

from collections import Counter
from collections.abc import Sequence
import os
import shutil
from typing import NamedTuple

from esmm_jax.data.history.blocks import Dated
from esmm_jax.data.kuairand import features, history
from esmm_jax.data.kuairand.encoder import Counts
from esmm_jax.data.kuairand.features import AGE, LOG_IDS
from esmm_jax.data.kuairand.history import Reading
from esmm_jax.data.kuairand.passes.parts import Part
from esmm_jax.data.kuairand.rows import Rows, Selection, SPLITS, Summary
from esmm_jax.data.store.column_files import GrowingTable
from esmm_jax.data.store.vocabulary import to_arrow, ValueCounts
from esmm_jax.engines.engine import Engine, Tell
import numpy as np

USER, SPLIT = 'user', 'split'


class Shared(NamedTuple):
  """The things that all parts share.

  Attributes:
    selection: Tells the rows.
    reading: Of the history; None without one.
    folder: Gets a folder for each part, with columns of its rows: `USER` (int32
      row in the table of users, -1 for none), `SPLIT` and those of `Reading`.
  """

  selection: Selection
  reading: Reading | None
  folder: str

  def folder_of(self, part: Part) -> str:
    """Returns the folder of a part."""
    return os.path.join(self.folder, f'{part.number:05d}')


class Counted:
  """Counts of rows, added up.

  Attributes:
    num: Words of the report -> rows.
    fit: Of the training rows.
    splits: Split -> its counts; without those that have no rows.
    blocks: Of a live history, or None.
  """

  def __init__(self, num_users: int, num_videos: int):
    """Takes the numbers of users and videos."""
    self.num: Counter[str] = Counter()
    self.fit = Counts(
        {name: ValueCounts() for name in (*LOG_IDS, AGE)},
        np.zeros(num_users, np.int64),
        np.zeros(num_videos, np.int64),
        np.zeros(num_videos, bool),
    )
    self.splits: dict[str, Summary] = {}
    self.blocks: Dated | None = None

  def merge(self, other: 'Counted') -> None:
    """Adds what is counted of other rows."""
    self.num.update(other.num)
    for name, counts in other.fit.values.items():
      self.fit.values[name].merge(counts)
    for sums, more in zip(self.fit[1:], other.fit[1:]):
      np.add(sums, more, out=sums)
    for name, counts in other.splits.items():
      self.splits[name] = counts.merge(self.splits.get(name, _NOTHING))
    if other.blocks is not None:
      if self.blocks is not None:
        other.blocks = other.blocks.merge(self.blocks)
      self.blocks = other.blocks


_NOTHING = Summary(99999999, 0, 0, 0, 0)


def _count(shared: Shared, part: Part, tell: Tell) -> Counted:
  """Counts a part, and writes what its history is computed from."""
  selection, folder = shared.selection, shared.folder_of(part)
  config = selection.config
  shutil.rmtree(folder, ignore_errors=True)  # Of a worker that was lost.
  rows, num = selection.rows(part)
  counted = Counted(len(selection.index.users), len(selection.index.videos))
  counted.num.update(num)
  counted.num['rows_kept'] = len(rows.click)
  counted.num['rows_without_user_features'] = int((rows.user < 0).sum())
  counted.num['rows_without_video_features'] = int((rows.video < 0).sum())
  counted.num['duration_0'] = int((rows.log['duration_ms'] == 0).sum())
  for k, name in enumerate(SPLITS):
    if (index := rows.split == k).any():
      counted.splits[name] = Summary.of(rows, index)
  fitted = [SPLITS.index(name) for name in config.fit_on.split('+')]
  _count_values(
      counted.fit, rows, selection, np.isin(rows.split, fitted)
  )
  columns = {USER: rows.user.astype(np.int32), SPLIT: rows.split}
  if shared.reading:
    columns |= shared.reading.read(rows)
    if isinstance(config.history, str):
      others = history.other_dates(rows.log)
      counted.num['rows_dated_on_another_day'] = others
  if config.is_live:
    counted.blocks = Dated.of(config.specs, *history.days_and_times(rows.log))
  table = GrowingTable(folder)
  table.append(columns)
  table.close()
  tell(num['rows_read'])
  return counted


def _count_values(
    counts: Counts, rows: Rows, selection: Selection, train: np.ndarray
) -> None:
  """Counts the values of the training rows, bool [n]."""
  for name in LOG_IDS:
    raw = features.log_values(rows.log, name)
    counts.values[name].add(to_arrow(raw.values[train], raw.missing[train]))
  upload = selection.index.upload
  weeks = features.upload_weeks(rows.log, rows.video, upload)
  counts.values[AGE].add(to_arrow(weeks.values[train], weeks.missing[train]))
  for sums, index in ((counts.users, rows.user), (counts.videos, rows.video)):
    some = index[train & (index >= 0)]
    sums += np.bincount(some, minlength=len(sums))
  counts.seen[rows.video[rows.video >= 0]] = True


def count(
    engine: Engine,
    shared: Shared,
    parts: Sequence[Part],
    tell: Tell,
) -> tuple[list[Part], Counted]:
  """Makes the pass.

  Args:
    engine: Does the parts.
    shared: What they share.
    parts: The parts.
    tell: Gets rows as they are done.

  Returns:
    The parts, with their places among the rows that are kept, and what is
    counted.
  """
  index = shared.selection.index
  total = Counted(len(index.users), len(index.videos))
  placed: list[Part] = []
  results = engine.map(_count, shared, parts, shared.folder, tell)
  for part, counted in zip(parts, results, strict=True):
    placed.append(part._replace(first_kept=total.num['rows_kept']))
    total.merge(counted)
  return placed, total
