"""Rows of the KuaiRand log: which are used, their labels, their split.

The label `play_time` is ln(1 + seconds watched) of a clicked row, 0 of others:
the natural logarithm, because the times have a long tail.
"""

import dataclasses
from typing import Any

from esmm_jax.data.kuairand.features import HISTORY_FORMS
from esmm_jax.data.kuairand.raw import Raw
from esmm_jax.tasks import FUNNEL, Task, Tasks
from esmm_jax.types import InputError
import numpy as np
import tensorflow_datasets as tfds

# Name of the conversion -> the raw column that must go with a click.
CONVERSIONS = {'long_view': 'long_view', 'like': 'is_like'}
POLICIES = ('drop', 'keep', 'click')
PLAY_TIME = Task('play_time', 'play_time', 'ctr', kind='regression')
QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)  # Of the report.


@dataclasses.dataclass(eq=False)
class KuaiRandConfig(tfds.core.BuilderConfig):
  """Options of the data set.

  Attributes:
    name: Folder name, made from the options that change the data; leave it.
    raw_dir: Folder `KuaiRand-Pure` of the official archive, which holds data/.
      Needed to prepare; later only to check that the files are the same.
    conversion: `long_view` (dense, 70 % of clicks) or `like` (sparse, 3 %).
    play_time: Add the task `play_time`, a regression on the clicked rows.
    test_days: The last days of the log are the test split.
    valid_days: The days before them are the validation split.
    history: Add out-of-time encodings of keys, see
    `esmm_jax.data.kuairand.history`.
    history_form: `float`, `bucket` (ids of equal-mass buckets) or `both`.
    history_strength: Pseudo-counts of the smoothing.
    history_live: Whether a row of a later test day sees the earlier test days,
      as it would in use. Otherwise test rows see only the days before the test
      split, and no test label enters an input.
    min_count: A user, video, author or piece of music with fewer training rows
      is rare. At 1 no training row is rare, and the embedding that unseen
      values get is never trained.
    conversion_without_click: What to do with a long view or like without click:
      `keep` the row with both labels 0, `drop` the row, or count it as a
      `click`.
    drop_duplicates: Keep only the first of the rows that agree on (user_id,
      video_id, time_ms).
  """

  name: str = ''
  raw_dir: str = ''
  conversion: str = 'long_view'
  play_time: bool = False
  test_days: int = 2
  valid_days: int = 1
  history: bool = False
  history_form: str = 'both'
  history_strength: float = 20.0
  history_live: bool = False
  min_count: int = 2
  conversion_without_click: str = 'keep'
  drop_duplicates: bool = False

  def __post_init__(self):
    for option, allowed in (
        ('conversion', tuple(CONVERSIONS)),
        ('conversion_without_click', POLICIES),
        ('history_form', HISTORY_FORMS),
    ):
      if getattr(self, option) not in allowed:
        raise InputError(
            f'KuaiRand: {option} is {getattr(self, option)!r}; it must be one'
            f' of {", ".join(allowed)}.'
        )
    for option in ('test_days', 'valid_days', 'min_count'):
      if getattr(self, option) < 1:
        raise InputError(
            f'KuaiRand: {option} is {getattr(self, option)}; it must be at'
            ' least 1.'
        )
    if self.history_strength <= 0:
      raise InputError(
          f'KuaiRand: history_strength is {self.history_strength}; it must be'
          ' above 0.'
      )
    parts = [
        self.conversion,
        f'test{self.test_days}',
        f'valid{self.valid_days}',
        f'min{self.min_count}',
        f'{self.conversion_without_click}_unclicked',
    ]
    if self.play_time:
      parts.append('play_time')
    if self.drop_duplicates:
      parts.append('no_duplicates')
    if self.history:
      strength = repr(float(self.history_strength)).removesuffix('.0')
      live = '_live' if self.history_live else ''
      parts.append(f'history_{self.history_form}_{strength}{live}')
    self.name = '-'.join(parts)
    self.description = 'The name lists the options.'

  @property
  def tasks(self) -> Tasks:
    """What the data set has labels for."""
    return (*FUNNEL, PLAY_TIME) if self.play_time else FUNNEL


