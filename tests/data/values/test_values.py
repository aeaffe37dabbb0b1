"""Identifiers, numbers and times: what is one value, and what is refused."""

import datetime
import decimal
import subprocess
import sys
import warnings

from esmm_jax.data.values import raw_values
from esmm_jax.data.values.raw_values import Location
from esmm_jax.types import InputError
from hypothesis import given, strategies as st
import numpy as np
import pyarrow as pa
import pytest

HERE = Location('log', name='a')
D = decimal.Decimal


def texts(values):
  return raw_values.texts(raw_values.arrow(values, HERE), HERE).to_pylist()


def floats(values):
  return raw_values.floats(raw_values.arrow(values, HERE), HERE).tolist()


def times(values):
  return raw_values.times(raw_values.arrow(values, HERE), HERE)


# Text -> forms of the same value.
SAME = {
    '7': ['7', ' 7', '7.0', '7.', '7.000\t', '\u00a07', b'7', 7.0, D('7.00'),
          np.uint64(7), np.float32(7)],
    '+7': ['+7', '+7.0'],
    '007': ['007', '007.0'],
    '0': ['0', '0.0', '-0.0', -0.0, D('-0'), D('0E-10')],
    '0.00000010': ['0.00000010', D('1.0E-7')],
    '-3': ['-3.0', -3, D('-3')],
    '1.50': ['1.50', D('1.50')],
    str(2**64 - 1): [str(2**64 - 1), 2**64 - 1, D(2**64 - 1)],
    str(-2**63): [str(-2**63), -2**63],
    str(10**30): [10**30, D(10**30), f'{10**30}.0'],
    'True': ['True', 'true', 'TRUE', True, np.True_],
    'False': ['False', 'false', 'FALSE', False],
    'tRUE': ['tRUE'],
    '1e16': ['1e16'],
    '12e5': ['12e5'],
    str(2**24 - 1): [np.float32(2**24 - 1), 2**24 - 1, f'{2**24 - 1}.0'],
    '2022-04-01': [
        '2022-04-01', '2022-04-01 00:00:00', '2022-04-01T00:00:00.000000',
        '2022-04-01 00:00', datetime.date(2022, 4, 1),
        datetime.datetime(2022, 4, 1), np.datetime64('2022-04-01', 'D'),
        np.datetime64('2022-04-01', 'ns')],
    '2022-04-01 12:30:00': [
        '2022-04-01 12:30', '2022-04-01T12:30:00', '2022-04-01 12:30:00.000',
        datetime.datetime(2022, 4, 1, 12, 30)],
    '2022-04-01 12:30:00.00012': [
        '2022-04-01 12:30:00.000120000', '2022-04-01T12:30:00.00012',
        datetime.datetime(2022, 4, 1, 12, 30, 0, 120)],
    '2022-04-01 04:30:00.5Z': [
        '2022-04-01T12:30:00.500+08:00', '2022-04-01 12:30:00.5+0800',
        '2022-04-01 12:30:00.5+08', '2022-04-01 04:30:00.5Z',
        '2022-04-01 01:00:00.5-03:30'],
    '2022-03-31 00:00:00Z': [
        '2022-03-31 00:00:00Z', '2022-03-31T00:00Z',
        datetime.datetime(2022, 3, 31, tzinfo=datetime.UTC)],
    '12:30:00.5': ['12:30:00.500000', datetime.time(12, 30, 0, 500000)],
    # No times: they are what they are.
    '2022-02-30 00:00:00Z': ['2022-02-30 00:00:00Z'],
    '2022-04-01 12': ['2022-04-01 12'],
    '2022-04-01 12+08:00': ['2022-04-01 12+08:00'],
    '2022-13-01 00:00:00': ['2022-13-01 00:00:00'],
    'a-b:c': ['a-b:c'],
    '9999-12-31 23:59:59.5': ['9999-12-31 23:59:59.500'],
    '1e5': ['1e5'],
    '1e-07': ['1e-07'],
    'NULL': ['NULL'],
}


@pytest.mark.parametrize('text', SAME)
def test_one_text(text):
  for value in SAME[text]:
    assert texts([value]) == [text], value
    # Neither neighbours nor nulls change it.
    assert texts([None, value, float('nan')]) == [None, text, None]
  forms = [v for v in SAME[text] if isinstance(v, str)]
  assert texts([*forms, 'x', '2022-04-01T12:00']) == [
      *[text] * len(forms), 'x', '2022-04-01 12:00:00']


