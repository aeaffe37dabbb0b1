"""Random logs, and their history by slow loops in plain Python."""

import datetime
import math
import random
from typing import NamedTuple
import zoneinfo

from esmm_jax.data.history import compute, hashes, language
from esmm_jax.data.history.clock import Clock
from esmm_jax.data.history.encode import FRACTION
from esmm_jax.data.history.log import Log, priors_of
from esmm_jax.data.history.specs import Entries, Session
from esmm_jax.tasks import FUNNEL
from esmm_jax.types import Ragged
import numpy as np
import pyarrow as pa

MS = 10**6  # Nanoseconds.
MINUTE, HOUR, A_DAY = 60_000 * MS, 3_600_000 * MS, 86_400_000 * MS
BERLIN = Clock('number', 'milliseconds', 'Europe/Berlin')
# 2022-03-26 00:00 there; a day later clocks go forward.
START = 1_648_249_200_000 * MS


class Row(NamedTuple):
  """A row of a log; None is a missing key."""

  time: int
  user: str | None
  tab: str | None
  tags: tuple[str | None, ...]
  item: str | None
  click: int
  conversion: int
  watched: float
  asked: int
  is_event: bool = True


def random_rows(seed, num=100, users=6, step=1, span=3 * A_DAY):
  """Rows in no order, some twice; times are whole multiples of `step` ms."""
  rng = random.Random(seed)
  names = [None, *(f'u{k}' for k in range(users))]
  rows = []
  for _ in range(num):
    # Half of them in a burst, so that minutes matter as well as days.
    within = span if rng.random() < 0.5 else span // 60
    time = START + rng.randrange(within // (step * MS)) * step * MS
    click = rng.randrange(2)
    rows.append(Row(
        time, rng.choice(names), rng.choice([None, 'a', 'b', '7']),
        tuple(rng.choice([None, *'xyz']) for _ in range(rng.randrange(4))),
        rng.choice([None, 'i1', 'i2', 'i3']),
        click, click * rng.randrange(2), rng.choice([-2.5, 0.0, 0.25, 7.0]),
        time - rng.choice([0, 0, 0, 700, 90_000]) * MS,
        rng.random() < 0.9))
  return rows + rows[: num // 10]


def log_of(rows, clock=BERLIN):
  """The log of rows."""

  def hashed(values):
    return hashes.of_texts(pa.array(values, pa.string()))

  def column(name, dtype=np.int64):
    return np.array([getattr(row, name) for row in rows], dtype)

  user, tab = (hashed([getattr(r, n) for r in rows]) for n in ('user', 'tab'))
  lengths = [len(row.tags) for row in rows]
  tags = Ragged(
      hashed([tag for row in rows for tag in row.tags]),
      np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))
  watched = np.rint(column('watched', float) * FRACTION).astype(np.int64)
  return Log(
      clock, column('time'), column('asked'), column('is_event', bool),
      {'click': column('click', np.int8),
       'conversion': column('conversion', np.int8), 'watched': watched},
      {('user',): user, ('tab',): tab, ('tags',): tags,
       ('user', 'tab'): hashes.joined([user, tab])},
      {'item': hashed([row.item for row in rows])}, FUNNEL)


def zeros(name, dtype, shape):
  """Makes an array in memory."""
  del name
  return np.zeros(shape, dtype)


def past_of(text, log, keeper=None, **options):
  """The columns of a history as one mapping: name -> values, missing ones nan.

  `text` may be specs too.
  """
  specs = language.parse(text, **options) if isinstance(text, str) else text
  past = compute.compute(specs, log, zeros, priors_of(log), keeper)
  numbers = {
      name: np.where(v.missing, np.nan, v.values)
      for name, v in past.numbers.items()}
  raw = {f'{name} raw': v.values for name, v in past.numbers.items()}
  return {**numbers, **raw, **past.codes, **past.lists}


def assert_same(one, other, rows=slice(None)):
  """To the bit."""
  assert list(one) == list(other)
  for name in one:
    a, b = one[name][rows], other[name][rows]
    assert a.dtype == b.dtype, name
    np.testing.assert_array_equal(a.view(np.uint8), b.view(np.uint8), name)


class Slow:
  """The history of a row, by loops over all rows."""

  def __init__(self, rows, zone='Europe/Berlin', strength=20.0):
    self.rows, self.strength = rows, strength
    self.zone = zoneinfo.ZoneInfo(zone)
    self.days = {}

  def day(self, time):
    if time not in self.days:
      moment = datetime.datetime.fromtimestamp(time // 10**9, self.zone)
      self.days[time] = moment.date()
    return self.days[time]

  def begin(self, day):
    at = datetime.datetime(day.year, day.month, day.day, tzinfo=self.zone)
    return int(at.timestamp()) * 10**9

  def limit(self, spec, row):
    """The last nanosecond that a row sees."""
    if not spec.delay.days:
      return row.asked - spec.delay.ns
    back = datetime.timedelta(spec.delay.days - 1)
    return self.begin(self.day(row.asked) - back) - 1

  def is_seen(self, spec, row, other):
    """Whether `row` sees `other`, which need not have its key."""
    if not other.is_event:
      return False
    if spec.delay.days:
      age = (self.day(row.asked) - self.day(other.time)).days
      return age >= spec.delay.days
    return other.time <= row.asked - spec.delay.ns

  def in_window(self, spec, row, other):
    if spec.window is None:
      return True
    if spec.delay.days:
      age = (self.day(row.asked) - self.day(other.time)).days
      return age < spec.delay.days + spec.window.days
    return other.time > row.asked - spec.delay.ns - spec.window.ns

  def columns(self, spec, row):
    """Name -> expected value; nan where it is missing."""
    if isinstance(spec, Session):
      return self.session(spec, row)
    if isinstance(spec, Entries):
      return self.entries(spec, row)
    return {**self.sums(spec, row), **self.last(spec, row)}

  def sums(self, spec, row):
    if not spec.amounts:
      return {}
    limit = self.limit(spec, row)
    n = c = v = w = all_n = all_c = all_v = all_w = 0
    for other in self.rows:
      if other.is_event and (other.time // (15 * MINUTE) + 1) * (
          15 * MINUTE) <= limit + 1:
        all_n, all_c = all_n + 1, all_c + other.click
        all_v, all_w = all_v + other.conversion, all_w + other.watched
      if not self.is_seen(spec, row, other):
        continue
      if not self.in_window(spec, row, other):
        continue
      times = sum(keys_of(other, spec.key).count(k)
                  for k in keys_of(row, spec.key))
      if spec.half_life:
        times *= 2.0 ** ((other.time - limit) / spec.half_life.ns)
      n, c = n + times, c + times * other.click
      v, w = v + times * other.conversion, w + times * other.watched
    end, m = spec.suffix, self.strength
    p, q = (all_c + 0.5) / (all_n + 1), (all_v + 0.5) / (all_c + 1)
    mean = all_w / max(all_n, 1)
    values = {}
    if 'click' in spec.amounts:
      values[f'past_ctr_{end}'] = logit((c + m * p) / (n + m)) - logit(p)
    if 'conversion' in spec.amounts:
      values[f'past_cvr_{end}'] = logit((v + m * q) / (c + m)) - logit(q)
    if 'impressions' in spec.amounts:
      values[f'past_count_{end}'] = math.log(1 + n)
    if 'watched' in spec.amounts:
      values[f'past_mean_watched_{end}'] = (w + m * mean) / (n + m) - mean
    none = {name: math.nan for name in values if n == 0 or (
        c == 0 and name.startswith('past_cvr'))}
    return {**{f'{k} raw': x for k, x in values.items()}, **values, **none}

  def newest(self, spec, row, only=''):
    """The last rows that a row sees, the newest first."""
    (key,) = keys_of(row, spec.key) or [None]
    seen = [
        other for other in self.rows
        if key is not None and self.is_seen(spec, row, other)
        and keys_of(other, spec.key) == [key]
        and (not only or getattr(other, only))]
    seen.sort(key=lambda r: (
        r.time, r.click, r.conversion, r.watched, code(r.item)))
    return seen[::-1][: spec.last]

  def last(self, spec, row):
    if not spec.last:
      return {}
    some = self.newest(spec, row)
    values = {}
    for k in range(spec.last):
      name, other = f'{k + 1}_{spec.suffix}', some[k] if k < len(some) else None
      values[f'last_label_{name}'] = level(other) if other else 0
      values[f'last_age_{name}'] = (
          math.log(1 + (row.asked - other.time) / 10**9) if other else math.nan)
    return values

  def entries(self, spec, row):
    some = self.newest(spec, row, spec.only)
    pad = [0] * (spec.last - len(some))
    end = spec.suffix
    values = {
        f'last_{end}': [code(other.item) for other in some] + pad,
        f'last_age_{end}': [
            age_code(row.asked - other.time) for other in some] + pad}
    if not spec.only:
      values[f'last_label_{end}'] = [level(other) for other in some] + pad
    return values

  def session(self, spec, row):
    """Walks back from a row while the pauses are short."""
    (key,) = keys_of(row, spec.key) or [None]
    times = sorted({
        other.time for other in self.rows
        if other.is_event and other.time < row.asked
        and key is not None and keys_of(other, spec.key) == [key]})
    position, first, at = 0, row.asked, row.asked
    for time in reversed(times):
      if at - time > spec.pause.ns:
        break
      position, first, at = position + 1, time, time
    gap = (row.asked - times[-1]) / 10**9 if times else None
    end = spec.suffix
    nan = math.nan
    return {
        f'session_position_{end}': nan if key is None else math.log1p(position),
        f'session_age_{end}': nan if key is None else math.log1p(
            (row.asked - first) / 10**9),
        f'session_gap_{end}': nan if gap is None else math.log1p(gap)}


def level(row):
  """2 for no label, and one more for each."""
  return 2 + row.click + row.conversion


def age_code(age):
  """2 for up to a second, and two more for each doubling."""
  return 2 + math.floor(2 * math.log2(max(1, age // 10**9)))


def code(item):
  """The hash of a value, 0 for none."""
  return int(hashes.of_texts(pa.array([item], pa.string()))[0])


def keys_of(row, key):
  """The keys of a row, none of them None."""
  if key == ('tags',):
    return [tag for tag in row.tags if tag is not None]
  values = tuple(getattr(row, name) for name in key)
  return [] if None in values else [values]


def logit(p):
  return math.log(p / (1 - p))
