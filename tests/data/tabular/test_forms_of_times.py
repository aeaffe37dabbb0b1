"""One form of time for a whole column: units, dates, what stands for none."""

import datetime

from esmm_jax.data.tabular import rows
from esmm_jax.data.values.raw_values import time_forms, Times
from esmm_jax.types import InputError
import numpy as np
from pyarrow import csv
import pyarrow as pa
import pytest

from tests.data.tabular.test_tabular import prepared, table, write

DAYS = [datetime.datetime(2022, 3, 27) + datetime.timedelta(k, k * 3600)
        for k in range(10)]
SECONDS = [int(d.replace(tzinfo=datetime.UTC).timestamp()) for d in DAYS]
# Form -> the ten times as a column.
FORMS = {
    'ISO': [f'{d:%Y-%m-%d}' for d in DAYS],
    'ISO with a clock': [f'{d:%Y-%m-%dT%H:%M:%S}' for d in DAYS],
    'slashes': [f'{d:%Y/%m/%d}' for d in DAYS],
    'with Z': [f'{d:%Y-%m-%dT%H:%M:%SZ}' for d in DAYS],
    'yyyymmdd': [int(f'{d:%Y%m%d}') for d in DAYS],
    'yyyymmdd texts': [f'{d:%Y%m%d}' for d in DAYS],
    'yyyymmddhhmmss': [int(f'{d:%Y%m%d%H%M%S}') for d in DAYS],
    'yyyymm': [int(f'{d:%Y%m}') for d in DAYS],
    'seconds': SECONDS,
    'parts of seconds': [s + 0.5 for s in SECONDS],
    'milliseconds': [s * 10**3 for s in SECONDS],
    'microseconds': [s * 10**6 for s in SECONDS],
    'nanoseconds': [s * 10**9 for s in SECONDS],
    'days': [s // 86400 for s in SECONDS],
    'stamps': pa.array(DAYS, pa.timestamp('us')),
    'stamps in a zone': pa.array(DAYS, pa.timestamp('ms', 'Asia/Tokyo')),
    'date32': pa.array([d.date() for d in DAYS]),
}
# Forms of one kind and one order: they may be mixed.
ALIKE = [
    {'ISO', 'ISO with a clock', 'slashes', 'stamps', 'date32'},
    {'yyyymmdd', 'yyyymmdd texts'}, {'seconds', 'parts of seconds'},
    {'with Z', 'stamps in a zone'},
]


def parts(tmp_path, first, second, cut=5, end='parquet'):
  """Two files of a log, of five rows each, whose times have two forms."""
  paths = []
  for k, (name, low) in enumerate([(first, 0), (second, cut)]):
    day = pa.array(FORMS[name]).slice(low, cut if low == 0 else 10)
    whole = table().slice(low, len(day))
    whole = whole.set_column(whole.column_names.index('day'), 'day', day)
    paths.append(write(whole, tmp_path / f'{k}.{end}'))
  return paths


@pytest.mark.parametrize('first', [
    name if name in ('ISO', 'yyyymmdd', 'seconds') else
    pytest.param(name, marks=pytest.mark.slow) for name in FORMS])
def test_two_forms_in_two_files(first, tmp_path):
  """272 pairs: the order is right or the column is refused with both forms."""
  for second in FORMS:
    if second == first:
      continue
    paths = parts(tmp_path, first, second)
    options = dict(
        valid_from='', test_from='', valid_share=0.2, test_share=0.2)
    folder = tmp_path / second
    if any({first, second} <= alike for alike in ALIKE):
      data = prepared(folder, paths, **options)
      assert data.as_data_source('test').read(
          0, 2, ['file_number'])['file_number'].tolist() == [1, 1]
      continue
    words = "1.parquet, row 0: column 'day' "
    with pytest.raises(InputError, match=words) as e:
      prepared(folder, paths, **options)
    assert '0.parquet, row 0' in str(e.value)
    assert str(e.value).endswith('give all rows one form.')


def changed_at(num, first, second, tmp_path):
  """A CSV file whose times change their form at a row."""
  whole = table().slice(0, 5).take(pa.array(np.arange(num + 5) % 5))
  day = [FORMS[first][0]] * num + FORMS[second][5:]
  k = whole.column_names.index('day')
  whole = whole.drop_columns('tags').set_column(
      k - 1, 'day', pa.array(list(map(str, day))))
  path = str(tmp_path / 'log.csv')
  csv.write_csv(whole, path)
  return path


@pytest.mark.parametrize('first, second, words', [
    ('ISO', 'yyyymmdd', 'is .20220401.; it must be a number or a date'),
    ('yyyymmdd', 'ISO', 'is .2022-04-01.; it must be a number'),
    ('seconds', 'milliseconds', 'like milliseconds since 1970'),
    ('yyyymmdd', 'seconds', 'like seconds since 1970')])
def test_a_form_that_changes_in_a_file(first, second, words, tmp_path):
  path = changed_at(10, first, second, tmp_path)
  with pytest.raises(InputError, match=f'log.csv, line 12: .*{words}'):
    prepared(tmp_path, path, ids='', valid_from='', test_from='',
             valid_share=0.2, test_share=0.2)


@pytest.mark.slow
@pytest.mark.parametrize('first, second', [
    ('ISO', 'yyyymmdd'), ('yyyymmdd', 'ISO'), ('seconds', 'milliseconds')])
def test_a_form_that_changes_with_a_piece(first, second, tmp_path):
  path = changed_at(rows.READ_ROWS, first, second, tmp_path)
  line = rows.READ_ROWS + 2
  with pytest.raises(InputError, match=f'line {line}: .*give all rows one'):
    prepared(tmp_path, path, ids='', valid_from='', test_from='',
             valid_share=0.2, test_share=0.2)


COUNTERS = {
    'from 0': range(10), 'thousands': range(0, 10**7, 10**6),
    'past all units': [10**k for k in range(10)],
    'years and thousands': [2000, 2010, *range(10_000, 18_000, 1000)],
    'fractions': np.linspace(0, 1, 10), 'negative': range(-5, 5),
}


@pytest.mark.parametrize('case', COUNTERS)
def test_counters_are_no_dates(case, tmp_path):
  path = write(table(day=list(COUNTERS[case])), tmp_path / 'log.parquet')
  data = prepared(
      tmp_path, path, min_count=1, valid_from='', test_from='',
      valid_share=0.2, test_share=0.2)
  assert [s.num_examples for s in data.info.splits.values()] == [6, 2, 2]
  assert data.warnings == []


def stamps(day, unit='us'):
  return [day, *pa.array(DAYS[1:], pa.timestamp(unit))]


# Column -> what is said.
SENTINELS = {
    'date': (['1970-01-01', *FORMS['ISO'][1:]], '1970-01-01', 'first'),
    'old date': (['1900-01-01', *FORMS['ISO'][1:]], '1900-01-01', 'first'),
    'seconds': ([0, *SECONDS[1:]], '1970-01-01', 'first'),
    'minus one': ([-1, *FORMS['milliseconds'][1:]], '1970-01-01', 'first'),
    'nanoseconds': ([0, *FORMS['nanoseconds'][1:]], '1970-01-01', 'first'),
    'days': ([0, *FORMS['days'][1:]], '1970-01-01', 'first'),
    'last seconds': (
        [*SECONDS[:9], 253_402_214_400], '9999-12-31', 'last'),
    'last milliseconds': (
        [*FORMS['milliseconds'][:9], 253_402_300_799_999], '9999-12-31',
        'last'),
    'yyyymmdd': ([*FORMS['yyyymmdd'][:9], 99991231], '9999-12-31', 'last'),
    'a zero': ([0, *FORMS['yyyymmdd'][1:]], 'time 0 ', 'first'),
    'yyyymm': ([*range(202201, 202210), 999912], '9999-12', 'last'),
    'a clock': (
        [*FORMS['yyyymmddhhmmss'][:9], 99991231235959], '9999-12-31', 'last'),
}


@pytest.mark.parametrize('case', SENTINELS)
def test_a_date_that_stands_for_none_is_told(case, tmp_path):
  column, date, place = SENTINELS[case]
  path = write(table(day=column), tmp_path / 'log.parquet')
  data = prepared(
      tmp_path, path, min_count=1, valid_from='', test_from='',
      valid_share=0.2, test_share=0.2)
  (said,) = data.warnings
  assert said.startswith('1 rows have the time') and date in said
  assert f'they are sorted {place}.' in said


@pytest.mark.parametrize('column', [
    [*FORMS['ISO'][:9], '9999-12-31'],
    [*(d.date() for d in DAYS[:9]), datetime.date(9999, 12, 31)],
    pa.array([*DAYS[:9], datetime.datetime(9999, 12, 31)], pa.timestamp('us')),
])
def test_a_date_past_nanoseconds_is_refused_as_a_date(column, tmp_path):
  path = write(table(day=column), tmp_path / 'log.parquet')
  message = "row 9: column 'day' is .*9999-12-31.* from 1678 to 2261. Leave"
  with pytest.raises(InputError, match=message):
    prepared(tmp_path, path, valid_from='', test_from='')


def test_bounds_are_dates(tmp_path):
  path = write(table(day=FORMS['microseconds']), tmp_path / 'log.parquet')
  message = (
      r'goes from 1648339200000000 \(2022-03-27 00:00:00Z\) to'
      r' 1649149200000000 \(2022-04-05 09:00:00Z\)')
  with pytest.raises(InputError, match=message):
    prepared(tmp_path, path, valid_from='', test_from='20220401')


@pytest.mark.parametrize('stray', [5, -2208988800, 5 * 10**10, 20220432])
@pytest.mark.parametrize('second', ['milliseconds', 'yyyymmdd'])
def test_one_stray_number_hides_no_second_form(stray, second, tmp_path):
  whole = table().drop_columns('tags').take(pa.array(np.arange(500) % 10))
  day = [stray] + (FORMS['seconds'] * 50)[1:490] + FORMS[second]
  k = whole.column_names.index('day')
  path = write(
      whole.set_column(k, 'day', pa.array(day)), tmp_path / 'log.parquet')
  with pytest.raises(InputError, match='row 490: .*give all rows one form'):
    prepared(tmp_path, path, ids='', valid_from='', test_from='',
             valid_share=0.2, test_share=0.2)


def test_forms_of_numbers():
  found = time_forms.forms(np.array([20220401, 20220432, 5, 0]))
  assert [tuple(f) for f in found] == [('yyyymmdd', 0, 20220401, 1),
                                       ('', 1, 20220432, 2)]
  times = Times(np.array([19000, 19001]), 'number')
  date = '19000 (2022-01-08 00:00:00Z)'
  assert time_forms.words(19000, times, 'days') == date
  assert time_forms.words(5, times, '') == '5'
