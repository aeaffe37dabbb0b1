"""A column of times -> nanoseconds since 1970, and the days of a zone."""

from typing import NamedTuple

from esmm_jax.data.history.spans import DAY, SECOND
from esmm_jax.data.values.raw_values import NOUNS, Times
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Form of numbers -> nanoseconds.
_UNITS = {
    'seconds': SECOND,
    'milliseconds': SECOND // 10**3,
    'microseconds': SECOND // 10**6,
    'nanoseconds': 1,
    'days': DAY,
}
_WRITTEN = ('yyyymmdd', 'yyyymmddhhmmss')
_DAYS_ONLY = ('days', 'yyyymmdd')
_YEARS = 'from 1678 to 2261'
# Nanoseconds of the years above, and a day of which all zones have the
# beginning in 64 bits.
_HIGH = 9_223_286_400 * SECOND
_FIRST_DAY = -106_751
_TABLE = 1 << 16  # Days whose beginnings are computed one after the other.


class Clock(NamedTuple):
  """The form of a column of times, and the zone of its days.

  Attributes:
    kind: See `Times`.
    form: Of numbers, see `time_forms`; otherwise ''.
    zone: In which days begin: `UTC`, `+08:00`, `Asia/Shanghai`. Dates without a
      zone are as they are written.
  """

  kind: str
  form: str = ''
  zone: str = 'UTC'

  @classmethod
  def of(cls, times: Times, form: str, zone: str, option: str) -> 'Clock':
    """Makes the clock of a column.

    Args:
      times: Some of its times.
      form: Of its numbers; '' for none.
      zone: As the config names it; '' is that of the column, or UTC.
      option: The config's key and column, for messages.

    Raises:
      InputError: The numbers are no times that are known, or the zone is none.
    """
    if times.kind == 'number' and form not in (*_UNITS, *_WRITTEN):
      raise InputError(
          f'{option} holds numbers like {times.words(times.values[0].item())},'
          ' which are no times that are known; a history needs seconds,'
          ' milliseconds, microseconds or nanoseconds since 1970, or dates.'
      )
    if zone and (times.kind == 'date' or form in ('days', *_WRITTEN)):
      raise InputError(
          f'{option} holds dates without a zone, whose days are as they are'
          f' written; leave the zone {zone!r} away.'
      )
    clock = cls(times.kind, form, zone or times.zone or 'UTC')
    try:
      clock.days(np.zeros(1, np.int64))
    except (pa.ArrowException, ValueError) as e:
      raise InputError(
          f'{option}: the zone {clock.zone!r} is not known here; write an'
          ' offset, +08:00, or a name like Asia/Shanghai.'
      ) from e
    return clock

  @property
  def is_daily(self) -> bool:
    """True if the column holds days alone, so no delay below a day is known."""
    return self.form in _DAYS_ONLY

  def ns(self, times: Times) -> np.ndarray:
    """Converts times of the column to nanoseconds since 1970, int64 [n].

    Numbers with a fraction are exact to the microsecond.

    Raises:
      InputError: The times are of another kind, or numbers of another form.
    """
    if times.kind != self.kind:
      raise InputError(
          f'The times are {NOUNS[times.kind]} here and were {NOUNS[self.kind]}'
          ' in the log; give them one form.'
      )
    values = times.values
    if self.kind != 'number':
      return values
    if self.form in _WRITTEN:
      return _written(times, self.form)
    unit = _UNITS[self.form]
    largest = _HIGH // unit
    _refuse(~((values >= -largest) & (values <= largest)), times, self.form)
    if values.dtype.kind == 'i':
      return values * unit
    micro = np.rint(values * (unit / 1000.0)).astype(np.int64)
    return micro * 1000

  def days(self, ns: np.ndarray) -> np.ndarray:
    """Returns the days since 1970 of moments in the zone, int64 [n]."""
    if self.zone == 'UTC' or self.kind == 'date' or self.is_written:
      return ns // DAY
    moments = pa.array(ns, pa.timestamp('ns', self.zone))
    local = pc.local_timestamp(moments).cast(pa.int64())
    days = local.to_numpy(zero_copy_only=False) // DAY
    # Where clocks go back at midnight, a day that has begun does not end again.
    return days + (ns >= self.begins(days + 1))

  @property
  def is_written(self) -> bool:
    """True if the days are those of the texts, whatever the zone."""
    return self.form in _WRITTEN or self.form == 'days'

  def begins(self, days: np.ndarray) -> np.ndarray:
    """Returns the first nanosecond of days of the zone, int64 [n].

    A day before 1678 begins then; one that a zone has left out begins with the
    next one.
    """
    days = np.maximum(days, _FIRST_DAY)
    if self.zone == 'UTC' or self.kind == 'date' or self.is_written:
      return days * DAY
    if not len(days):
      return days
    first, end = int(days.min()), int(days.max()) + 1
    if end - first <= _TABLE:
      distinct, index = np.arange(first, end), days - first
    else:
      distinct, index = np.unique(days, return_inverse=True)
    local = pa.array(distinct * DAY, pa.timestamp('ns'))
    moments = pc.assume_timezone(
        local, self.zone, ambiguous='earliest', nonexistent='latest'
    ).cast(pa.int64())
    return moments.to_numpy(zero_copy_only=False)[index]

  def words(self, ns: int) -> str:
    """Returns a moment as people write it, in the zone."""
    moment = pa.scalar(ns // SECOND * SECOND, pa.timestamp('ns', 'UTC'))
    if self.kind != 'date' and not self.is_written:
      moment = moment.cast(pa.timestamp('ns', self.zone))
    text = str(pc.local_timestamp(moment).cast(pa.timestamp('s')))
    if self.kind == 'date' or self.is_written:
      return text
    return f'{text} {self.zone}'


def _written(times: Times, form: str) -> np.ndarray:
  """Converts numbers like 20220409 to nanoseconds; 30 February is refused."""
  values = times.values.astype(np.int64)
  is_whole = values == times.values
  clock = np.zeros_like(values)
  if form == 'yyyymmddhhmmss':
    values, clock = np.divmod(values, 10**6)
  hour, minute, second = clock // 10**4, clock // 100 % 100, clock % 100
  year, month, day = values // 10**4, values // 100 % 100, values % 100
  good = is_whole & (year >= 1678) & (year <= 2261)
  good &= (month >= 1) & (month <= 12) & (day >= 1)
  good &= (hour < 24) & (minute < 60) & (second < 60)
  months = np.where(good, (year - 1970) * 12 + month - 1, 0)
  first, next_one = (
      some.astype('datetime64[M]').astype('datetime64[D]').astype(np.int64)
      for some in (months, months + 1)
  )
  good &= first + day <= next_one
  _refuse(~good, times, form)
  seconds = hour * 3600 + minute * 60 + second
  return (first + day - 1) * DAY + seconds * SECOND


def _refuse(bad: np.ndarray, times: Times, form: str) -> None:
  """Refuses numbers that are no times of the log's form."""
  if bad.any():
    since = form if form in _WRITTEN else f'{form} since 1970'
    number = times.words(times.values[bad.argmax()].item())
    raise InputError(
        f'The time {number} is no date {_YEARS} in the form of the log, which'
        f' is {since}; write it as the log does.'
    )
