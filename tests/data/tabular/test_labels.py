"""Labels of somebody's own log: comparisons, trees, unknown events, weights."""

import itertools

from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.tabular.joint import make_joint, Rules
from esmm_jax.data.tabular.events import Event
from esmm_jax.data.tabular.labels import read_numbers, read_weights
from esmm_jax.data.values.raw_values import Location
from esmm_jax.schema import Schema
from esmm_jax.tasks import CART_FUNNEL, CLICK, FUNNEL, spaces, Task
from esmm_jax.types import InputError
import numpy as np
from pyarrow import csv, parquet
import pyarrow as pa
import pytest

from tests.data.tabular.test_tabular import prepared, read

HERE = Location('log', name='a')

# Options -> (task, label, parent's task, kind) of each task; keys of the terms.
BOTH = [('ctr', 'click', '', 'binary'), ('cvr', 'conversion', 'ctr', 'binary')]
JOINT = ['ctr', 'cvr_clicked', 'ctcvr']
SHAPES = [
    ({}, BOTH, JOINT),
    ({'conversion': ''}, BOTH[:1], ['ctr']),
    ({'click': ''}, [('cvr', 'conversion', '', 'binary')], ['cvr_clicked']),
    ({'cart': 'c', 'conversion': ''},
     [*BOTH[:1], ('atr', 'cart', 'ctr', 'binary')],
     ['ctr', 'atr_clicked', 'ctatr']),
    ({'labels': 'like:after=click, share'},
     [*BOTH, ('like', 'like', 'ctr', 'binary'),
      ('share', 'share', '', 'binary')],
     [*JOINT, 'like_clicked', 'ctlike', 'share']),
    ({'labels': 'refund:after=conversion'},
     [*BOTH, ('refund', 'refund', 'cvr', 'binary')],
     [*JOINT, 'refund_converted', 'refund_given_click_clicked', 'ctrefund']),
    ({'conversion': '', 'labels': 'watch:kind=regression:after=click'},
     [*BOTH[:1], ('watch', 'watch', 'ctr', 'regression')],
     ['ctr', 'watch_clicked', 'ctwatch']),
    # A child may be named before its parent.
    ({'click': '', 'conversion': '', 'labels': 'like:after=view,view'},
     [('view', 'view', '', 'binary'), ('like', 'like', 'view', 'binary')],
     ['view', 'like_viewed', 'ctlike']),
    ({'click': '', 'labels': 'refund:after=conversion'},
     [('cvr', 'conversion', '', 'binary'),
      ('refund', 'refund', 'cvr', 'binary')],
     ['cvr_clicked', 'refund_converted', 'ctrefund']),
    ({'labels': '"x,y:z">=4:name=good'},
     [*BOTH, ('good', 'good', '', 'binary')], [*JOINT, 'good']),
]


@pytest.mark.parametrize('options, tasks, keys', SHAPES)
def test_tasks(options, tasks, keys):
  config = TabularConfig(id='user', **options)
  assert [(t.name, t.label, t.parent, t.kind) for t in config.tasks] == tasks
  assert [s.key for s in spaces(config.tasks)] == keys
  assert set(config.events) == {label for _, label, _, _ in tasks}


def test_columns_that_are_read():
  config = TabularConfig(
      id='user', click='"a>b"==x', conversion='rating >= 4',
      labels='"x,y:z"!=3:name=n', weight='w')
  assert config.read == ['user', 'a>b', 'rating', 'x,y:z', 'w']
  assert config.schema.weight == 'row_weight'


