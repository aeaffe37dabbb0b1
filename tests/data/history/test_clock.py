"""Columns of times: units, zones, the first nanosecond of each day."""

import datetime
import zoneinfo

from esmm_jax.data.history import plan, spans
from esmm_jax.data.history.clock import Clock
from esmm_jax.data.history.specs import Counter
from esmm_jax.data.values.times import Times
from esmm_jax.types import InputError
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

SECOND, DAY = 10**9, 86_400 * 10**9
FIRST = datetime.date(1678, 1, 1)
ZONES = ['UTC', '+08:00', '+05:45', '-03:30', 'Europe/Berlin',
         'America/Sao_Paulo', 'America/St_Johns', 'Asia/Kathmandu']


def numbers(*values):
  return Times(np.array(values), 'number')


def moment(text, zone='UTC', fold=0):
  at = datetime.datetime.fromisoformat(text).replace(
      tzinfo=zoneinfo.ZoneInfo(zone), fold=fold)
  return round(at.timestamp() * 1000) * 10**6


@pytest.mark.parametrize('form, value, ns', [
    ('seconds', 1_648_249_200, 1_648_249_200 * SECOND),
    ('seconds', 1_648_249_200.123456, 1_648_249_200_123_456_000),
    ('milliseconds', 1_648_249_200_001, 1_648_249_200_001_000_000),
    ('milliseconds', 1_648_249_200_001.5, 1_648_249_200_001_500_000),
    ('microseconds', 1_648_249_200_000_001, 1_648_249_200_000_001_000),
    ('nanoseconds', 1_648_249_200_000_000_001, 1_648_249_200_000_000_001),
    ('seconds', 0, 0), ('seconds', -1, -SECOND), ('milliseconds', -1, -10**6),
    ('seconds', -9_214_560_000, -9_214_560_000 * SECOND),
    ('days', 19_000, 19_000 * DAY), ('days', 0.5, DAY // 2),
    ('yyyymmdd', 20240229, moment('2024-02-29')),
    ('yyyymmdd', 16780101, moment('1678-01-01')),
    ('yyyymmdd', 22611231, moment('2261-12-31')),
    ('yyyymmddhhmmss', 19691231235959, -SECOND),
    ('yyyymmddhhmmss', 20220401120000, moment('2022-04-01T12:00')),
])
def test_numbers(form, value, ns):
  assert Clock('number', form).ns(numbers(value)).tolist() == [ns]


@pytest.mark.parametrize('form, value', [
    ('seconds', 1_648_249_200_001), ('seconds', -(10**12)), ('days', 200_000),
    ('milliseconds', 1.7e18), ('microseconds', 10**18),
    ('yyyymmdd', 20230229), ('yyyymmdd', 20231301), ('yyyymmdd', 20230100),
    ('yyyymmdd', 20230431), ('yyyymmdd', 1_648_249_200), ('yyyymmdd', 2023),
    ('yyyymmdd', 16771231), ('yyyymmdd', 22620101), ('yyyymmdd', 20230101.5),
    ('yyyymmddhhmmss', 20230101240000), ('yyyymmddhhmmss', 20230101126000),
    ('yyyymmddhhmmss', 20230101)])
def test_numbers_of_another_form_are_refused(form, value):
  good = {'yyyymmdd': 20220401, 'yyyymmddhhmmss': 20220401000000}.get(form, 0)
  with pytest.raises(InputError, match=f'The time .* no date.*{form}.*write'):
    Clock('number', form).ns(numbers(good, value))


@pytest.mark.parametrize('kind', ['date', 'moment'])
def test_dates_are_nanoseconds_as_they_are(kind):
  values = np.array([-5, 0, 7, 2**62])
  assert Clock(kind).ns(Times(values, kind)).tolist() == values.tolist()
  with pytest.raises(InputError, match='numbers here and were .* one form'):
    Clock(kind).ns(numbers(1))


@settings(max_examples=40)
@given(zone=st.sampled_from(ZONES), days=st.lists(
    st.dates(FIRST, datetime.date(2261, 12, 30)), min_size=1, max_size=5))
def test_days_begin_when_they_begin(zone, days):
  clock = Clock('moment', '', zone)
  first = datetime.date(1970, 1, 1)
  numbers_of = np.array([(day - first).days for day in days])
  begins = clock.begins(numbers_of)
  np.testing.assert_array_equal(clock.days(begins), numbers_of)
  np.testing.assert_array_equal(clock.days(begins - 1), numbers_of - 1)
  np.testing.assert_array_equal(clock.days(begins + 22 * 3600 * SECOND),
                                numbers_of)
  if zone[0] not in '+-':
    for day, begin in zip(days, begins.tolist()):
      if day.year < 1900:  # Offsets had seconds, and files differ in them.
        continue
      at = datetime.datetime.combine(day, datetime.time(12)).replace(
          tzinfo=zoneinfo.ZoneInfo(zone))
      noon = round(at.timestamp()) * SECOND
      assert 11 * 3600 <= (noon - begin) // SECOND <= 13 * 3600 + 60


@pytest.mark.parametrize('zone, day, begins, hours', [
    ('Europe/Berlin', '2022-03-27', '2022-03-26T23:00', 23),
    ('Europe/Berlin', '2022-10-30', '2022-10-29T22:00', 25),
    # Midnight does not exist; the day begins at one.
    ('America/Sao_Paulo', '2018-11-04', '2018-11-04T03:00', 23),
    # 23:00 to midnight comes twice.
    ('America/Sao_Paulo', '2018-02-17', '2018-02-17T02:00', 25),
    ('America/Sao_Paulo', '2018-02-18', '2018-02-18T03:00', 24),
    # At one past midnight clocks go back to the day before, which has ended.
    ('America/St_Johns', '2010-11-07', '2010-11-07T02:30', 25),
    ('+05:45', '1970-01-01', '1969-12-31T18:15', 24),
    ('UTC', '1969-12-31', '1969-12-31T00:00', 24)])
def test_days_when_clocks_change(zone, day, begins, hours):
  clock = Clock('moment', '', zone)
  number = (datetime.date.fromisoformat(day) - datetime.date(1970, 1, 1)).days
  begin = moment(begins)
  end = begin + hours * 3600 * SECOND
  assert clock.begins(np.array([number, number + 1])).tolist() == [begin, end]
  times = np.arange(begin, end, 60 * SECOND)
  assert (clock.days(times) == number).all()
  assert clock.days(np.array([begin - 1, end - 1, end])).tolist() == [
      number - 1, number, number + 1]


def test_a_day_that_a_zone_left_out():
  clock = Clock('moment', '', 'Pacific/Apia')
  day = (datetime.date(2011, 12, 30) - datetime.date(1970, 1, 1)).days
  first, left_out, after = clock.begins(np.array([day - 1, day, day + 1]))
  assert left_out == after == first + DAY
  assert clock.days(np.array([after - 1, after])).tolist() == [day - 1, day + 1]


@pytest.mark.parametrize('clock', [
    Clock('date', '', 'UTC'), Clock('number', 'yyyymmdd', '+08:00'),
    Clock('number', 'days', 'Europe/Berlin')])
def test_dates_without_a_zone_have_the_days_that_are_written(clock):
  times = np.array([-1, 0, DAY - 1, DAY])
  assert clock.days(times).tolist() == [-1, 0, 0, 1]
  assert clock.begins(np.array([-1, 0, 1])).tolist() == [-DAY, 0, DAY]


@pytest.mark.parametrize('times, form, zone, words', [
    (numbers(7), '', '', 'numbers like 7.*needs seconds'),
    (numbers(2022), 'yyyy', '', 'numbers like 2022'),
    (numbers(10**9), 'seconds', 'Mars/Base', "'Mars/Base' is not known here"),
    (numbers(10**9), 'seconds', '8', 'write an offset'),
    (numbers(20220401), 'yyyymmdd', '+08:00', "zone '.08:00' away"),
    (Times(np.array([1]), 'date'), '', 'UTC', "leave the zone 'UTC' away"),
])
def test_no_clock(times, form, zone, words):
  with pytest.raises(InputError, match=f"time='ts'.*{words}"):
    Clock.of(times, form, zone, "time='ts'")


def test_the_zone_is_that_of_the_config_or_of_the_column():
  times = Times(np.array([1]), 'moment', '+08:00')
  assert Clock.of(times, '', '', 't').zone == '+08:00'
  assert Clock.of(times, '', 'Europe/Berlin', 't').zone == 'Europe/Berlin'
  assert Clock.of(numbers(10**9), 'seconds', '', 't').zone == 'UTC'
  assert Clock('number', 'yyyymmdd').is_daily
  assert not Clock('number', 'seconds').is_daily


@pytest.mark.parametrize('clock, words', [
    (Clock('moment', '', '+08:00'), '1970-01-01 08:00:01 +08:00'),
    (Clock('moment', '', 'Europe/Berlin'), '1970-01-01 01:00:01 Europe/Berlin'),
    (Clock('date'), '1970-01-01 00:00:01')])
def test_words(clock, words):
  assert clock.words(SECOND + 7) == words


@pytest.mark.parametrize('delay', ['1d', '2d', '36500d', '1ms', '36h'])
def test_later_rows_see_no_less(delay):
  """Also at each minute of the hours in which clocks go back."""
  begin = moment('2010-11-06T20:00')
  asked = np.arange(begin, begin + 12 * 3600 * SECOND, 30 * SECOND)
  spec = Counter(('user',), spans.parse(delay), window=spans.parse('1d'))
  clock = Clock('moment', '', 'America/St_Johns')
  limit, since = plan.limits(spec, clock, asked)
  assert (np.diff(limit) >= 0).all() and (np.diff(since) >= 0).all()
  assert (limit < asked).all() and (since < limit).all()
  for first in asked[::100].tolist():
    later = asked >= first
    end = plan.horizon([spec], clock, first)
    assert end <= since[later].min() and end < first
