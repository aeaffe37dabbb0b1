"""Rows of the KuaiRand log: selection, labels and splits.

The label `play_time` is ln(1 + seconds watched) of a clicked row, 0 of others:
the natural logarithm, because the times have a long tail.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from esmm_jax.data.kuairand.config import CONVERSIONS, KuaiRandConfig
from esmm_jax.data.kuairand.passes.parts import Part
from esmm_jax.data.kuairand.tables import Index
from esmm_jax.data.store.columns import open_folder
from esmm_jax.data.store.policies import apply_conversion_policy, JointLabels
from esmm_jax.types import Columns, InputError
import numpy as np

SPLITS = ('train', 'valid', 'test')
QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)  # Of the report.


class Ends(NamedTuple):
  """The days at which the held-out splits begin, yyyymmdd.

  Attributes:
    valid: Of validation.
    test: Of the test split.
  """

  valid: int
  test: int

  @classmethod
  def of(cls, days: Iterable[int], config: KuaiRandConfig) -> 'Ends':
    """Counts back from the last day of the log.

    Args:
      days: yyyymmdd, those with rows.
      config: Has `test_days` and `valid_days`.

    Raises:
      InputError: The log has too few days to leave any for training.
    """
    present = sorted(days)
    held_out = config.test_days + config.valid_days
    if len(present) <= held_out:
      raise InputError(
          f'KuaiRand: the log has {len(present)} days of rows, and'
          f' {config.test_days} test days and {config.valid_days} validation'
          ' days leave none for training. Set fewer test_days or valid_days, or'
          ' use a log of more days.'
      )
    return cls(int(present[-held_out]), int(present[-config.test_days]))

  def split_of(self, date: np.ndarray) -> np.ndarray:
    """Returns indices of `SPLITS`, int8 [n], of integers yyyymmdd [n]."""
    return (date >= self.valid).astype(np.int8) + (date >= self.test)


class Rows(NamedTuple):
  """Rows of the log that the options keep.

  Attributes:
    log: Column -> array [n], see `raw.LOG_COLUMNS`.
    click: int8 [n].
    conversion: int8 [n], the joint label: 1 only where `click` is.
    split: int8 [n], indices of `SPLITS`.
    line: int32 [n], the line in the log file.
    user: Row in the table of users, int64 [n], -1 for none.
    video: The same of videos.
  """

  log: Columns
  click: np.ndarray
  conversion: np.ndarray
  split: np.ndarray
  line: np.ndarray
  user: np.ndarray
  video: np.ndarray


class Selection(NamedTuple):
  """The rows of the log that are kept, and their splits.

  Attributes:
    config: Has the policies.
    ends: Of the splits.
    repeated: Numbers of rows, see `read.repeated`.
    index: Of the tables.
  """

  config: KuaiRandConfig
  ends: Ends
  repeated: np.ndarray
  index: Index

  def rows(self, part: Part) -> tuple[Rows, Counter[str]]:
    """Returns the rows of a part, and what the report counts of all."""
    log = open_folder(part.folder)
    log = {name: np.asarray(column) for name, column in log.items()}
    num = len(log['date'])
    labels = join_labels(log, self.config)
    low, high = np.searchsorted(self.repeated, [part.first, part.first + num])
    repeated = self.repeated[low:high] - part.first
    keep = labels.is_kept
    if self.config.drop_duplicates:
      keep = keep.copy()
      keep[repeated] = False
    counts = Counter(
        rows_read=num,
        duplicates=len(repeated),
        conversion_without_click=int(labels.unclicked.sum()),
        rows_dropped=int((~keep).sum()),
    )
    log = {name: column[keep] for name, column in log.items()}
    return Rows(
        log,
        labels.click[keep],
        labels.conversion[keep],
        self.ends.split_of(log['date']),
        (np.flatnonzero(keep) + part.line).astype(np.int32),
        *self.index.join(log),
    ), counts


def join_labels(log: Columns, config: KuaiRandConfig) -> JointLabels:
  """Returns the labels of all rows of a log, int8 [n]."""
  return apply_conversion_policy(
      log['is_click'].astype(np.int8),
      log[CONVERSIONS[config.conversion]].astype(np.int8),
      config.conversion_without_click,
  )


def play_time(log: dict[str, np.ndarray], click: np.ndarray) -> np.ndarray:
  """Returns click * ln(1 + seconds watched), float32 [n]."""
  return (click * np.log1p(log['play_time_ms'] / 1000)).astype(np.float32)


class Summary(NamedTuple):
  """Counts of a split.

  Attributes:
    first_day: yyyymmdd.
    last_day: yyyymmdd.
    rows: How many.
    clicks: Of them with a click.
    conversions: Of them with a conversion.
  """

  first_day: int
  last_day: int
  rows: int
  clicks: int
  conversions: int

  @classmethod
  def of(cls, rows: Rows, index: np.ndarray) -> 'Summary':
    """Counts the rows of a split, bool [n]; at least one."""
    date = rows.log['date'][index]
    labels = (rows.click, rows.conversion)
    sums = (int(label[index].sum()) for label in labels)
    return cls(int(date.min()), int(date.max()), len(date), *sums)

  def merge(self, other: 'Summary') -> 'Summary':
    """Returns the counts of both."""
    sums = map(sum, zip(self[2:], other[2:]))
    first = min(self.first_day, other.first_day)
    return Summary(first, max(self.last_day, other.last_day), *sums)

  def report(self) -> dict[str, Any]:
    """Returns the days, rows and rates of a split, for the report."""
    clicks, conversions = self.clicks, self.conversions
    return {
        'first_day': self.first_day,
        'last_day': self.last_day,
        'rows': self.rows,
        'ctr': clicks / self.rows,
        'ctcvr': conversions / self.rows,
        'cvr_clicked': conversions / clicks if clicks else None,
    }


def summarise_play_time(clicked: np.ndarray) -> dict[str, Any] | None:
  """Returns mean and quantiles of a split's clicked rows [n]; None of none."""
  if not len(clicked):
    return None
  quantiles = np.quantile(clicked.astype(np.float64), QUANTILES)
  return {
      'mean': float(clicked.mean(dtype=np.float64)),
      'quantiles': dict(zip(map(str, QUANTILES), quantiles.tolist())),
  }
