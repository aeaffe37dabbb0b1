"""The inputs of KuaiRand-Pure, encoded from raw columns.

Left out on purpose: columns that are known only after the impression (play
time, likes, stays), `video_features_statistic_pure.csv` (its counts cover the
whole month, including the days of the labels) and `visible_status` (one value
for all).
"""

from collections.abc import Sequence

from esmm_jax.data.kuairand.raw import look_up, Raw, to_days, USER_COLUMNS
from esmm_jax.data.store.feature_columns import FeatureColumns, Values
from esmm_jax.schema import Field, refuse_late, Schema
from esmm_jax.tasks import Tasks
from esmm_jax.types import Ragged
import numpy as np

COUNTS = (
    'follow_user_num',
    'fans_user_num',
    'friend_user_num',
    'register_days',
)
IMPRESSION_IDS = (
    'user_id',
    'video_id',
    'author_id',
    'music_id',
    'tab',
    'hour',
    'duration_bucket',
    'video_type',
    'upload_type',
    'upload_age',
    'music_type',
)
VIDEO_IDS = ('author_id', 'music_id', 'music_type', 'video_type', 'upload_type')
USER_IDS = tuple(n for n in USER_COLUMNS if n not in (*COUNTS, 'user_id'))
# Fields with so many values that the rare ones share an id (`min_count`).
LONG_TAILED = ('user_id', 'video_id', 'author_id', 'music_id')
# Field -> the value that stands for "unknown" in the files, besides ''.
UNKNOWN = {
    'author_id': 0,
    'music_id': 0,
    'is_live_streamer': -124,
    'user_active_degree': 'UNKNOWN',
    'video_type': 'UNKNOWN',
    'upload_type': 'UNKNOWN',
}
# Columns of the log that are known only after the impression.
LATE = frozenset(
    'is_click is_like is_follow is_comment is_forward is_hate long_view'
    ' play_time play_time_ms profile_stay_time comment_stay_time'
    ' is_profile_enter'.split()
)
LIST = 'tags'
# Columns that a history may have as a key; without `upload_age`, which is
# fitted, and no property of anything.
KEYS = (
    *(name for name in IMPRESSION_IDS if name != 'upload_age'),
    LIST,
    *USER_IDS,
)
# Columns of the log whose past values may be added up, besides the labels.
NUMBERS = ('play_time_ms', 'duration_ms', 'is_like', 'long_view')


def declared_fields() -> tuple[Field, ...]:
  """Returns the fields, in order, without vocabulary sizes and list lengths.

  Those of the history come after them.
  """
  declared = [Field(name) for name in IMPRESSION_IDS]
  declared.append(Field(LIST, 'ids', combiner='mean'))
  declared += [Field(name) for name in USER_IDS]
  declared += [Field(name, 'float') for name in COUNTS]
  return tuple(declared)


def schema(fields: Sequence[Field], tasks: Tasks) -> Schema:
  """Builds the schema of the data.

  Raises:
    InputError: A field is known only after the impression.
  """
  refuse_late(fields, LATE)
  return Schema(tuple(fields), tasks, group='group_user')


def encode(raw: Raw, train: np.ndarray, min_count: int) -> FeatureColumns:
  """Encodes all features but the history.

  Args:
    raw: The raw tables.
    train: bool [n], the rows of the log that may be fitted to.
    min_count: A user, video, author or piece of music with fewer training rows
      is rare.

  Returns:
    The columns of all n rows and their fields, as `declared_fields` has them.
  """
  user, video = join(raw)
  features = FeatureColumns(train)
  for name in IMPRESSION_IDS:
    at_least = min_count if name in LONG_TAILED else 1
    if name == 'upload_age':
      features.add_id(name, upload_age(raw, video, train))
    else:
      features.add_id(name, *id_values(raw, name), at_least)
  features.add_list(LIST, split_tags(raw.videos['tag']), video, 'mean')
  for name in USER_IDS:
    features.add_id(name, *id_values(raw, name))
  for name in COUNTS:
    count = raw.users[name]
    missing = count.missing | (count.values < 0)
    log1p = np.log1p(np.where(missing, 0, count.values))
    features.add_float(name, Values(log1p, missing), user)
  return features


def id_values(raw: Raw, name: str) -> tuple[Values, np.ndarray | None]:
  """Returns the values of an id field, and which of them each row has.

  Args:
    raw: The raw tables.
    name: One of `KEYS`, but `LIST`.

  Returns:
    The values of the log, the users or the videos, and the index of each row's
    in them, int [n], -1 for none; None where row k has entry k.
  """
  user, video = join(raw)
  log = raw.log
  if name in VIDEO_IDS:
    return _column(raw.videos, name), video
  if name in USER_IDS:
    return _column(raw.users, name), user
  if name == 'duration_bucket':
    return duration_bucket(log['duration_ms']), None
  values = log['hourmin'] // 100 if name == 'hour' else log[name]
  return Values(values, np.zeros(len(values), bool)), None


def duration_bucket(duration_ms: np.ndarray) -> Values:
  """Returns half octaves of seconds, floor(2 log2(s)); missing at 0 ms."""
  seconds = np.maximum(duration_ms, 1) / 1000
  bucket = np.floor(2 * np.log2(seconds)).astype(np.int64)
  return Values(bucket, duration_ms <= 0)


def upload_age(raw: Raw, video: np.ndarray, train: np.ndarray) -> Values:
  """Returns whole weeks from upload to impression, cut off at the oldest.

  All videos were uploaded within three days, so an age in days would tell the
  date: each test day would have an age that no training row has. In weeks, and
  cut off at the highest of the training rows, test rows share their age with
  training rows.

  Args:
    raw: The raw tables.
    video: Integers [n], each row's row in the table of videos, -1 for none.
    train: bool [n], the training rows.
  """
  upload = raw.videos['upload_dt']
  age = to_days(raw.log['date']) - upload.values[video]
  weeks = np.maximum(age.astype(np.int64) // 7, 0)
  missing = (video < 0) | upload.missing[video]
  oldest = weeks[train & ~missing].max(initial=0)
  return Values(np.minimum(weeks, oldest), missing)


def split_tags(tag: Values) -> Ragged:
  """Splits the tags of each video, `12` or `12,62`; they stay text.

  A missing field becomes an empty list.
  """
  lists = [
      [t for t in map(str.strip, text.split(',')) if t]
      for text in np.where(tag.missing, '', tag.values)
  ]
  offsets = np.cumsum([0] + [len(tags) for tags in lists])
  return Ragged(np.array([t for tags in lists for t in tags], str), offsets)


def count_unmatched(raw: Raw) -> dict[str, int]:
  """Counts rows of the log whose user or video has no row in its table."""
  user, video = join(raw)
  return {
      'rows_without_user_features': int((user < 0).sum()),
      'rows_without_video_features': int((video < 0).sum()),
  }


def join(raw: Raw) -> tuple[np.ndarray, np.ndarray]:
  """Returns each row's row in the tables of users and videos, -1 for none."""
  return (
      look_up(raw.users['user_id'].values, raw.log['user_id']),
      look_up(raw.videos['video_id'].values, raw.log['video_id']),
  )


def _column(table: dict[str, Values], name: str) -> Values:
  """Returns a column in which `UNKNOWN` values are missing too."""
  column = table[name]
  if name not in UNKNOWN:
    return column
  return Values(
      column.values, column.missing | (column.values == UNKNOWN[name])
  )
