"""Rows of the official KuaiRand-Pure files, which tell a part from the whole.

A log that was cut at the end of a line, or appended to itself, is a CSV file
without fault; but other days are its last ones, and so the test split.
"""

from collections.abc import Mapping, Sequence
import itertools

from esmm_jax.types import InputError
import numpy as np

EARLY_LOG = 'log_standard_4_08_to_4_21_pure.csv'
LATE_LOG = 'log_standard_4_22_to_5_08_pure.csv'
USERS = 'user_features_pure.csv'
VIDEOS = 'video_features_basic_pure.csv'
# Several public sources agree on these; together the logs have the 1,436,609
# impressions that the publishers name.
ROWS = {
    EARLY_LOG: 1_141_112,
    LATE_LOG: 295_497,
    USERS: 27_285,
    VIDEOS: 7_583,
}
# Counted in the file of the archive. Whole days of it are a sound log.
ROWS_OF_DAY = {
    20220425: 14_911,
    20220426: 14_530,
    20220427: 14_328,
    20220428: 13_972,
    20220429: 15_839,
    20220430: 21_204,
    20220501: 20_790,
    20220502: 19_554,
    20220503: 18_943,
    20220504: 17_600,
    20220505: 13_390,
}
# A file with a smaller share of the rows is meant to be an example.
_EXAMPLE = 1 / 3
# A log that shares more of its rows with another one is a copy of it.
_COPY = 1 / 2
# Odd numbers that make one number of a user, a video and a time.
_MIX = {'user_id': 0x9E3779B97F4A7C15, 'video_id': 0xC2B2AE3D27D4EB4F}


def check(
    path: str, name: str, num_rows: int, dates: Mapping[int, int] | None
) -> str:
  """Compares the rows of a file with those of the official one of its name.

  Args:
    path: The file, for messages.
    name: Its name; others than those of `ROWS` are not compared.
    num_rows: Its rows.
    dates: Of a log: integer yyyymmdd -> rows.

  Returns:
    A warning, if the file is an example with few rows or lacks whole days; ''
    otherwise.

  Raises:
    InputError: It has a large part of the official rows, or more than these.
  """
  whole = ROWS.get(name, num_rows)
  days = {}
  if dates is not None and name == LATE_LOG:
    days = dict(sorted(dates.items()))
  other = {d: n for d, n in days.items() if ROWS_OF_DAY.get(d) != n}
  if num_rows == whole or (len(days) == len(ROWS_OF_DAY) and not other):
    return ''
  if days and not other:  # Other days become the test split.
    return (
        f'{path} has {len(days)} of the {len(ROWS_OF_DAY)} days from'
        f' {min(ROWS_OF_DAY)} to {max(ROWS_OF_DAY)}, each complete: it ends'
        f' with {max(days)}.'
    )
  counted = f'{path} has {num_rows:,} rows, and the official file {whole:,}'
  # One day that is complete shows that the rows are the official ones.
  if len(other) == len(days) and num_rows < _EXAMPLE * whole:
    return f'{counted}: it is taken for an example of that file.'
  day = next((d for d in other if d in ROWS_OF_DAY), None)
  if day is not None:
    counted += f' (of {day} {other[day]:,}, and that {ROWS_OF_DAY[day]:,})'
  raise InputError(
      f'{counted}: it was cut short, or rows were added. Fetch the archive'
      ' again. To use the file as it is set dataset.check_counts=False.'
  )


def mixed(log: Mapping[str, np.ndarray]) -> np.ndarray:
  """Returns a number of the user, video and time of rows, uint64 [n].

  Args:
    log: The columns `user_id`, `video_id` and `time_ms`, integers [n].
  """
  number = log['time_ms'].astype(np.uint64)
  for column, odd in _MIX.items():
    number ^= log[column].astype(np.uint64) * np.uint64(odd)
  return number


def refuse_copies(logs: Sequence[tuple[str, np.ndarray]]) -> None:
  """Refuses two logs that hold the same impressions, which would count twice.

  Args:
    logs: Name of the file, and its rows as `mixed` returns them.

  Raises:
    InputError: Names both files.
  """
  rows = {name: np.unique(numbers) for name, numbers in logs}
  for (one, few), (two, many) in itertools.combinations(rows.items(), 2):
    num = len(np.intersect1d(few, many, assume_unique=True))
    if num > _COPY * min(len(few), len(many)):
      raise InputError(
          f'{one} and {two} have {num:,} impressions in common, which would'
          ' count twice: one is a copy of the other. Take it out of the folder,'
          ' or set dataset.check_counts=False.'
      )