@given(st.lists(st.text('0123456789-: TZ+.trueFALS', max_size=24)), st.data())
def test_neighbours_change_no_text(values, data):
  """The fast ways, of whole columns, are the slow one."""
  alone = [texts([v])[0] if '+' not in v else None for v in values]
  values = [v if '+' not in v else None for v in values]
  assert texts(pa.array(values, pa.string())) == alone
  more = data.draw(st.sampled_from(sum(
      ([v for v in forms if isinstance(v, str)] for forms in SAME.values()),
      [])))
  assert texts(pa.array([*values, more])) == [*alone, texts([more])[0]]


@given(st.datetimes(datetime.datetime(1970, 1, 1)), st.sampled_from(
    ['s', 'ms', 'us', 'ns']), st.sampled_from([None, 'UTC', 'Asia/Tokyo']))
def test_times_of_all_units_and_their_texts(time, unit, zone):
  if unit == 'ns' and time.year > 2261:
    unit = 'us'
  array = pa.array([time]).cast(pa.timestamp(unit), safe=False)
  written = array.cast(pa.timestamp(unit, zone)).cast(pa.string())
  stamped = texts(array.cast(pa.timestamp(unit, zone)))
  assert texts(written) == stamped == texts(stamped)
  assert stamped[0].endswith('Z') == bool(zone)
  if time.year < 2262:
    assert times(written).values[0] == times(array).values[0]


def test_missing_values_are_those_of_the_writer():
  pandas = pytest.importorskip('pandas')
  missing = [None, np.nan, float('nan'), pandas.NaT, pandas.NA,
             np.datetime64('NaT')]
  for value in ('x', 1, 1.0, True, D('1'), datetime.datetime(2022, 4, 1)):
    for kind in (list, lambda v: np.array(v, object),
                 lambda v: pandas.Series(v, dtype=object)):
      result = texts(kind([value, *missing, 'y']))
      assert result == [texts([value])[0], *[None] * len(missing), 'y']
  assert np.isnan(floats([*missing, 2])[:-1]).all()
  assert floats([1, None, 2.5, np.nan]) == pytest.approx(
      [1, np.nan, 2.5, np.nan], nan_ok=True)
  assert texts([[1], 'x', None]) == ['[1]', 'x', None]


def test_columns_of_other_libraries():
  jnp = pytest.importorskip('jax.numpy')
  polars = pytest.importorskip('polars')
  pandas = pytest.importorskip('pandas')
  assert texts(jnp.array([1, 2])) == ['1', '2']
  assert floats(jnp.array([1.5, jnp.nan]))[0] == 1.5
  assert texts(polars.Series(['a', None])) == ['a', None]
  assert texts(polars.Series(['b', 'a'], dtype=polars.Categorical)) == [
      'b', 'a']
  assert raw_values.lists(
      raw_values.arrow(polars.Series([[1], [2, 3]]), HERE), HERE, 9
  ).entries.to_pylist() == ['1', '2', '3']
  for series in (
      pandas.Series([1, None], dtype='Int64'), pandas.Series([1.0, None]),
      pandas.Series([1, None], dtype='category'),
      pandas.Series([1, None], dtype='int64[pyarrow]'),
      np.ma.array([1, 2], mask=[False, True]), (1, None)):
    assert texts(series) == ['1', None]
  frame = pandas.DataFrame({'a': range(99)})
  for value in ('x', b'x', 3, np.array(3), frame, None):
    with pytest.raises(InputError, match="'a' is .*; it must be an array") as e:
      raw_values.arrow(value, HERE)
    assert '\n' not in str(e.value)


def test_the_first_value_is_shown():
  values = pa.array([None, 5], pa.duration('s'))
  with pytest.raises(InputError, match="row 1: column 'a' is 5 s; it must be"):
    raw_values.texts(values, HERE)


