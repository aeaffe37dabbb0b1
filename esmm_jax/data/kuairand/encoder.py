"""The inputs but for the history: fitted on counts, then applied to rows.

What a user or video has is encoded once for each of them, and not for each row.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from esmm_jax.data.kuairand import features
from esmm_jax.data.kuairand.features import AGE, COUNTS, IMPRESSION_IDS, LIST
from esmm_jax.data.kuairand.features import LOG_IDS, LONG_TAILED, USER_IDS
from esmm_jax.data.kuairand.features import VIDEO_IDS
from esmm_jax.data.kuairand.rows import Rows
from esmm_jax.data.kuairand.tables import Tables
from esmm_jax.data.store.feature_columns import take, Values
from esmm_jax.data.store.scaling import Scaling
from esmm_jax.data.store.vocabulary import to_arrow, ValueCounts, Vocabulary
from esmm_jax.schema import Field, MISSING
from esmm_jax.types import Columns, Ragged
import numpy as np


class Counts(NamedTuple):
  """The training rows, as fields are fitted on them.

  Attributes:
    values: Of `LOG_IDS` and `AGE`, their counts.
    users: int64, the rows of each user of the table.
    videos: The same of the videos.
    seen: bool, the videos that any row has.
  """

  values: Mapping[str, ValueCounts]
  users: np.ndarray
  videos: np.ndarray
  seen: np.ndarray


class Encoder(NamedTuple):
  """Encodes rows.

  Attributes:
    values: Field -> its vocabulary, of fields of the log.
    users: Field -> encoded values of each user, then of no user.
    videos: The same of the videos.
    tags: Encoded lists of the videos.
    oldest: The highest `AGE`.
    upload: See `tables.Index`.
  """

  values: Mapping[str, Vocabulary]
  users: Mapping[str, np.ndarray]
  videos: Mapping[str, np.ndarray]
  tags: Ragged
  oldest: int
  upload: Values

  def encode(self, rows: Rows) -> Columns:
    """Returns the columns of rows."""
    log, video = rows.log, rows.video
    columns: Columns = {}
    for name, vocabulary in self.values.items():
      if name == AGE:
        weeks = features.upload_weeks(log, video, self.upload)
        raw = Values(np.minimum(weeks.values, self.oldest), weeks.missing)
      else:
        raw = features.log_values(log, name)
      columns[name] = vocabulary.encode(*raw)
    columns |= {name: ids[rows.user] for name, ids in self.users.items()}
    columns |= {name: ids[video] for name, ids in self.videos.items()}
    columns[LIST] = take(self.tags, video)
    return columns


class Fitted(NamedTuple):
  """An encoder, and what it was made of.

  Attributes:
    encoder: The encoder.
    fields: As `declared_fields` has them.
    scaling: Float field -> its scaling.
    vocabularies: Field of ids -> its values.
  """

  encoder: Encoder
  fields: Sequence[Field]
  scaling: Mapping[str, Scaling]
  vocabularies: Mapping[str, Vocabulary]


def fit(
    tables: Tables, counts: Counts, users: np.ndarray, min_count: int
) -> Fitted:
  """Fits the fields.

  Args:
    tables: Users and videos.
    counts: Of the training rows.
    users: Integers, the row of the table of each training row that has one.
    min_count: A user, video, author or piece of music with fewer training rows
      is rare.
  """
  fields: list[Field] = []
  vocabularies: dict[str, Vocabulary] = {}
  of_tables: dict[str, np.ndarray] = {}
  for name in (*IMPRESSION_IDS, LIST, *USER_IDS):
    at_least = min_count if name in LONG_TAILED else 1
    if name == LIST:
      tags, field, vocabulary = _tags(tables.videos['tag'], counts)
    else:
      if name in (*VIDEO_IDS, *USER_IDS):
        num = counts.videos if name in VIDEO_IDS else counts.users
        of_tables[name], vocabulary = _ids(tables.values(name), num, at_least)
      else:
        vocabulary = counts.values[name].vocabulary(at_least)
      field = Field(name, vocab_size=vocabulary.size)
    fields.append(field)
    vocabularies[name] = vocabulary
  scaling: dict[str, Scaling] = {}
  numbers: dict[str, np.ndarray] = {}
  for name in COUNTS:
    numbers[name], scaling[name] = _scaled(tables.users[name], users)
    fields.append(Field(name, 'float'))
  weeks = vocabularies[AGE].values.to_numpy()
  encoder = Encoder(
      {name: vocabularies[name] for name in (*LOG_IDS, AGE)},
      {name: of_tables[name] for name in USER_IDS} | numbers,
      {name: of_tables[name] for name in VIDEO_IDS},
      tags,
      int(weeks.max(initial=0)),
      tables.videos['upload_dt'],
  )
  return Fitted(encoder, fields, scaling, vocabularies)


def _ids(
    raw: Values, times: np.ndarray, min_count: int
) -> tuple[np.ndarray, Vocabulary]:
  """Returns the ids of each row of a table, then of no row, int32."""
  counts = ValueCounts()
  counts.add(to_arrow(*raw), times)
  vocabulary = counts.vocabulary(min_count)
  ids = vocabulary.encode(*raw)
  return np.append(ids, np.int32(MISSING)), vocabulary


def _tags(tag: Values, counts: Counts) -> tuple[Ragged, Field, Vocabulary]:
  """Returns the ids of the tags of each video."""
  raw = features.split_tags(tag)
  lengths = np.diff(raw.offsets)
  entries = ValueCounts()
  entries.add(to_arrow(raw.values), np.repeat(counts.videos, lengths))
  vocabulary = entries.vocabulary()
  field = Field(
      LIST,
      'ids',
      vocab_size=vocabulary.size,
      max_len=max(1, int(lengths[counts.seen].max(initial=0))),
      combiner='mean',
  )
  return Ragged(vocabulary.encode(raw.values), raw.offsets), field, vocabulary


def _scaled(raw: Values, users: np.ndarray) -> tuple[np.ndarray, Scaling]:
  """Returns the scaled logarithms of each user, then of none, float32.

  Args:
    raw: Of each user.
    users: See `fit`. The mean is that of their numbers one after the other: the
      sum of floats depends on their order.
  """
  missing = raw.missing | (raw.values < 0)
  numbers = np.log1p(np.where(missing, 0, raw.values))
  scaling = Scaling.fit(numbers[users[~missing[users]]])
  scaled = scaling.apply(numbers, ~missing)
  return np.append(scaled, np.float32(0)), scaling
