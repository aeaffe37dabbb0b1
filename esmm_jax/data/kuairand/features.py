"""The inputs of KuaiRand-Pure, and the values that they are encoded from.

Left out on purpose: columns that are known only after the impression (play
time, likes, stays), `video_features_statistic_pure.csv` (its counts cover the
whole month, including the days of the labels) and `visible_status` (one value
for all).
"""

from collections.abc import Sequence

from esmm_jax.data.kuairand.raw import to_days, USER_COLUMNS
from esmm_jax.data.store.feature_columns import Values
from esmm_jax.schema import Field, refuse_late, Schema
from esmm_jax.tasks import Tasks
from esmm_jax.types import Columns, Ragged
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
AGE = 'upload_age'  # Of rows of both the log and the videos.
LOG_IDS = tuple(n for n in IMPRESSION_IDS if n not in (*VIDEO_IDS, AGE))
USER_IDS = tuple(n for n in USER_COLUMNS if n not in (*COUNTS, 'user_id'))
# Fields with so many values that the rare ones share an id (`min_count`).
LONG_TAILED = ('user_id', 'video_id', 'author_id', 'music_id')
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
    *(name for name in IMPRESSION_IDS if name != AGE),
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


def log_values(log: Columns, name: str) -> Values:
  """Returns the values [n] of one of `LOG_IDS` of rows of the log."""
  if name == 'duration_bucket':
    return duration_bucket(log['duration_ms'])
  values = log['hourmin'] // 100 if name == 'hour' else log[name]
  return Values(values.astype(np.int64), np.zeros(len(values), bool))


def duration_bucket(duration_ms: np.ndarray) -> Values:
  """Returns half octaves of seconds, floor(2 log2(s)); missing at 0 ms."""
  seconds = np.maximum(duration_ms, 1) / 1000
  bucket = np.floor(2 * np.log2(seconds)).astype(np.int64)
  return Values(bucket, duration_ms <= 0)


def upload_weeks(log: Columns, video: np.ndarray, upload: Values) -> Values:
  """Returns whole weeks from upload to impression, for `upload_age`.

  All videos were uploaded within three days, so an age in days would tell the
  date: each test day would have an age that no training row has. In weeks, and
  cut off at the highest of the training rows, test rows share their age with
  training rows.

  Args:
    log: Rows of the log.
    video: Integers [n], each row's row in the table of videos, -1 for none.
    upload: datetime64[D] of each video.
  """
  age = to_days(log['date']) - upload.values[video]
  weeks = np.maximum(age.astype(np.int64) // 7, 0)
  return Values(weeks, (video < 0) | upload.missing[video])


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
