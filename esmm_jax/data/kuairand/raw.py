"""Finds, checks and reads the official KuaiRand-Pure files."""

from collections.abc import Mapping, Sequence
import os
import re
from typing import Any, NamedTuple

from esmm_jax import paths
from esmm_jax.data.files.checked_csv import Column, read_csv, refuse
from esmm_jax.data.kuairand import official
from esmm_jax.data.kuairand.official import EARLY_LOG, LATE_LOG, USERS, VIDEOS
from esmm_jax.data.store.feature_columns import Values
from esmm_jax.types import InputError
import numpy as np

ARCHIVE = 'KuaiRand-Pure.tar.gz'
URL = 'https://zenodo.org/records/10439422'
MD5 = '0820331067a3784d9691136f772b35a7'
LOG_PATTERN = re.compile(r'log_standard_.*\.csv')
OFFICIAL_LOGS = (EARLY_LOG, LATE_LOG)
DOWNLOAD = (
    f'Download {ARCHIVE} from {URL} (md5 {MD5}), extract it and set'
    ' --config.dataset.raw_dir (from_options: raw_dir) to the folder'
    ' KuaiRand-Pure, the one that holds data/.'
)
REPAIR = f'Extract {ARCHIVE} again (md5 {MD5}, {URL}).'

_ID = Column('int', 0, 2**31 - 1, required=True)
_LABEL = Column('int', 0, 1, required=True)
LOG_COLUMNS = {
    'user_id': _ID,
    'video_id': _ID,
    'date': Column('int', 20000101, 21001231, required=True),
    'hourmin': Column('int', 0, 2359, required=True),
    'time_ms': Column('int', 0, required=True),
    'is_click': _LABEL,
    'is_like': _LABEL,
    'long_view': _LABEL,
    'play_time_ms': Column('int', 0, required=True),
    'duration_ms': Column('int', 0, required=True),
    'tab': Column('int', 0, required=True),
}
USER_COLUMNS = {
    'user_id': _ID,
    'user_active_degree': Column('text'),
    'is_lowactive_period': Column('int'),
    'is_live_streamer': Column('int'),
    'is_video_author': Column('int'),
    'follow_user_num': Column('int'),
    'follow_user_num_range': Column('text'),
    'fans_user_num': Column('int'),
    'fans_user_num_range': Column('text'),
    'friend_user_num': Column('int'),
    'friend_user_num_range': Column('text'),
    'register_days': Column('int'),
    'register_days_range': Column('text'),
    **{f'onehot_feat{k}': Column('float') for k in range(18)},
}
VIDEO_COLUMNS = {
    'video_id': _ID,
    'author_id': Column('int'),
    'video_type': Column('text'),
    'upload_dt': Column('date'),
    'upload_type': Column('text'),
    'music_id': Column('int'),
    'music_type': Column('float'),
    'tag': Column('text'),
}


class Raw(NamedTuple):
  """The raw tables.

  Attributes:
    log: Column -> array of all log files one after the other, with `row` (the
      line in its file) and `log_file` (the file's index in `log_files`).
    users: Column -> values, a row for each user, by rising user_id.
    videos: Column -> values, a row for each video, by rising video_id.
    log_files: Names of the log files, in time order.
    warnings: A line for each file that is a small part of the official one.
  """

  log: dict[str, np.ndarray]
  users: dict[str, Values]
  videos: dict[str, Values]
  log_files: list[str]
  warnings: list[str]


def find_files(raw_dir: str) -> list[str]:
  """Returns the paths of the standard logs, the users and the videos.

  Raises:
    InputError: `raw_dir` is empty, remote or no folder, or a file is missing.
  """
  if not raw_dir:
    raise InputError(
        f'KuaiRand-Pure is not prepared yet and raw_dir is empty. {DOWNLOAD}'
    )
  paths.refuse_remote(raw_dir, 'raw_dir', 'Copy KuaiRand-Pure there.')
  folder = os.path.join(paths.expand(raw_dir), 'data')
  if not os.path.isdir(folder):
    raise InputError(f'raw_dir {raw_dir!r} holds no folder data/. {DOWNLOAD}')
  present = sorted(os.listdir(folder))
  logs = [name for name in present if LOG_PATTERN.fullmatch(name)]
  if not logs:
    raise InputError(
        f'{folder} has no log_standard_*.csv, such as {OFFICIAL_LOGS[1]}.'
        f' {DOWNLOAD}'
    )
  for name in (USERS, VIDEOS):
    if name not in present:
      raise InputError(f'{folder} has no {name}. {DOWNLOAD}')
  return [os.path.join(folder, name) for name in [*logs, USERS, VIDEOS]]


