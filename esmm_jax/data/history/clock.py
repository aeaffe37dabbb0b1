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
_WRITTEN = {'yyyymmdd': '%Y%m%d', 'yyyymmddhhmmss': '%Y%m%d%H%M%S'}
_DAYS_ONLY = ('days', 'yyyymmdd')


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
    if times.kind == 'date' and zone:
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
      InputError: The times are of another kind, or a number is no date.
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
      texts = pa.array(values.astype(np.int64)).cast(pa.string())
      moments = pc.strptime(
          texts, format=_WRITTEN[self.form], unit='s', error_is_null=True
      )
      if moments.null_count:
        bad = texts.filter(moments.is_null())[0].as_py()
        raise InputError(
            f'{bad} is no date like {self.form}, as the others are; leave rows'
            ' out whose time is not known.'
        )
      seconds = moments.cast(pa.int64()).to_numpy(zero_copy_only=False)
      return seconds * SECOND
    unit = _UNITS[self.form]
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
    return local.to_numpy(zero_copy_only=False) // DAY

  @property
  def is_written(self) -> bool:
    """True if the days are those of the texts, whatever the zone."""
    return self.form in _WRITTEN or self.form == 'days'

  def begins(self, days: np.ndarray) -> np.ndarray:
    """Returns the first nanosecond of days of the zone, int64 [n]."""
    if self.zone == 'UTC' or self.kind == 'date' or self.is_written:
      return days * DAY
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