# Values that are no identifiers, and why.
NO_TEXTS = {
    'fraction': ([1.5], '1.5; it must be a whole number or a text'),
    'infinite': ([np.inf], r'inf; it must be a whole number below 2\^53'),
    'rounded': ([2.0**53 + 2], r'9007199254740994.0; it must be .*2\^53'),
    'rounded float32': (
        np.array([2.0**24 + 2], 'float32'), r'16777218.0; .* below 2\^24'),
    # 16777217 may have become it.
    'first float32 of two': (
        np.array([2.0**24], 'float32'), r'16777216.0; .* below 2\^24'),
    'first float of two': ([-2.0**53], r'-9007199254740992.0; .* below 2\^53'),
    'float16': (np.array([2048], 'float16'), r'2048.0; .* below 2\^11'),
    'rounded without a sign': (['1.8446744073709552e19'], "e19'; it must be"),
    'a decimal': (['1E+2'], "'1E.2'; it must be written with all"),
    'rounded text': (['1.8446744073709552e+19'], "e.19'; it must be writ"),
    'rounded with a comma': (['1,23E+15'], r"'1,23E.15'; it must be written"),
    'of a spreadsheet': (['x', '1.23457E+11'], 'row 1: .*all its digits'),
    'not UTF-8': ([b'a', b'\xff'], r"row 1: column 'a' is b'.xff'; .* UTF-8"),
    'duration': (
        np.array([5], 'timedelta64[ns]'), 'is 5 ns; it must be one value'),
    'long': (pa.array([['x' * 500]]), r'xxx\.\.\.; it must be one value'),
}


@pytest.mark.parametrize('case', NO_TEXTS)
def test_what_is_no_identifier(case):
  values, message = NO_TEXTS[case]
  with pytest.raises(InputError, match=message) as e:
    texts(values)
  assert len(str(e.value)) < 300


def test_rows_of_a_column_in_pieces():
  pieces = pa.chunked_array([[b'a', b'b'], [b'c', b'\xff']])
  with pytest.raises(InputError, match="row 13: column 'a' is .*UTF-8"):
    raw_values.arrow(pieces, Location('log', 10, name='a'))


def test_texts_that_are_not_utf8():
  """A file's strings are not checked when they are read."""
  array = pa.Array.from_buffers(
      pa.string(), 2, [None, pa.py_buffer(np.array([0, 1, 3], np.int32)),
                       pa.py_buffer(b'a\xff ')])
  with pytest.raises(InputError, match="row 1: column 'a' is .*UTF-8"):
    raw_values.texts(array, HERE)


@pytest.mark.slow
def test_nanoseconds_without_pandas():
  """Neither values nor messages need it."""
  program = '''
import sys

class Refuse:
  def find_spec(self, name, path=None, target=None):
    if name.split('.')[0] == 'pandas':
      raise ImportError(name)

sys.meta_path.insert(0, Refuse())
from esmm_jax.data.values import raw_values
from esmm_jax.types import InputError
import pyarrow as pa
here = raw_values.Location('log', name='a')
array = pa.array([1650000000000000001], pa.timestamp('ns'))
print(raw_values.texts(array, here)[0])
for values in (array, pa.array([[1650000000000000001]], pa.list_(array.type))):
  try:
    raw_values.floats(values, here)
  except InputError as e:
    print(e)
'''
  done = subprocess.run(
      [sys.executable, '-c', program], text=True, capture_output=True,
      check=True)
  text = '2022-04-15 05:20:00.000000001'
  assert done.stdout.splitlines() == [
      text, f"log, row 0: column 'a' is {text}; it must be a number.",
      f"log, row 0: column 'a' is [ [ {text} ] ]; it must be a number."]


# Numbers.


def test_numbers():
  big = 2**64 - 1
  assert floats([big, 0]) == floats([str(big), '0']) == [float(big), 0]
  assert floats([2**53 + 1]) == [2.0**53]
  assert floats(pa.array([D('0.1'), D('12345678901234567.89')])) == [
      0.1, 12345678901234567.89]
  assert floats(np.array([0.1, 1e10, 3.4e38, 1e-45], 'float32')) == [
      0.1, 1e10, 3.4e38, 1e-45]
  assert floats([' 1', '1e3', '.5', '+2', 'True', 'false']) == [
      1, 1000, 0.5, 2, 1, 0]
  assert floats([True, None, False])[::2] == [1, 0]
  assert np.isnan(floats(['', 'nan', ' '])).all()


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_a_float32_is_the_number_that_is_written(values):
  array = pa.array(np.array(values, 'float32'))
  assert floats(array) == [float(str(v)) for v in array.to_numpy()]
  assert floats(array) == floats(array.cast(pa.string()))


LARGEST = float(np.finfo('float32').max)


@pytest.mark.parametrize('form', [
    list, lambda v: pa.array(v).cast(pa.string()),
    lambda v: np.array(v, object), lambda v: [str(x) for x in v]])
