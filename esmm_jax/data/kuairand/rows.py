"""Rows of the KuaiRand log: selection, labels and splits.

The label `play_time` is ln(1 + seconds watched) of a clicked row, 0 of others:
the natural logarithm, because the times have a long tail.
"""

from typing import Any, NamedTuple

from esmm_jax.data.kuairand.config import CONVERSIONS, KuaiRandConfig
from esmm_jax.data.store.policies import apply_conversion_policy
from esmm_jax.types import InputError
import numpy as np

QUANTILES = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)  # Of the report.


class LabelledLog(NamedTuple):
  """The rows of the log that the options keep.

  Attributes:
    log: Column -> array [n], see `Raw.log`.
    click: int8 [n].
    conversion: int8 [n], the joint label: 1 only where `click` is.
  """

  log: dict[str, np.ndarray]
  click: np.ndarray
  conversion: np.ndarray


def select_rows(
    log: dict[str, np.ndarray], config: KuaiRandConfig
) -> tuple[LabelledLog, dict[str, Any]]:
  """Labels the rows and drops those that the options exclude.

  Args:
    log: Column -> array, of all raw rows.
    config: Has the policies.

  Returns:
    The selected rows, in the order of the log, and counts for the report.
  """
  is_repeated = _is_repeated(log)
  policy = config.conversion_without_click
  labels = apply_conversion_policy(
      log['is_click'].astype(np.int8),
      log[CONVERSIONS[config.conversion]].astype(np.int8),
      policy,
  )
  keep = labels.is_kept
  if config.drop_duplicates:
    keep = keep & ~is_repeated
  counts = {
      'rows_read': len(keep),
      'duplicates': int(is_repeated.sum()),
      'conversion_without_click': int(labels.unclicked.sum()),
      'conversion_without_click_policy': policy,
      'rows_dropped': int((~keep).sum()),
  }
  selected = LabelledLog(
      {name: column[keep] for name, column in log.items()},
      labels.click[keep],
      labels.conversion[keep],
  )
  return selected, counts


def _is_repeated(log: dict[str, np.ndarray]) -> np.ndarray:
  """bool [n], rows with the user, video and time of an earlier row."""
  keys = (log['user_id'], log['video_id'], log['time_ms'])
  order = np.lexsort(keys)
  same = np.ones(max(len(order) - 1, 0), bool)
  for key in keys:
    same &= key[order[1:]] == key[order[:-1]]
  is_repeated = np.zeros(len(order), bool)
  is_repeated[order[1:][same]] = True
  return is_repeated


def play_time(log: dict[str, np.ndarray], click: np.ndarray) -> np.ndarray:
  """Returns click * ln(1 + seconds watched), float32 [n]."""
  return (click * np.log1p(log['play_time_ms'] / 1000)).astype(np.float32)


def split_by_day(
    date: np.ndarray, config: KuaiRandConfig
) -> dict[str, np.ndarray]:
  """Assigns rows to splits by day, counted back from the last day of the log.

  Args:
    date: Integers yyyymmdd [n].
    config: Has `test_days` and `valid_days`.

  Returns:
    Split -> bool [n].

  Raises:
    InputError: The log has too few days to leave any for training.
  """
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


def summarise_split(rows: LabelledLog, index: np.ndarray) -> dict[str, Any]:
  """Returns the days, rows and rates of a split, for the report.

  Args:
    rows: All rows.
    index: bool [n], those of the split.
  """
  date = rows.log['date'][index]
  num_rows, clicks = int(index.sum()), int(rows.click[index].sum())
  conversions = int(rows.conversion[index].sum())
  return {
      'first_day': int(date.min()),
      'last_day': int(date.max()),
      'rows': num_rows,
      'ctr': clicks / num_rows,
      'ctcvr': conversions / num_rows,
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
