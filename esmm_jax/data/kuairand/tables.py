"""The tables of users and videos, which rows of the log are joined with."""

from collections.abc import Mapping
from typing import NamedTuple

from esmm_jax.data.files.checked_csv import read_csv, refuse
from esmm_jax.data.files.line_problems import Column
from esmm_jax.data.kuairand.raw import look_up, REPAIR, USER_COLUMNS
from esmm_jax.data.kuairand.raw import VIDEO_COLUMNS
from esmm_jax.data.store.feature_columns import Values
from esmm_jax.types import Columns
import numpy as np

# Column -> the value that stands for "unknown" in the files, besides ''.
UNKNOWN = {
    'author_id': 0,
    'music_id': 0,
    'is_live_streamer': -124,
    'user_active_degree': 'UNKNOWN',
    'video_type': 'UNKNOWN',
    'upload_type': 'UNKNOWN',
}
# Table -> its columns, and that which its rows are sorted by.
KINDS = {
    'users': (USER_COLUMNS, 'user_id'),
    'videos': (VIDEO_COLUMNS, 'video_id'),
}


class Index(NamedTuple):
  """Ids that rows of the log are joined by.

  Attributes:
    users: int64, the user_id of each row of the table of users, ascending.
    videos: int64, the video_id of each row of that of videos, ascending.
    upload: datetime64[D] of each video.
  """

  users: np.ndarray
  videos: np.ndarray
  upload: Values

  def join(self, log: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of the users and videos of a log, -1 for none."""
    return (
        look_up(self.users, log['user_id']),
        look_up(self.videos, log['video_id']),
    )


class Tables(NamedTuple):
  """The tables.

  Attributes:
    users: Column -> values, a row for each user, by rising user_id.
    videos: Column -> values, a row for each video, by rising video_id.
  """

  users: Mapping[str, Values]
  videos: Mapping[str, Values]

  def values(self, name: str) -> Values:
    """Returns a column in which `UNKNOWN` values are missing too."""
    column = (self.users if name in USER_COLUMNS else self.videos)[name]
    if name not in UNKNOWN:
      return column
    is_unknown = column.values == UNKNOWN[name]
    return Values(column.values, column.missing | is_unknown)

  @property
  def index(self) -> Index:
    """The ids that rows of the log are joined by."""
    ids = self.users['user_id'].values, self.videos['video_id'].values
    return Index(*ids, self.videos['upload_dt'])


def read(path: str, kind: str) -> dict[str, Values]:
  """Reads a table with one row for each key, and sorts it.

  Args:
    path: The file.
    kind: One of `KINDS`.

  Raises:
    InputError: The file is damaged, or has a key twice.
  """
  columns: Mapping[str, Column]
  columns, key = KINDS[kind]
  table = read_csv(path, columns, REPAIR)
  order = np.argsort(table[key].values, kind='stable')
  keys = table[key].values[order]
  twice = np.flatnonzero(keys[1:] == keys[:-1])
  if len(twice):
    row = int(order[twice[0] + 1]) + 2
    refuse(path, row, key, f'{keys[twice[0]]} has a row already', REPAIR)
  return {
      name: Values(c.values[order], c.missing[order])
      for name, c in table.items()
  }