@pytest.mark.parametrize('sign', [1, -1])
def test_numbers_that_no_float32_holds(form, sign):
  fine = form([0.5, sign * LARGEST])
  with warnings.catch_warnings():
    warnings.simplefilter('error')
    assert np.isfinite(np.float32(floats(fine))).all()
  for value in (1.7976931348623157e308, LARGEST * (1 + 1e-7)):
    with pytest.raises(InputError, match=r'row 1: .*at most 3.4028235e38'):
      floats(form([0.5, sign * value]))
  with pytest.raises(InputError, match='row 1: .*inf; it must be finite'):
    floats(form([0.5, sign * np.inf]))


@pytest.mark.parametrize('value', ['1_000', '1,000', '0x10', 'x', '2022-04-01'])
def test_no_number(value):
  with pytest.raises(InputError, match=f'row 2: .*{value}.; it must be a numb'):
    floats(['1', None, value, '4'])


@pytest.mark.parametrize('position', range(7))
def test_the_first_bad_entry_is_found(position):
  values = ['1'] * position + ['x'] + ['y'] * (6 - position)
  with pytest.raises(InputError, match=f"row {position}: column 'a' is 'x'"):
    floats(values)


# Times.

APRIL = 1648771200 * 10**9  # 2022-04-01 in UTC.


@pytest.mark.parametrize('text, nanoseconds', [
    ('2022-04-01', 0),
    ('2022/04/01', 0),
    ('2022/4/1 0:30', 1800 * 10**9),
    ('2022-04-01 12:30', 45000 * 10**9),
    ('2022-04-01T12:30:00', 45000 * 10**9),
    ('2022-04-01 12:30:00.000000001', 45000 * 10**9 + 1),
    ('2022/04/01 12:30:00.5', 45000 * 10**9 + 5 * 10**8),
    ('2022-04-01T12:30:00Z', 45000 * 10**9),
    ('2022-04-01 12:30:00 UTC', 45000 * 10**9),
    ('2022-04-01T20:30:00+08:00', 45000 * 10**9),
    ('2022-04-01 20:30:00.000+0800', 45000 * 10**9),
    ('2022/04/01 20:30:00 +08', 45000 * 10**9),
])
def test_forms_of_dates(text, nanoseconds):
  for values in ([text], [text, text]):
    result = times(values)
    assert result.values.tolist() == [APRIL + nanoseconds] * len(values)
  has_zone = 'Z' in text or '08' in text[10:] or 'UTC' in text
  assert result.kind == ('moment' if has_zone else 'date')
  assert result.zone == (
      '+08:00' if '08' in text[10:] else 'UTC' if has_zone else '')
  # Beside another form of the same kind.
  other = '2022/4/01 00:00' + ('Z' if has_zone else '')
  assert times([other, text]).values.tolist() == [APRIL, APRIL + nanoseconds]


@pytest.mark.parametrize('values, row, must', [
    (['2022-04-01', '2022-04-31'], 1, '2022-04-09T12:30:00.08:00'),
    (['2022/04/01', '2022/02/30'], 1, '2022-04-09T12:30:00.08:00'),
    (['2022-04-01', 'soon'], 1, 'a number or a date like'),
    (['2022-04-01', '01.04.2022'], 1, 'a number or a date like'),
    (['2022-04-01', None], 1, 'a number or a date'),
    (['2022-04-01', ' '], 1, 'a number or a date'),
    (['2022-04-01', '20220402'], 1, 'a date'),
    (['20220402', '2022-04-01'], 1, 'a number'),
    (['2022-04-01', '9999-12-31'], 1, 'from 1678 to 2261'),
    ([datetime.date(9999, 12, 31)], 0, 'from 1678 to 2261'),
    (['2022-04-01Z', '2022-04-01'], 1, 'with an offset, as in'),
    (['2022-04-01', '2022-04-01Z'], 1, 'without an offset, as in'),
    ([datetime.time(1)], 0, 'a number or a date'),
    (np.array([1], 'timedelta64[s]'), 0, 'a number or a date'),
])
def test_what_is_no_time(values, row, must):
  message = f"^log, row {row}: column 'a' is .*{must}"
  with pytest.raises(InputError, match=message):
    times(values)


def test_numbers_are_times_as_they_are():
  assert times([1650000000, 1]).values.tolist() == [1650000000, 1]
  exact = 1650000000000000001
  for form in ([exact], [str(exact)], [D(exact)]):
    assert times(form).values.tolist() == [exact]
    assert times(form).kind == 'number'
  assert times(['1.5', '2']).values.tolist() == [1.5, 2]
  with pytest.raises(InputError, match="row 1: column 'a' is nan|is None"):
    times([1.0, np.nan])


