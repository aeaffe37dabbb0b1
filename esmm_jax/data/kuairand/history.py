"""The history of KuaiRand: its log as `esmm_jax.data.history` reads it.

Delays of whole days count the days of the column `date`, shorter ones and
sessions are of `time_ms`. The two disagree: 1 % of the rows are dated on the
day after their time in China, as they came in some minutes later. So rows are
counted twice where a history has both: once with times inside their dates, once
with their own.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from esmm_jax.data.history import fitted as fields_of
from esmm_jax.data.history import hashes
from esmm_jax.data.history.clock import Clock
from esmm_jax.data.history.compute import compute, Past
from esmm_jax.data.history.encode import FRACTION, numbers
from esmm_jax.data.history.fitted import Fitted, Table
from esmm_jax.data.history.log import Log, priors_of
from esmm_jax.data.history.plan import capped
from esmm_jax.data.history.spans import DAY
from esmm_jax.data.history.specs import columns as columns_of
from esmm_jax.data.history.specs import Entries, Spec
from esmm_jax.data.kuairand import features
from esmm_jax.data.kuairand.features import LIST, USER_IDS, VIDEO_IDS
from esmm_jax.data.kuairand.raw import to_days
from esmm_jax.data.kuairand.rows import Rows
from esmm_jax.data.kuairand.tables import Tables
from esmm_jax.data.store.feature_columns import take, Values
from esmm_jax.data.store.scratch import Scratch
from esmm_jax.tasks import FUNNEL
from esmm_jax.types import Columns, Ragged
import numpy as np
import pyarrow as pa

CLOCK = Clock('number', 'milliseconds', '+08:00')
_MS = 10**6  # Nanoseconds.
_LABELS = tuple(task.label for task in FUNNEL)


class Reading(NamedTuple):
  """Reads what a history is computed from.

  Attributes:
    specs: The history.
    tables: Column of users or videos -> the hashes of each of them, then of
      none, uint64; of `LIST` a `Ragged` of them.
  """

  specs: Sequence[Spec]
  tables: Mapping[str, np.ndarray | Ragged]

  @classmethod
  def of(cls, specs: Sequence[Spec], tables: Tables) -> 'Reading':
    """Hashes what the tables have."""
    hashed: dict[str, np.ndarray | Ragged] = {}
    for name in columns_of(specs):
      if name == LIST:
        tags = features.split_tags(tables.videos['tag'])
        present = np.zeros(len(tags.values), bool)
        values = _hashes(Values(tags.values, present))
        hashed[name] = Ragged(values, tags.offsets)
      elif name in (*USER_IDS, *VIDEO_IDS):
        values = _hashes(tables.values(name))
        hashed[name] = np.append(values, hashes.NO_KEY)
    return cls(specs, hashed)

  def read(self, rows: Rows) -> Columns:
    """Returns columns of rows: times, keys, entries, amounts."""
    time, inside = _times(rows.log)
    columns: Columns = {}
    if any(map(is_daily, self.specs)):
      columns['inside'] = inside
    if not all(map(is_daily, self.specs)):
      columns['time'] = time
    for k, key in enumerate(_keys(self.specs)):
      columns[f'key{k}'] = self._key(rows, key)
    for name in entries(self.specs):
      columns[f'entry_{name}'] = self._hashed(rows, name)
    for name in _LABELS:
      columns[f'amount_{name}'] = getattr(rows, name)
    for name in _numbers(self.specs):
      number = rows.log[name].astype(np.int64) * FRACTION
      columns[f'amount_{name}'] = number
    return columns

  def _key(self, rows: Rows, names: Sequence[str]) -> np.ndarray | Ragged:
    """Returns the hashes of a key, or lists of them with `tags`."""
    columns = [self._hashed(rows, name) for name in names]
    lists = [c for c in columns if isinstance(c, Ragged)]
    if not lists:
      return hashes.joined(columns)
    lengths = np.diff(lists[0].offsets)
    entries = [
        c.values if isinstance(c, Ragged) else np.repeat(c, lengths)
        for c in columns
    ]
    return Ragged(hashes.joined(entries), lists[0].offsets)

  def _hashed(self, rows: Rows, name: str) -> np.ndarray | Ragged:
    """Returns the hashes of a column of each row."""
    if name == LIST:
      return take(self.tables[name], rows.video)
    if name in self.tables:
      return self.tables[name][
          rows.video if name in VIDEO_IDS else rows.user
      ]
    return _hashes(features.log_values(rows.log, name))


class Encoding(NamedTuple):
  """The history of all rows, in files, and how it is encoded.

  Attributes:
    past: The history.
    fitted: Its fields.
  """

  past: Past
  fitted: Fitted

  def encode(self, first: int, num: int) -> Columns:
    """Returns the columns of `num` rows, from number `first` on."""
    rows = slice(first, first + num)
    return self.fitted.encode(fields_of.rows_of(self.past, rows))


def fit(
    specs: Sequence[Spec],
    columns: Columns,
    train: np.ndarray,
    held_out: Mapping[str, np.ndarray],
    tables: Mapping[str, Table],
    scratch: Scratch,
) -> Encoding:
  """Computes the history of all rows and fits its fields.

  Args:
    specs: The columns.
    columns: Of all n rows, as `Reading.read` returns them.
    train: bool [n], the rows that scaling is fitted on.
    held_out: Split -> bool [n], of those that see nothing of their split.
    tables: Column of lists -> its table.
    scratch: Makes arrays.
  """
  past = Past({}, {}, {})
  for daily, name in ((True, 'inside'), (False, 'time')):
    some = [spec for spec in specs if is_daily(spec) == daily]
    if not some:
      continue
    time = asked = columns[name]
    if daily and held_out:
      split = np.zeros(len(time), np.int8)
      for k, rows in enumerate(held_out.values(), 1):
        split[rows] = k
      asked = capped(time, split, range(1, len(held_out) + 1))
    keys = {key: columns[f'key{k}'] for k, key in enumerate(_keys(specs))}
    log = Log(
        CLOCK,
        time,
        asked,
        np.ones(len(time), bool),
        {n: columns[f'amount_{n}'] for n in (*_LABELS, *_numbers(some))},
        {spec.key: keys[spec.key] for spec in some},
        {n: columns[f'entry_{n}'] for n in entries(some)},
        FUNNEL,
    )
    part = compute(
        some, log, scratch.make, priors_of(log), after=scratch.release
    )
    for whole, more in zip(past, part):
      whole.update(more)
  fitted = Fitted.fit(specs, past, train, FUNNEL, tables, scratch.release)
  return Encoding(past, fitted)


def is_daily(spec: Spec) -> bool:
  """True if a spec knows nothing of the row's own day."""
  return hasattr(spec, 'delay') and bool(spec.delay.days)