def select(
    raw: Raw, config: KuaiRandConfig
) -> tuple[Raw, dict[str, Any]]:
  """Drops the rows that the options say, and counts."""
  log = raw.log
  again = _repeats(log)
  unclicked = (log[CONVERSIONS[config.conversion]] == 1) & (
      log['is_click'] == 0
  )
  keep = np.ones(len(again), bool)
  if config.drop_duplicates:
    keep &= ~again
  if config.conversion_without_click == 'drop':
    keep &= ~unclicked
  counts = {
      'rows_read': len(keep),
      'duplicates': int(again.sum()),
      'conversion_without_click': int(unclicked.sum()),
      'conversion_without_click_policy': config.conversion_without_click,
      'rows_dropped': int((~keep).sum()),
  }
  if keep.all():
    return raw, counts
  kept = {name: column[keep] for name, column in log.items()}
  return raw._replace(log=kept), counts


def _repeats(log: dict[str, np.ndarray]) -> np.ndarray:
  """bool [n], rows with the user, video and time of an earlier row."""
  keys = (log['user_id'], log['video_id'], log['time_ms'])
  order = np.lexsort(keys)
  same = np.ones(max(len(order) - 1, 0), bool)
  for key in keys:
    same &= key[order[1:]] == key[order[:-1]]
  again = np.zeros(len(order), bool)
  again[order[1:][same]] = True
  return again


def labels(
    log: dict[str, np.ndarray], config: KuaiRandConfig
) -> tuple[np.ndarray, np.ndarray]:
  """click and conversion, int8 [n]; the conversion is the joint label."""
  click = log['is_click'].astype(np.int8)
  after = log[CONVERSIONS[config.conversion]].astype(np.int8)
  if config.conversion_without_click == 'click':
    click = click | after
  return click, click & after


def play_time(log: dict[str, np.ndarray], click: np.ndarray) -> np.ndarray:
  """click * ln(1 + seconds watched), float32 [n]."""
  return (click * np.log1p(log['play_time_ms'] / 1000)).astype(np.float32)


def split_by_day(
    date: np.ndarray, config: KuaiRandConfig
) -> dict[str, np.ndarray]:
  """Split -> bool [n], counted from the last day that the log has."""
  present = np.unique(date)
  held_out = config.test_days + config.valid_days
  if len(present) <= held_out:
    raise InputError(
        f'KuaiRand: the log has {len(present)} days of rows, and'
        f' {config.test_days} test days and {config.valid_days} validation'
        ' days leave none for training. Set fewer test_days or valid_days, or'
        ' use a log of more days.'
    )
  first_test = present[-config.test_days]
  first_valid = present[-held_out]
  return {
      'train': date < first_valid,
      'valid': (date >= first_valid) & (date < first_test),
      'test': date >= first_test,
  }


def summary(
    date: np.ndarray,
    click: np.ndarray,
    conversion: np.ndarray,
    where: np.ndarray,
) -> dict[str, Any]:
  """What the report says of a split."""
  rows, clicks = int(where.sum()), int(click[where].sum())
  conversions = int(conversion[where].sum())
  return {
      'first_day': int(date[where].min()),
      'last_day': int(date[where].max()),
      'rows': rows,
      'ctr': clicks / rows,
      'ctcvr': conversions / rows,
      'cvr_clicked': conversions / clicks if clicks else None,
  }


def play_time_summary(clicked: np.ndarray) -> dict[str, Any] | None:
  """What the report says of the play times of a split's clicked rows."""
  if not len(clicked):
    return None
  quantiles = np.quantile(clicked.astype(np.float64), QUANTILES)
  return {
      'mean': float(clicked.mean(dtype=np.float64)),
      'quantiles': dict(zip(map(str, QUANTILES), quantiles.tolist())),
  }