ZONED = pa.array([APRIL, APRIL + 1], pa.timestamp('ns', 'Asia/Shanghai'))
NAIVE = pa.array([APRIL], pa.timestamp('ns'))
HOURS = 3600 * 10**9


@pytest.mark.parametrize('text, column, wanted', [
    ('2022-04-01', NAIVE, APRIL),
    ('2022/4/1', NAIVE, APRIL),
    ('2022-04-01', ZONED, APRIL - 8 * HOURS),
    ('2022-04-01 00:00:00.000000001', ZONED, APRIL - 8 * HOURS + 1),
    ('2022-04-01Z', ZONED, APRIL),
    ('2022-04-01T00:00:00+01:00', ZONED, APRIL - HOURS),
    ('2022-04-01', ['2022-04-05T00:00:00Z'], APRIL),
    ('2022-04-01', ['2022-04-05 00:00:00-03:30'], APRIL + 7 * HOURS // 2),
    ('2022-04-01Z', ['2022-04-05Z', '2022-04-05 00:00:00+08'], APRIL),
    # The clock of Berlin has no 2:30 on that day.
    ('2022-03-27 02:30', pa.array([0], pa.timestamp('s', 'Europe/Berlin')),
     int(np.datetime64('2022-03-27T01:00', 'ns').astype(int))),
    ('20220401', [20220405], 20220401),
    ('1.5', [1, 2], 1.5),
])
def test_boundaries(text, column, wanted):
  column = times(column)
  result = raw_values.boundary(text, 'dataset.valid_from', column, 'ts')
  assert result == wanted and isinstance(result, type(wanted))


@pytest.mark.parametrize('text, column, words', [
    ('soon', NAIVE, " is 'soon'; it must be a number or a date like 2022-04"),
    ('20220401', NAIVE, "'ts' holds dates without a zone; give a date like"),
    ('2022-04-01', [20220405], "'ts' holds numbers; give a number like 202204"),
    ('2022-04-01Z', NAIVE, 'dates without a zone; leave the offset away'),
    ('2022-04-01', ['2022-04-05Z', '2022-04-05 00:00:00+08'],
     'of several offsets; give it an offset too'),
    ('2022-04-01', pa.array([0], pa.timestamp('s', 'Mars/Olympus')),
     "'Mars/Olympus', which is not known here"),
])
def test_boundaries_of_another_kind(text, column, words):
  with pytest.raises(InputError, match=f'^dataset.test_from.*{words}'):
    raw_values.boundary(text, 'dataset.test_from', times(column), 'ts')


def test_what_is_reached_is_exact():
  exact = np.array([2**60, 2**60 + 1, 2**60 + 2])
  assert raw_values.reached(exact, 2**60 + 1).tolist() == [False, True, True]
  assert raw_values.reached(exact, np.inf).tolist() == [False] * 3
  assert raw_values.reached(np.array([1, 2]), 1.5).tolist() == [False, True]
  assert raw_values.reached(np.array([1.5, 2]), 2).tolist() == [False, True]


@pytest.mark.parametrize('text', ['1,5', '1.234,5', '1,234', ' -0,25'])
def test_decimal_commas(text):
  words = f'row 1: .* is {text.strip()!r}; it must be a number like 1234.5'
  with pytest.raises(InputError, match=words):
    raw_values.floats(pa.array(['1.5', text]), HERE)


def test_half_floats_are_what_a_file_has_of_them():
  array = pa.array([4.1, 0.1, np.nan, None, 7], pa.float16())
  values = raw_values.floats(array, HERE)
  assert values[[0, 1, 4]].tolist() == [4.1, 0.1, 7]
  assert np.isnan(values[2:4]).all()


ODD = ['-0', '-0.0', '12:30:0000', '12:30:00.500', '12:30:00.', '7.', '007',
       'TRUE', '2022-04-09', '2022-04-09 12:30', '2022-02-30 12:30:00Z',
       '2022-04-09T08:00:00+0800', '1500-01-01 00:00', 'abcdefghij', 'é', '']


@pytest.mark.parametrize('text', ODD)
def test_a_text_does_not_depend_on_those_beside_it(text):
  alone = texts([text])
  for other in ODD:
    assert texts([text, other])[:1] == alone, other
  assert texts(alone) == alone
