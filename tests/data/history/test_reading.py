"""Raw rows -> times, keys and amounts, alike in a log and when served."""

import decimal
import json

from esmm_jax.data.history import hashes, language
from esmm_jax.data.history.clock import Clock
from esmm_jax.data.history.encode import FRACTION
from esmm_jax.data.history.reading import first_times, ListOptions, Reading
from esmm_jax.data.values.raw_values import Location
from esmm_jax.tasks import FUNNEL, Task
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
import pytest

TEXT = (
    'user,user+tab:delay=10m:last=2,tags:window=7d,user:delay=1h:half_life=2d:'
    'amounts=clicks+watched+price:strength=3,session=user:pause=1h:form=float,'
    'list=item:by=user:of=click'
)
WATCHED = Task('watched', 'watched', 'ctr', kind='regression')
SECONDS = Clock('number', 'seconds', '+08:00')
ROWS = {
    'user': [7, 8, 7], 'tab': ['a', None, 'b'], 'item': [1, 2, None],
    'tags': ['x|y', '', None], 'price': [1.5, -2.0, 3.0],
    'time': [1_650_000_000, 1_650_000_005, 1_650_000_003],
    'request': ['r', None, 'r']}
LABELS = {
    'click': np.array([1, 0, 1], np.int8),
    'conversion': np.array([0, 0, 1], np.int8),
    'watched': np.array([2.25, 0, 1], np.float32)}


def reading(clock=SECONDS, **more):
  specs = language.parse(TEXT, ('click', 'conversion'))
  lists = {'tags': ListOptions(5)}
  return Reading(
      specs, (*FUNNEL, WATCHED), 'time', clock, lists=lists, **more)


def test_names():
  one = reading(request='request')
  assert one.columns == ['time', 'request', 'user', 'tab', 'tags', 'item']
  assert one.amounts == ['click', 'conversion', 'watched', 'price']
  assert one.numbers == ['price']  # The label is no column of its own.
  assert one.keys == [('user',), ('user', 'tab'), ('tags',)]
  assert one.entries == ['item']


def test_the_same_after_json():
  one = reading(request='request')
  assert Reading.from_dict(json.loads(json.dumps(one.to_dict()))) == one


@pytest.mark.parametrize('clock', [
    SECONDS, Clock('date'), Clock('moment', zone='Asia/Shanghai')])
@pytest.mark.parametrize('kind', [
    pa.null(), pa.int64(), pa.string(), pa.timestamp('ms'),
    pa.timestamp('ms', 'UTC')])
def test_no_rows_have_no_times(clock, kind):
  columns = {name: pa.nulls(0) for name in ROWS} | {'time': pa.nulls(0, kind)}
  rows = reading(clock, request='request').read(columns, Location('log'))
  assert rows.time.dtype == np.int64 and not len(rows.asked)


@pytest.mark.parametrize('dtype, value', [
    ('float32', 1_650_000_000), ('float16', 4_000), ('float32', 16_777_218)])
def test_times_that_their_type_has_rounded(dtype, value):
  columns = ROWS | {'time': np.array([1, 2, value], dtype)}
  must = 'log, row 2: column .time. is .* must be exact, and .* has rounded it'
  with pytest.raises(InputError, match=must):
    reading().read(columns, Location('log'))
  columns['time'] = np.array([1, 2, 3], dtype)
  assert reading().read(columns, Location('log')).time[2] == 3 * 10**9


def test_rows():
  rows = reading(request='request').read(ROWS, Location('log'), LABELS)
  second = 10**9
  assert rows.time.tolist() == [t * second for t in ROWS['time']]
  assert rows.asked.tolist() == [
      t * second for t in (1_650_000_000, 1_650_000_005, 1_650_000_000)]
  assert rows.amounts['watched'].tolist() == [2.25 * FRACTION, 0, FRACTION]
  assert rows.amounts['price'].tolist() == [
      1.5 * FRACTION, -2 * FRACTION, 3 * FRACTION]
  user, both = rows.keys[('user',)], rows.keys[('user', 'tab')]
  assert user[0] == user[2] != user[1] and both[1] == hashes.NO_KEY
  tags = rows.keys[('tags',)]
  assert tags.offsets.tolist() == [0, 2, 2, 2]
  assert rows.entries['item'][2] == hashes.NO_KEY
  asking = reading().read(ROWS, Location('new'))  # No labels, no price.
  assert asking.amounts == {} and asking.asked is asking.time


@pytest.mark.parametrize('user', [
    ['7', ' 8 ', '7.0'], [7.0, 8.0, 7.0], [b'7', b'8', b'7'],
    [decimal.Decimal('7.00'), decimal.Decimal(8), decimal.Decimal(7)],
    pa.array(['7', '8', '7']).dictionary_encode(), np.array([7, 8, 7], 'u1')])
def test_one_key_of_all_types(user):
  wanted = reading().read(ROWS, Location('log'))
  got = reading().read(ROWS | {'user': user}, Location('new'))
  for key in (('user',), ('user', 'tab')):
    assert got.keys[key].tolist() == wanted.keys[key].tolist()


@pytest.mark.parametrize('time, words', [
    ([1_650_000_000_000] * 3, 'new, row 5: column '),
    ([20220415] * 3, 'new, row 5: column '),
    (['2022-04-15 12:00'] * 3, "column 'time': "),
    ([1_650_000_000, None, 1_650_000_003], 'new, row 6: column '),
])
def test_times_of_another_form(time, words):
  with pytest.raises(InputError) as e:
    reading().read(ROWS | {'time': time}, Location('new', 5))
  assert words in str(e.value) and '\n' not in str(e.value)


@pytest.mark.parametrize('change, words', [
    ({'price': [1.0, None, 2.0]}, "row 1: column 'price' is None"),
    ({'price': [1.0, 2e9, 2.0]}, "row 1: column 'price' is 2000000000.0"),
    ({'user': [1.0, 2.0, 2.5]}, "row 2: column 'user' is 2.5"),
    ({'user': [[1], [2], [3]]}, 'name a column of lists in `ids`'),
])
def test_values_that_are_none(change, words):
  with pytest.raises(InputError) as e:
    reading().read(ROWS | change, Location('log'), LABELS)
  assert words in str(e.value)


def test_first_times():
  time = np.array([5, 3, 9, 4, 1])
  request = np.array([2, 7, 7, 2, 0], np.uint64)  # 0: one of its own.
  assert first_times(time, request).tolist() == [4, 3, 3, 4, 1]