def days_and_times(log: Columns) -> tuple[np.ndarray, np.ndarray]:
  """Returns the dates of rows and their times, int64 [n], nanoseconds."""
  return log['date'], log['time_ms'].astype(np.int64) * _MS


def other_dates(log: Columns) -> int:
  """Counts the rows whose date is not the day of their time in China."""
  time, inside = _times(log)
  return int((time != inside).sum())


def _times(log: Columns) -> tuple[np.ndarray, np.ndarray]:
  """Returns the times of rows, and as near as their dates allow."""
  date, time = days_and_times(log)
  begin = CLOCK.begins(to_days(date).astype(np.int64))
  return time, np.clip(time, begin, begin + (DAY - 1))


def _keys(specs: Sequence[Spec]) -> list[tuple[str, ...]]:
  """Lists the keys, each once."""
  return list(dict.fromkeys(spec.key for spec in specs))


def entries(specs: Sequence[Spec]) -> list[str]:
  """Lists the columns of which there are lists of last values."""
  names = [spec.column for spec in specs if isinstance(spec, Entries)]
  return list(dict.fromkeys(names))


def _numbers(specs: Sequence[Spec]) -> list[str]:
  """Lists the columns of numbers that are added up."""
  return sorted({name for spec in specs for name in numbers(spec, FUNNEL)})


def _hashes(values: Values) -> np.ndarray:
  """Returns the hashes of values as texts, uint64 [n]."""
  texts = pa.array(values.values, mask=values.missing).cast(pa.string())
  return hashes.of_texts(texts)
