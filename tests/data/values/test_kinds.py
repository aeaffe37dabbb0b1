"""Every Arrow type as an identifier, number, time, label and list."""

import datetime
import decimal
import uuid

from esmm_jax.data.values import kinds, raw_values
from esmm_jax.data.values.raw_values import Location
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
import pytest

HERE = Location('log', name='a')
D = decimal.Decimal
NO = None  # Refused.
NAN = float('nan')
DAY = 86400 * 10**9
NOON = datetime.datetime(2022, 4, 1, 12, 30)
ONE = [0, 1]
INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(),
            pa.uint16(), pa.uint32(), pa.uint64()]
DECIMALS = [pa.decimal32(5, 2), pa.decimal64(9, 2), pa.decimal128(20, 2),
            pa.decimal256(60, 2), pa.decimal128(5, 0)]
STRINGS = [pa.string(), pa.large_string(), pa.string_view()]
BINARIES = [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(2)]


def stamps(unit, zone=None):
  return pa.array([NOON, datetime.datetime(2022, 4, 2)], pa.timestamp('us')
                  ).cast(pa.timestamp(unit)).cast(pa.timestamp(unit, zone))


NOON_NS = int(np.datetime64(NOON, 'ns').astype(int))
APRIL_2 = int(np.datetime64('2022-04-02', 'ns').astype(int))
# Two values -> id, number, time, label, list.
CASES = [
    (pa.array([False, True]), ['False', 'True'], ONE, ONE, ONE, NO),
    *((pa.array(ONE, t), ['0', '1'], ONE, ONE, ONE, NO) for t in INTEGERS),
    *((pa.array(np.array(ONE, t)), ['0', '1'], ONE, ONE, ONE, NO)
      for t in ('float16', 'float32', 'float64')),
    *((pa.array([D(0), D(1)], t), ['0', '1'], ONE, ONE, ONE, NO)
      for t in DECIMALS),
    (pa.array([D('700'), D('1e4')], pa.decimal128(5, -2)), ['700', '10000'],
     [700, 1e4], [700, 10000], NO, NO),
    *((pa.array(['0', '1'], t), ['0', '1'], ONE, ONE, ONE, [['0'], ['1']])
      for t in STRINGS),
    *((pa.array([b'0', b'1'], t), ['0', '1'], ONE, ONE, ONE, [['0'], ['1']])
      for t in BINARIES[:3]),
    (pa.array([b'0\0', b'1\0'], BINARIES[3]), ['0', '1'], ONE, ONE, ONE,
     [['0'], ['1']]),
    *((pa.array([datetime.date(2022, 4, 1), datetime.date(2022, 4, 2)], t),
       ['2022-04-01', '2022-04-02'], NO, [APRIL_2 - DAY, APRIL_2], NO, NO)
      for t in (pa.date32(), pa.date64())),
    *((stamps(unit), ['2022-04-01 12:30:00', '2022-04-02'], NO,
       [NOON_NS, APRIL_2], NO, NO) for unit in ('s', 'ms', 'us', 'ns')),
    *((stamps(unit, zone), ['2022-04-01 12:30:00Z', '2022-04-02 00:00:00Z'], NO,
       [NOON_NS, APRIL_2], NO, NO)
      for unit in ('s', 'ms', 'us', 'ns')
      for zone in ('UTC', 'Asia/Shanghai', '-03:30')),
    (pa.array([NOON_NS + 1, NOON_NS + 500], pa.timestamp('ns')),
     ['2022-04-01 12:30:00.000000001', '2022-04-01 12:30:00.0000005'], NO,
     [NOON_NS + 1, NOON_NS + 500], NO, NO),
    (pa.array([1, 3600], pa.time32('s')), ['00:00:01', '01:00:00'], NO, NO, NO,
     NO),
    *((pa.array([k // 10**d, 3600 * k], t), [f'00:00:00.{10**-d:.{d}f}'.replace(
        '.0.', '.'), '01:00:00'], NO, NO, NO, NO)
      for t, k, d in ((pa.time32('ms'), 10**3, 3), (pa.time64('us'), 10**6, 6),
                      (pa.time64('ns'), 10**9, 9))),
    *((pa.array([1, 2], pa.duration(u)), NO, NO, NO, NO, NO)
      for u in ('s', 'ms', 'us', 'ns')),
    *((pa.array([['a', None, 'b'], []], t(pa.string())), NO, NO, NO, NO,
       [['a', 'b'], []])
      for t in (pa.list_, pa.large_list, pa.list_view, pa.large_list_view)),
    (pa.array([[1, 2], [3, None]], pa.list_(pa.int64(), 2)), NO, NO, NO, NO,
     [['1', '2'], ['3']]),
    (pa.array([[('a', 1)], [('b', 2)]], pa.map_(pa.string(), pa.int64())), NO,
     NO, NO, NO, NO),
    (pa.array([{'a': 1}, {'a': 2}]), NO, NO, NO, NO, NO),
    (pa.UnionArray.from_sparse(
        pa.array([0, 0], pa.int8()), [pa.array([1, 2])]), NO, NO, NO, NO, NO),
    (pa.UnionArray.from_dense(
        pa.array([0, 0], pa.int8()), pa.array([0, 1], pa.int32()),
        [pa.array([1, 2])]), NO, NO, NO, NO, NO),
    (pa.array([pa.MonthDayNano((1, 2, 3))] * 2), NO, NO, NO, NO, NO),
    (pa.nulls(2), [None, None], [NAN, NAN], NO, NO, [[], []]),
    (pa.array([uuid.UUID(int=k).bytes for k in ONE], pa.uuid()),
     [f'00000000-0000-0000-0000-00000000000{k}' for k in ONE], NO, NO, NO,
     [[f'00000000-0000-0000-0000-00000000000{k}'] for k in ONE]),
    (pa.ExtensionArray.from_storage(pa.bool8(), pa.array(ONE, pa.int8())),
     ['False', 'True'], ONE, ONE, ONE, NO),
    (pa.ExtensionArray.from_storage(pa.json_(), pa.array(['0', '1'])),
     ['0', '1'], ONE, ONE, ONE, [['0'], ['1']]),
]
USES = ('id', 'number', 'time', 'label', 'list')