# Options and what they are refused with.
REFUSED = {
    'none': (dict(click='', conversion=''), 'name no label; there is nothing'),
    'cart alone': (dict(click='', cart='c'), 'but dataset.click is empty'),
    'no value': (dict(click='a>'), "dataset.click: 'a>' lacks the column or"),
    'no column': (dict(click='>=4'), "dataset.click: '>=4' lacks the column"),
    'one =': (dict(click='a = b'), 'has one =; write == to compare, or put'),
    'order of texts': (
        dict(conversion='a>=x'), "dataset.conversion: 'a>=x' compares with 'x"),
    'no such parent': (
        dict(labels='a:after=clik'), r"'clik', which is no label.*'click'\?"),
    'itself': (dict(labels='a:after=a'), 'dataset.labels: Tasks go round in a'),
    'after a number': (
        dict(labels='a:kind=regression,b:after=a'),
        "dataset.labels: Task 'b' comes after 'a', which is a regression"),
    'option': (dict(labels='a:aftr=click'), r"'aftr=click' is no.*'after'\?"),
    'no option': (dict(labels='a:click'), "'click' is no option of a label"),
    'colon': (dict(labels='a:float'), "or put .* in quotes, '\"a:float\"'"),
    'kind': (dict(labels='a:kind=number'), "kind is 'number', which is not kn"),
    'number of an event': (
        dict(labels='a>1:name=b:kind=regression'), "'a>1:name=b:kind=regressi"),
    'no name': (dict(labels='a>1'), "needs a name of its own.*:name=good"),
    'odd name': (dict(labels='a b'), "'a b' cannot be used"),
    'a name of ours': (dict(labels='shared'), "'shared' cannot be used"),
    'a score': (dict(labels='p_ctr'), "'p_ctr' cannot be used"),
    'task': (dict(labels='ctr'), "dataset.labels: .* have the name 'ctr'"),
    'label': (dict(labels='click'), "Two tasks have the label 'click'"),
    'label twice': (
        dict(labels='x==1:name=click'), "Two tasks have the label 'click'"),
    'joint': (
        dict(labels='like:after=click,ctlike'), "have the name 'ctlike'; add"),
    'one column': (
        dict(click='a', conversion='a'), "click and conversion are both 'a'"),
    'an input': (dict(click='user>3'), "'user' is a label; it cannot be an in"),
    'name of an input': (
        dict(labels='a==1:name=user'), "'user': this name is reserved"),
    'weight': (
        dict(weight='w', float='row_weight'), "'row_weight': this name is"),
    'rule': (dict(unknown_conversion='zer'), r"is 'zer'.*'zero'\?"),
}


@pytest.mark.parametrize('case', REFUSED)
def test_options_that_cannot_be(case):
  options, message = REFUSED[case]
  with pytest.raises(InputError, match=message):
    TabularConfig(id='user', **options)


def test_the_hash_of_a_log_without_new_options():
  """Data that was prepared by an earlier version is found again."""
  assert TabularConfig(id='user,item').name == 'eb2cca16b58c'
  assert TabularConfig(id='user,item', cart='cart').name == 'faddad434989'
  more = [
      TabularConfig(id='user,item', **options).name for options in (
          {}, {'labels': 'x'}, {'weight': 'w'}, {'unknown_conversion': 'zero'})]
  assert len(set(more)) == 4


def test_a_schema_without_weight_is_written_as_before():
  schema = TabularConfig(id='user').schema
  assert list(schema.to_dict()) == ['fields', 'tasks', 'group', 'truth']
  weighted = TabularConfig(id='user', weight='w').schema
  assert Schema.from_dict(weighted.to_dict()) == weighted
  assert Schema.from_dict(schema.to_dict()) == schema
  assert weighted.fingerprint() != schema.fingerprint()


# Comparisons.

def compared(text, column):
  return Event.parse(text, 'click').read(column, HERE).tolist()


NUMBERS = [1, 4, None, 5, 4]
FORMS = {
    'int': pa.array(NUMBERS),
    'double': pa.array([1.0, 4.0, np.nan, 5.0, 4.0]),
    'float': pa.array(NUMBERS, pa.float32()),
    'text': pa.array(['1', ' 4', '', '5.0', '4.00']),
    'large': pa.array(['1', '4', None, '5', '4'], pa.large_string()),
}


@pytest.mark.parametrize('form', FORMS)
@pytest.mark.parametrize('text, expected', [
    ('a>=4', [0, 1, -1, 1, 1]), ('a>4', [0, 0, -1, 1, 0]),
    ('a<=4', [1, 1, -1, 0, 1]), ('a < 4.5', [1, 1, -1, 0, 1]),
    ('a==4', [0, 1, -1, 0, 1]), ('a==4.0', [0, 1, -1, 0, 1]),
    ('a != 4', [1, 0, -1, 1, 0]), ('a=="4"', [0, 1, -1, 0, 1]),
    ('a==buy', [0, 0, -1, 0, 0]),
])
def test_comparisons_of_numbers(form, text, expected):
  """The same label, however the column is stored."""
  values = Event.parse(text, 'click').read(FORMS[form], HERE)
  assert values.tolist() == expected and values.dtype == np.int8


@pytest.mark.parametrize('text, expected', [
    ('a==buy', [1, 0, -1, 0, 0]), ('a != buy', [0, 1, -1, 1, 1]),
    ('a=="buy"', [1, 0, -1, 0, 0]), ('a==1', [0, 0, -1, 1, 1]),
    ('a==true', [0, 0, -1, 1, 1]), ('a=="True"', [0, 0, -1, 0, 1]),
])
@pytest.mark.parametrize('kind', ['string', 'dictionary', 'large_string'])
def test_comparisons_of_texts(text, expected, kind):
  array = pa.array(['buy ', 'cart', None, '1', 'True'])
  if kind == 'dictionary':
    array = array.dictionary_encode().dictionary_decode()
  elif kind == 'large_string':
    array = array.cast(pa.large_string())
  assert Event.parse(text, 'click').read(array, HERE).tolist() == expected


