"""The official KuaiRand-Pure files: where they are, and their columns."""

import os
import re

from esmm_jax import paths
from esmm_jax.data.files.line_problems import Column
from esmm_jax.data.kuairand.official import EARLY_LOG, LATE_LOG, USERS, VIDEOS
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


def look_up(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
  """Returns the index of each value in the sorted `keys`, -1 if absent."""
  if not len(keys):
    return np.full(len(wanted), -1)
  index = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
  return np.where(keys[index] == wanted, index, -1)


def to_days(date: np.ndarray) -> np.ndarray:
  """Converts integers yyyymmdd to datetime64[D]."""
  date = date.astype(np.int64)
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