def lists(array, location=HERE, **options):
  result = raw_values.lists(array, location, 50, **options)
  return [result.entries[a:b].to_pylist()
          for a, b in zip(result.offsets, result.offsets[1:])]


READERS = {
    'id': lambda a: raw_values.texts(a, HERE).to_pylist(),
    'number': lambda a: raw_values.floats(a, HERE).tolist(),
    'time': lambda a: raw_values.times(a, HERE).values.tolist(),
    'label': lambda a: raw_values.labels(a, HERE).tolist(),
    'list': lists,
}
IDS = [str(c[0].type) for c in CASES]


def read(use, array):
  """What is read, or NO where it is refused in one line that says where."""
  try:
    return READERS[use](array)
  except InputError as e:
    assert '\n' not in str(e) and len(str(e)) < 400
    assert str(e).startswith("log, row 0: column 'a' is "), e
    return NO


def assert_read(use, array, wanted):
  result = read(use, raw_values.arrow(array, HERE))
  if use == 'number' and wanted is not NO:
    np.testing.assert_array_equal(result, wanted)
  else:
    assert result == wanted
  # As the column is, too, without `arrow` before.
  assert (read(use, array) is NO) == (wanted is NO)


@pytest.mark.parametrize('use', USES)
@pytest.mark.parametrize('case', CASES, ids=IDS)
def test_every_type(case, use):
  assert_read(use, case[0], case[1 + USES.index(use)])


def test_the_cases_are_all_types():
  types = [c[0].type for c in CASES]
  types = [getattr(t, 'storage_type', t) for t in types]
  # pyarrow makes no arrays of these two.
  never = {pa.lib.Type_INTERVAL_MONTHS, pa.lib.Type_INTERVAL_DAY_TIME}
  assert {t.id for t in types} == set(kinds.KINDS) - never
  for kind, case in zip(types, CASES):
    for use, wanted in zip(USES, case[1:]):
      if kinds.kind_of(kind) not in kinds.READ[use]:
        assert wanted is NO, (kind, use)


def wrapped(array):
  """The same values as other arrays."""
  two = pa.array([0, 1], pa.int32())
  both = pa.concat_arrays([array, array])
  yield pa.DictionaryArray.from_arrays(two, array)
  yield pa.RunEndEncodedArray.from_arrays(pa.array([1, 2], pa.int32()), array)
  yield both.slice(2)
  yield pa.chunked_array([array.slice(0, 1), array.slice(1)])
  yield pa.chunked_array(
      [array.slice(0, 1), pa.nulls(0, array.type), array.slice(1)])


@pytest.mark.parametrize('use', USES)
@pytest.mark.parametrize('case', CASES, ids=IDS)
def test_what_wraps_a_type(case, use):
  for array in wrapped(case[0]):
    if isinstance(array, pa.ChunkedArray):
      array = raw_values.arrow(array, HERE)
    assert_read(use, array, case[1 + USES.index(use)])


@pytest.mark.parametrize('case', CASES, ids=IDS)
def test_columns_without_a_value(case):
  """Are missing identifiers and numbers, and empty lists, of any type."""
  dtype = case[0].type
  arrays = [pa.nulls(3, dtype), pa.nulls(0, dtype)]
  if not pa.types.is_union(dtype):
    arrays.append(pa.DictionaryArray.from_arrays(
        pa.array([None] * 3, pa.int32()), pa.nulls(0, dtype)))
    arrays.append(pa.RunEndEncodedArray.from_arrays(
        pa.array([3], pa.int32()), pa.nulls(1, dtype)))
  for array in arrays:
    if pa.types.is_union(dtype) and len(array):
      continue  # Their own nulls are values of a child.
    assert read('id', array) == [None] * len(array)
    assert np.isnan(read('number', array)).all()
    assert read('list', array) == [[]] * len(array)
    if len(array):
      with pytest.raises(InputError, match="row 0: column 'a' is None"):
        raw_values.times(array, HERE)


@pytest.mark.parametrize(
    'case', [c for c in CASES if c[1]], ids=lambda c: str(c[0].type))
def test_entries_of_lists_and_nulls(case):
  array, texts, numbers = case[:3]
  wanted = [[texts[0]], [], [t for t in texts if t is not None][-1:]]
  if texts[0] is None:
    wanted = [[], [], []]
  ends = [0, 1, 1, 2]
  coded = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int32()), array)
  for entries in (array, coded):
    for form, dtype in (
        (pa.ListArray, pa.int32()), (pa.LargeListArray, pa.int64())):
      column = form.from_arrays(pa.array(ends, dtype), entries)
      assert lists(column) == wanted
  for form, dtype in (
      (pa.ListViewArray, pa.int32()), (pa.LargeListViewArray, pa.int64())):
    column = form.from_arrays(
        pa.array(ends[:3], dtype), pa.array([1, 0, 1], dtype), array)
    assert lists(column) == wanted
  more = pa.concat_arrays([array, pa.nulls(1, array.type)])
  assert read('id', more) == [*texts, None]
  if numbers:
    assert np.isnan(read('number', more)[-1])
  for use, wanted in zip(('time', 'label'), case[3:5]):
    if wanted:
      with pytest.raises(InputError, match="row 2: column 'a' is None; it must"
                         ' be (a number or a date|0 or 1)'):
        READERS[use](more)