def test_comparisons_of_truths():
  for values in (
      pa.array([True, False, None]), pa.array(['true', 'FALSE', '']),
      pa.array([1, 0, None]), pa.array([1.0, 0.0, np.nan]),
      pa.array(['1', '0.0', None]).dictionary_encode().dictionary_decode()):
    for text in ('a==true', 'a != False', 'a==1', 'a!=0', 'a>=1', 'a>0.5', 'a'):
      assert compared(text, values) == [1, 0, -1], text


DAY = pa.array(['2022-04-02', '2022-04-01', None]).cast(pa.timestamp('ns'))


@pytest.mark.parametrize('texts, column', {
    'time': (
        ['2022-04-02', '2022-04-02 00:00', '"2022-04-02T00:00:00.000"'], DAY),
    'time as text': (
        ['2022-04-02', '2022-04-02 00:00'],
        pa.array(['2022-04-02T00:00', 'x', ''])),
    'date': (['2022-04-02', "'2022-04-02'"], DAY.cast(pa.date32())),
    'zone': (
        ['2022-04-02T00:00Z', '2022-04-02 08:00:00+08:00'],
        DAY.cast(pa.timestamp('s', 'Asia/Shanghai'))),
    'half': (['4.1', '4.10'], pa.array([4.1, 4, np.nan], pa.float16())),
    'truth': (['"true"', "'True'", 'TRUE'], pa.array([True, False, None])),
    'code': (['007', '"007"'], pa.array(['007', '7', None])),
    'blanks': (['" x y "', 'x y'], pa.array(['x y', 'xy', ' '])),
    # Floats of the two are one.
    'large': (['9007199254740993'], pa.array([2**53 + 1, 2**53, None])),
    'large as text': (
        ['9007199254740993'],
        pa.array(['9007199254740993', '9007199254740992', None])),
}.values())
def test_a_value_is_read_as_the_column_is(texts, column):
  for text in texts:
    assert compared(f'a=={text}', column) == [1, 0, -1], text
    assert compared(f'a!={text}', column) == [0, 1, -1], text


@pytest.mark.parametrize('column', [
    pa.array([2**53 + 1, 2**53, None]),
    pa.array(['9007199254740993', '9007199254740992', '']),
])
def test_orders_of_large_numbers(column):
  assert compared('a>=9007199254740993', column) == [1, 0, -1]
  assert compared('a<9007199254740993', column) == [0, 1, -1]
  assert compared('a>9007199254740992', column) == [1, 0, -1]


@pytest.mark.parametrize('column', [
    pa.array(['x', '']), pa.array([1.5, np.nan]), pa.array([0, None]), DAY[1:],
    pa.array([False, None]),
])
def test_missing_values_are_compared(column):
  assert compared('a!=""', column) == [1, 0]
  assert compared("a == ''", column) == [0, 1]


def test_values_that_cannot_be_compared():
  with pytest.raises(InputError, match="row 1: column 'a' is 'x'; it must be"):
    compared('a>=4', pa.array(['1', 'x']))
  with pytest.raises(InputError, match='row 1: .*whole number of 64 bits'):
    compared('a>=9007199254740993', pa.array([1.0, 1.5]))


@pytest.mark.parametrize('array, expected', [
    (pa.array([0, 1, -1, None]), [0, 1, -1, -1]),
    (pa.array([0.0, 1.0, -1.0, np.nan]), [0, 1, -1, -1]),
    (pa.array(['0', 'TRUE', '-1', '']), [0, 1, -1, -1]),
    (pa.array([False, True, None]), [0, 1, -1]),
    (pa.nulls(2), [-1, -1]),
])
def test_labels_that_are_unknown(array, expected):
  assert Event('a').read(array, HERE).tolist() == expected


@pytest.mark.parametrize('array', [
    pa.array([0, None, 2]), pa.array([0.0, -1.0, 2.0]),
    pa.array(['0', '', '2'])])
def test_another_value_beside_unknown_ones(array):
  with pytest.raises(InputError, match="row 2: column 'a' is '2'; it must"):
    Event('a').read(array, HERE)


def test_what_is_no_label():
  for column, words in (
      (pa.array([0, 0.5]), 'is 0.5; it must be 0 or 1'),
      (pa.array([0, 0.5, None]), 'is 0.5; it must be 0 or 1'),
      (pa.array(['1', 'no']), "or 1. Compare other words, as in 'a==yes'")):
    with pytest.raises(InputError, match=f'row 1: .*{words}'):
      Event('a').read(column, HERE)


