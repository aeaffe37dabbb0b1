"""The history of KuaiRand: its log as `esmm_jax.data.history` reads it.

Delays of whole days count the days of the column `date`, shorter ones and
sessions are of `time_ms`. The two disagree: 1 % of the rows are dated on the
day after their time in China, as they came in some minutes later. So rows are
counted twice where a history has both: once with times inside their dates, once
with their own.
"""

from collections.abc import Mapping, Sequence

from esmm_jax.data.history import hashes
from esmm_jax.data.history.clock import Clock
from esmm_jax.data.history.compute import compute, Past
from esmm_jax.data.history.encode import FRACTION, numbers
from esmm_jax.data.history.fitted import Fitted, Table
from esmm_jax.data.history.log import Log, priors_of
from esmm_jax.data.history.plan import capped
from esmm_jax.data.history.spans import DAY
from esmm_jax.data.history.specs import Entries, shortest_delay, Spec
from esmm_jax.data.kuairand import features
from esmm_jax.data.kuairand.raw import Raw, to_days
from esmm_jax.data.store.feature_columns import FeatureColumns, take, Values
from esmm_jax.tasks import FUNNEL
from esmm_jax.types import Ragged
import numpy as np
import pyarrow as pa

CLOCK = Clock('number', 'milliseconds', '+08:00')
_MS = 10**6  # Nanoseconds.


def add(
    encoded: FeatureColumns,
    specs: Sequence[Spec],
    raw: Raw,
    labels: Mapping[str, np.ndarray],
    train: np.ndarray,
    held_out: Mapping[str, np.ndarray],
) -> None:
  """Adds the fields of a history.

  Args:
    encoded: Gets them; has the fields that lists share their tables with.
    specs: The columns.
    raw: The raw tables, n rows of the log.
    labels: `click` and `conversion`, the joint label, 0 or 1, [n].
    train: bool [n], the rows that scaling is fitted on.
    held_out: Split -> bool [n], of those that see nothing of their split.
  """
  past = _past(specs, raw, labels, held_out)
  vocabularies = encoded.vocabularies
  fields = {f.name: f for f in encoded.fields}
  tables = {
      s.column: Table.of(fields[s.column], vocabularies[s.column])
      for s in specs
      if isinstance(s, Entries)
  }
  fitted = Fitted.fit(specs, past, train, FUNNEL, tables)
  columns = fitted.encode(past)
  for field in fitted.fields:
    encoded.add_encoded(field, columns[field.name])
  for name, scaling in fitted.scaling.items():
    encoded.scaling[name] = scaling._asdict()


def is_daily(spec: Spec) -> bool:
  """True if a spec knows nothing of the row's own day."""
  return hasattr(spec, 'delay') and bool(spec.delay.days)


def blocks(specs: Sequence[Spec], raw: Raw) -> np.ndarray:
  """Numbers stretches of time in which no row sees a label, int32 [n].

  They are as long as the shortest delay, and end with the day.
  """
  day = raw.log['date'].astype(np.int64)
  delay = shortest_delay(specs)
  if delay is None or delay.ns >= DAY:
    return np.unique(day, return_inverse=True)[1].astype(np.int32)
  stretch = raw.log['time_ms'].astype(np.int64) * _MS // delay.ns
  pairs = np.stack([day, stretch], axis=1)
  _, block = np.unique(pairs, axis=0, return_inverse=True)
  return block.reshape(-1).astype(np.int32)


def other_dates(raw: Raw) -> int:
  """Counts the rows whose date is not the day of their time in China."""
  time, inside = _times(raw)
  return int((time != inside).sum())


def _times(raw: Raw) -> tuple[np.ndarray, np.ndarray]:
  """Returns the times of all rows, and as near as their dates allow."""
  time = raw.log['time_ms'].astype(np.int64) * _MS
  day = to_days(raw.log['date']).astype(np.int64)
  begin = CLOCK.begins(day)
  return time, np.clip(time, begin, begin + (DAY - 1))


def _past(
    specs: Sequence[Spec],
    raw: Raw,
    labels: Mapping[str, np.ndarray],
    held_out: Mapping[str, np.ndarray],
) -> Past:
  """Computes the columns of all specs.

  Args:
    specs: See `add`.
    raw: See `add`.
    labels: See `add`.
    held_out: See `add`.
  """
  time, inside = _times(raw)
  past = Past({}, {}, {})
  for daily, of_events in ((True, inside), (False, time)):
    some = [spec for spec in specs if is_daily(spec) == daily]
    if not some:
      continue
    asked = of_events
    if daily and held_out:
      names = list(held_out)
      split = np.zeros(len(time), np.int8)
      for k, name in enumerate(names):
        split[held_out[name]] = k + 1
      asked = capped(of_events, split, range(1, len(names) + 1))
    log = Log(
        CLOCK,
        of_events,
        asked,
        np.ones(len(time), bool),
        _amounts(some, raw, labels),
        {spec.key: _key(raw, spec.key) for spec in some},
        {s.column: _hashes(raw, s.column)
         for s in some if isinstance(s, Entries)},
        FUNNEL,
    )
    part = compute(some, log, _make, priors_of(log))
    for whole, own in zip(past, part):
      whole.update(own)
  return past


def _make(name: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
  del name
  return np.zeros(shape, dtype)


def _amounts(
    specs: Sequence[Spec], raw: Raw, labels: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  names = {name for spec in specs for name in numbers(spec, FUNNEL)}
  others = {
      name: raw.log[name].astype(np.int64) * FRACTION for name in sorted(names)
  }
  return {**labels, **others}


def _key(raw: Raw, names: Sequence[str]) -> np.ndarray | Ragged:
  """Returns the hashes of a key, uint64 [n], or lists of them with `tags`."""
  columns = [_hashes(raw, name) for name in names]
  lists = [c for c in columns if isinstance(c, Ragged)]
  if not lists:
    return hashes.joined(columns)
  lengths = np.diff(lists[0].offsets)
  entries = [
      c.values if isinstance(c, Ragged) else np.repeat(c, lengths)
      for c in columns
  ]
  return Ragged(hashes.joined(entries), lists[0].offsets)


def _hashes(raw: Raw, name: str) -> np.ndarray | Ragged:
  """Returns the hashes of a column of each row of the log."""
  _, video = features.join(raw)
  if name == features.LIST:
    tags = features.split_tags(raw.videos['tag'])
    present = np.zeros(len(tags.values), bool)
    hashed = _of_values(Values(tags.values, present))
    return take(Ragged(hashed, tags.offsets), video)
  values, index = features.id_values(raw, name)
  hashed = _of_values(values)
  if index is None:
    return hashed
  return np.where(index < 0, hashes.NO_KEY, hashed[index])


def _of_values(values: Values) -> np.ndarray:
  texts = pa.array(values.values, mask=values.missing).cast(pa.string())
  return hashes.of_texts(texts)