def describe_files(files: Mapping[str, Any], raw: Raw) -> dict[str, Any]:
  """Returns the report's facts that tell these files from others.

  Args:
    files: File name -> `file_hashes.Hashes.facts`.
    raw: What they hold.
  """
  return {
      'files': dict(files),
      'log_files': raw.log_files,
      'official_logs_absent': [n for n in OFFICIAL_LOGS if n not in files],
  }


def read_raw(paths: Sequence[str], check_counts: bool = True) -> Raw:
  """Reads the files of `find_files`.

  Args:
    paths: The files.
    check_counts: Compares their rows with the official ones.

  Raises:
    InputError: A file is damaged or has a value that is not allowed; names the
      row and the field. Or it has other rows than the official file, or those
      of another log.
  """
  *logs, users, videos = paths
  tables, warnings = [], []

  def check(path: str, rows: np.ndarray, dates: np.ndarray | None) -> None:
    if check_counts:
      name = os.path.basename(path)
      warnings.append(official.check(path, name, len(rows), dates))

  for path in logs:
    read = read_csv(path, LOG_COLUMNS, REPAIR)
    table = {name: column.values for name, column in read.items()}
    bad = np.flatnonzero(to_yyyymmdd(to_days(table['date'])) != table['date'])
    if len(bad):
      what = f'{table["date"][bad[0]]} is no date of the form yyyymmdd'
      refuse(path, int(bad[0]) + 2, 'date', what, REPAIR)
    check(path, table['date'], table['date'])
    table['row'] = np.arange(len(table['date']), dtype=np.int32) + 2
    tables.append((table['time_ms'].min(), os.path.basename(path), table))
  tables.sort(key=lambda t: t[:2])
  if check_counts:
    official.refuse_copies([(name, table) for _, name, table in tables])
  for k, (_, _, table) in enumerate(tables):
    table['log_file'] = np.full(len(table['row']), k, np.int8)
  log = {
      name: np.concatenate([table[name] for _, _, table in tables])
      for name in tables[0][2]
  }
  entities = [
      _read_entities(users, USER_COLUMNS, 'user_id'),
      _read_entities(videos, VIDEO_COLUMNS, 'video_id'),
  ]
  check(users, entities[0]['user_id'].values, None)
  check(videos, entities[1]['video_id'].values, None)
  names = [name for _, name, _ in tables]
  return Raw(log, *entities, names, list(filter(None, warnings)))


def _read_entities(
    path: str, columns: dict[str, Column], key: str
) -> dict[str, Values]:
  """Reads a table with one row for each value of `key`, and sorts it."""
  read = read_csv(path, columns, REPAIR)
  order = np.argsort(read[key].values, kind='stable')
  keys = read[key].values[order]
  twice = np.flatnonzero(keys[1:] == keys[:-1])
  if len(twice):
    row = int(order[twice[0] + 1]) + 2
    refuse(path, row, key, f'{keys[twice[0]]} has a row already', REPAIR)
  return {
      name: Values(c.values[order], c.missing[order])
      for name, c in read.items()
  }


def look_up(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
  """Returns the index of each value in the sorted `keys`, -1 if absent."""
  index = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
  return np.where(keys[index] == wanted, index, -1)


def to_days(date: np.ndarray) -> np.ndarray:
  """Converts integers yyyymmdd to datetime64[D]."""
  year = (date // 10000 - 1970).astype('datetime64[Y]')
  month = year.astype('datetime64[M]') + (date // 100 % 100 - 1)
  return month.astype('datetime64[D]') + (date % 100 - 1)


def to_yyyymmdd(day: np.ndarray) -> np.ndarray:
  """Converts datetime64[D] to integers yyyymmdd."""
  month = day.astype('datetime64[M]')
  year = month.astype('datetime64[Y]')
  return (
      (year.astype(np.int64) + 1970) * 10000
      + ((month - year.astype('datetime64[M]')).astype(np.int64) + 1) * 100
      + (day - month.astype('datetime64[D]')).astype(np.int64)
      + 1
  )