# Joint labels.

PAIR = {'click': 'clicked', 'conversion': 'bought'}
LIKE = Task('like', 'like', 'ctr')


def joint(click, conversion, policy='error', unknown='error'):
  values = {'click': np.array(click, np.int8),
            'conversion': np.array(conversion, np.int8)}
  labels, is_kept = make_joint(
      values, FUNNEL, PAIR, Rules(policy, unknown), HERE)
  return [labels[k][is_kept].tolist() for k in values], is_kept.tolist()


def test_unknown_conversions():
  click, bought = [1, 0, 0, 1], [1, -1, -1, 0]
  words = (r"row 1: 'bought' is null or -1.*unknown_conversion: zero"
           " .*where 'clicked' is 0. or drop")
  with pytest.raises(InputError, match=words):
    joint(click, bought)
  for rule in ('zero', 'drop'):
    assert joint(click, bought, unknown=rule) == (
        [[1, 0, 0, 1], [1, 0, 0, 0]], [True] * 4)
  click[2] = 1
  with pytest.raises(InputError, match=(
      "row 2: 'clicked' is 1 and 'bought' is null .*unknown_conversion=drop")):
    joint(click, bought, unknown='zero')
  assert joint(click, bought, unknown='drop') == (
      [[1, 0, 1], [1, 0, 0]], [True, True, False, True])


def brute(row, policy, unknown):
  """The rules, event by event, of one row; None: dropped, '': refused."""
  row = list(row)
  if policy == 'click':
    for k in (2, 1):
      if row[k] == 1:
        row[k - 1] = 1
  for k in (1, 2):
    if row[k] == -1:
      if unknown == 'error' or (row[k - 1] and unknown == 'zero'):
        return ''
      if row[k - 1]:
        return None
      row[k] = 0
    if row[k] and not row[k - 1]:
      if policy in ('error', 'drop'):
        return '' if policy == 'error' else None
      row[k] = 0
  return row


@pytest.mark.parametrize('policy', ['error', 'drop', 'keep', 'click'])
@pytest.mark.parametrize('unknown', ['error', 'zero', 'drop'])
def test_every_row_of_three_events(policy, unknown):
  names = {'click': 'a', 'cart': 'b', 'conversion': 'c'}
  for row in itertools.product((0, 1), (0, 1, -1), (0, 1, -1)):
    values = {k: np.array([v], np.int8) for k, v in zip(names, row)}
    expected = brute(row, policy, unknown)
    make = lambda values=values: make_joint(
        values, CART_FUNNEL, names, Rules(policy, unknown), HERE)
    if expected == '':
      with pytest.raises(InputError, match='log, row 0'):
        make()
      continue
    labels, is_kept = make()
    assert is_kept[0] == (expected is not None)
    assert expected is None or [int(v[0]) for v in labels.values()] == expected
    assert all(v.dtype == np.int8 for v in labels.values())


def test_siblings_and_numbers():
  watch = Task('watch', 'watch', 'ctr', kind='regression')
  values = {
      'click': np.array([1, 0, 0, 1], np.int8),
      'like': np.array([0, 1, 0, 1], np.int8),
      'watch': np.array([2.5, np.nan, 3.0, 0], np.float32)}
  tasks = (CLICK, LIKE, watch)
  names = {k: k for k in values}
  make = lambda policy, unknown: make_joint(
      values, tasks, names, Rules(policy, unknown), HERE)
  labels, is_kept = make('keep', 'zero')
  assert labels['like'].tolist() == [0, 0, 0, 1] and is_kept.all()
  assert labels['watch'].tolist() == [2.5, 0, 0, 0]
  assert labels['watch'].dtype == np.float32
  labels, is_kept = make('drop', 'zero')
  assert is_kept.tolist() == [True, False, False, True]
  with pytest.raises(InputError, match="row 1: 'like' is 1 and 'click' is 0"):
    make('error', 'zero')
  # A like makes the click, and then its seconds are missing.
  with pytest.raises(InputError, match="row 1: 'click' is 1 and 'watch' is nu"):
    make('click', 'zero')
  labels, is_kept = make('click', 'drop')
  assert labels['click'][is_kept].tolist() == [1, 1, 1]
  assert labels['watch'][is_kept].tolist() == [2.5, 3, 0]


# Numbers.

