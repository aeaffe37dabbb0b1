"""Splits by time: zones, nanoseconds, and columns of more than one kind."""

from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
import pytest

from tests.data.tabular.test_tabular import prepared, table, write

NOON = int(np.datetime64('2022-04-01T12:00', 's').astype(int))
HOUR = 3600
# Ten times, six hours after each other, from noon in UTC.
TIMES = [NOON + 6 * HOUR * k for k in range(10)]


def stamps(unit='s', zone=None):
  array = pa.array(TIMES, pa.timestamp('s')).cast(pa.timestamp(unit))
  return array.cast(pa.timestamp(unit, zone))


def texts(form, hours=0, end=''):
  times = np.array(TIMES, 'datetime64[s]') + np.timedelta64(hours, 'h')
  return [t.item().strftime(form) + end for t in times]


def sizes(tmp_path, day, name='log.parquet', **more):
  path = write(table(day=day), tmp_path / name)
  options = dict(valid_from='2022-04-03', test_from='2022-04-03 18:00') | more
  data = prepared(tmp_path, path, **options)
  return [s.num_examples for s in data.info.splits.values()]


# Column -> rows of the splits: those before the third, 0:00, before 18:00.
COLUMNS = {
    'date without a zone': (stamps('us'), [6, 3, 1]),
    'UTC': (stamps('ms', 'UTC'), [6, 3, 1]),
    'UTC+8': (stamps('ns', 'Asia/Shanghai'), [5, 3, 2]),
    'offset in the type': (stamps('s', '+08:00'), [5, 3, 2]),
    'UTC-5': (stamps('us', '-05:00'), [7, 3, 0]),
    'ISO': (texts('%Y-%m-%dT%H:%M:%S'), [6, 3, 1]),
    'ISO with Z': (texts('%Y-%m-%dT%H:%M:%S', end='Z'), [6, 3, 1]),
    'ISO with an offset': (
        texts('%Y-%m-%dT%H:%M:%S', 8, '+08:00'), [5, 3, 2]),
    'offset without a colon': (
        texts('%Y-%m-%d %H:%M:%S', 8, '.000+0800'), [5, 3, 2]),
    'nanoseconds': (texts('%Y-%m-%d %H:%M:%S', 0, '.000000001'), [6, 3, 1]),
    'slashes': (texts('%Y/%m/%d %H:%M'), [6, 3, 1]),
}


@pytest.mark.parametrize('form', ['log.csv', 'log.parquet'])
@pytest.mark.parametrize('case', COLUMNS)
def test_boundaries_are_in_the_columns_zone(case, form, tmp_path):
  column, wanted = COLUMNS[case]
  if not wanted[2]:
    wanted, more = wanted[:2], dict(test_from='', test_share=0.0)
    assert sizes(tmp_path, column, form, **more) == [wanted[0], 3]
    return
  assert sizes(tmp_path, column, form) == wanted
  # With an offset they are the same for all that have a zone.
  if ('zone' in case or 'ISO' == case or case in ('nanoseconds', 'slashes')):
    return
  at = dict(valid_from='2022-04-03T08:00+08:00', test_from='2022-04-03T18:00Z')
  assert sizes(tmp_path, column, 'again' + form, **at) == [6, 3, 1]


@pytest.mark.parametrize('kind', ['ns', 'ns in a zone', 'number', 'text'])
def test_nanoseconds_decide(kind, tmp_path):
  """Times that a float64 would round together."""
  first = 1650000000 * 10**9
  values = [first + k for k in range(10)]
  ends = ['2022-04-15 05:20:00.000000006', '2022-04-15 05:20:00.000000008']
  if kind in ('number', 'text'):
    ends = [str(first + 6), str(first + 8)]
  column = {
      'ns': pa.array(values, pa.timestamp('ns')),
      'ns in a zone': pa.array(values, pa.timestamp('ns', 'UTC')),
      'number': values, 'text': [str(v) for v in values]}[kind]
  result = sizes(tmp_path, column, valid_from=ends[0], test_from=ends[1])
  assert result == [6, 2, 2]
  by_share = dict(valid_from='', test_from='', valid_share=0.2, test_share=0.3)
  assert sizes(tmp_path, column, 'shares.csv', **by_share) == [5, 2, 3]


def test_offsets_that_differ(tmp_path):
  """As a clock that is put forward has them."""
  column = texts('%Y-%m-%d %H:%M:%S', 8, '+08:00')
  column[3] = texts('%Y-%m-%d %H:%M:%S', 9, '+09:00')[3]
  message = (
      "dataset.test_from is '2022-04-03 18:00', but column 'day' holds"
      ' moments .* give it an offset too')
  with pytest.raises(InputError, match=message):
    sizes(tmp_path, column)
  at = dict(valid_from='2022-04-03T08:00+08', test_from='2022-04-03T18:00Z')
  assert sizes(tmp_path, column, **at) == [6, 3, 1]


MIXED = {
    'offsets in a file': (
        texts('%Y-%m-%d')[:4], texts('%Y-%m-%d %H:%M', end='Z')[4:],
        r"log.csv, line 6: column 'day' is '2022-04-02 12:00Z'; it must be a"
        ' date without an offset, as in the rows before'),
    'files': (
        stamps()[:4], stamps('s', 'UTC')[4:],
        "1.parquet, row 0: column 'day' holds moments with a zone here"
        r' \(2022-04-02 12:00:00Z\) and dates without a zone before'),
    'numbers': (
        TIMES[:4], stamps()[4:], "1.parquet, row 0: column 'day' holds dates"
        r' without a zone here \(2022-04-02 12:00:00\) and numbers before'
        r' \(1648814400, .*0.parquet, row 0\); give all rows one form'),
}


@pytest.mark.parametrize('case', MIXED)
def test_columns_of_two_kinds(case, tmp_path):
  first, second, message = MIXED[case]
  if isinstance(second, list):
    paths = [write(table(day=[*first, *second]), tmp_path / 'log.csv')]
  else:
    paths = [
        write(table().slice(a, len(part)).set_column(
            6, 'day', pa.array(part)), tmp_path / f'{k}.parquet')
        for k, (a, part) in enumerate([(0, first), (4, second)])]
  with pytest.raises(InputError, match=message):
    prepared(tmp_path, paths, valid_from='2022-04-03', test_from='')


def test_what_the_column_holds_is_said(tmp_path):
  message = ("test_from is 2023-04-01, but column 'day' goes from"
             ' 2022-04-01 12:00:00Z to 2022-04-03 18:00:00Z')
  with pytest.raises(InputError, match=message):
    sizes(tmp_path, stamps('ns', 'Asia/Shanghai'), test_from='2023-04-01')