def test_labels_of_regressions():
  values = read_numbers(pa.array([1, None, 3]), HERE)
  assert values.dtype == np.float32 and values.tolist()[::2] == [1, 3]
  assert np.isnan(values[1])
  with pytest.raises(InputError, match="row 1: column 'a' is 1e\\+300; it mu"):
    read_numbers(pa.array([0, 1e300]), HERE)


@pytest.mark.parametrize('weight', [None, -1.0, np.nan, np.inf, 1e13, 1e-13])
def test_weights_that_cannot_be(weight):
  with pytest.raises(InputError, match="row 1: column 'a' is .*weight of the"
                     '|row 1: .*must be finite'):
    read_weights(pa.array([1.0, weight], from_pandas=False), HERE)


# Prepared data.

LOG = {
    'user': list('abcdabcdab'),
    'clicked': [1, 0, 1, 1, 0, 1, 1, 0, 1, 1],
    'bought': [1, None, 0, 1, None, 0, 0, None, 1, 0],
    'like': [1, 0, 0, 1, 0, 0, 1, 0, 0, 0],
    'rating': [5, 1, 3, 4, 4, 4, 2, 1, 4, 5],
    'seconds': [9.5, None, 2, 4, None, 1, 0, None, 3, 1],
    'w': [1, 1, 2, 0, 1, 0.5, 1, 1, 1, 3],
    'part': ['train'] * 8 + ['valid', 'test'],
}
PLAIN = dict(id='user', ids='', float='', group='', split='column',
             split_column='part', time='', valid_from='', test_from='')


@pytest.mark.parametrize('form', ['parquet', 'csv'])
def test_what_is_prepared(form, tmp_path):
  path = str(tmp_path / f'log.{form}')
  writer = parquet.write_table if form == 'parquet' else csv.write_csv
  writer(pa.table(LOG), path)
  data = prepared(
      tmp_path, path, **PLAIN, unknown_conversion='zero', weight='w',
      labels='like:after=click,rating>=4:name=good,'
      'seconds:after=click:kind=regression')
  train = read(data)['train']
  assert train['click'].tolist() == LOG['clicked'][:8]
  assert train['conversion'].tolist() == [1, 0, 0, 1, 0, 0, 0, 0]
  assert train['like'].tolist() == LOG['like'][:8]
  assert train['good'].tolist() == [1, 0, 0, 1, 1, 1, 0, 0]
  assert train['seconds'].tolist() == [9.5, 0, 2, 4, 0, 1, 0, 0]
  assert train['seconds'].dtype == train['row_weight'].dtype == np.float32
  assert train['row_weight'].tolist() == LOG['w'][:8]
  assert data.report['splits']['train'] == {
      'rows': 8, 'click': 5, 'conversion': 2, 'like': 3, 'good': 4,
      'seconds': 4, 'row_weight': 7.5}
  assert data.schema.weight == 'row_weight'
  assert data.schema.labels == (
      'click', 'conversion', 'like', 'good', 'seconds')


@pytest.mark.parametrize('changes, options, message', [
    ({'w': [0.0] * 8 + [1, 1]}, {'weight': 'w'},
     "dataset.weight, column 'w', is 0 in all 8 training rows"),
    ({'w': [1.0] * 9 + [-1]}, {'weight': 'w'}, "row 9: column 'w' is -1.0; it"),
    ({'w': [1.0] * 9 + [None]}, {'weight': 'w'}, "row 9: column 'w' is None"),
    ({'like': [0] * 10}, {'labels': 'like'},
     "column 'like' is 0 in all 8 .* column for dataset.labels"),
    ({'like': [0] * 9 + [None]}, {'labels': 'like'},
     "row 9: column 'like' is None; it must be 0 or 1"),
    ({'like': [1] * 9 + [-1]}, {'labels': 'like'},
     "row 9: column 'like' is -1; it must be 0 or 1"),
    ({'seconds': [1.0] * 9 + [None]}, {'labels': 'seconds:kind=regression'},
     "row 9: column 'seconds' is None; it must be a number"),
    ({}, {'click': 'rating>9', 'conversion': ''},
     "label 'rating>9' is 0 in all 8 training rows.*for dataset.click"),
    ({}, {'click': 'ratng>9'}, r"no column 'ratng'.*'rating'\?"),
    ({}, {'unknown_conversion': 'error'},
     "row 1: 'bought' is null or -1.*--config.dataset.unknown_conversion: zer"),
])
def test_logs_that_are_refused(changes, options, message, tmp_path):
  path = str(tmp_path / 'log.parquet')
  parquet.write_table(pa.table(LOG | changes), path)
  options = {'unknown_conversion': 'zero', **options}
  with pytest.raises(InputError, match=message):
    prepared(tmp_path, path, **PLAIN, **options)
