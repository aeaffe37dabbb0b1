"""Somebody's own log: what is wrong is said with file, row and column."""

import datetime
import os
import re

from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.tabular.encoder import Encoder
from esmm_jax.data.tabular.fit import Fit
from esmm_jax.data.tabular.moments import Moments
from esmm_jax.data.values import raw_values
from esmm_jax.data.values.raw_values import Location
from esmm_jax.training import parts
from esmm_jax.types import InputError
from hypothesis import given, strategies as st
import numpy as np
import pyarrow as pa
import pytest

from configs import common
from tests.configs import config_fuzz
from tests.data.tabular.test_tabular import OPTIONS, prepared, read, ROWS, table
from tests.data.tabular.test_tabular import write

# Options and what they are refused with.
OPTION = {
    'no files': (dict(files=''), 'dataset.files is empty; name the log'),
    'no such file': (dict(files='no.csv'), 'dataset.files=no.csv: there is no'),
    'another kind': (dict(files='setup.cfg'), 'neither CSV nor Parquet'),
    'protocol': (dict(files='nothing://x.csv'), 'nothing://x.csv'),
    'twice': (dict(files='{log},{log}'), 'log.parquet is named twice'),
    'no inputs': (dict(id='', ids='', float=''), 'name no column'),
    'no column': (dict(id='usr'), r"no column 'usr'.*'user'\?"),
    'no label': (dict(click='klicked'), r"no column 'klicked'.*'clicked'\?"),
    'empty label': (dict(conversion='', click=''), 'name no label'),
    'label read': (dict(id='clicked'), "'clicked' is a label"),
    'name of a label': (
        dict(float='price,click'), "'click': this name is reserved"),
    'twice read': (dict(id='user,user'), "'user' is named twice"),
    'odd name': (dict(id='a/b'), "'a/b': this name is reserved"),
    'split': (dict(split='tme'), r"dataset.split is 'tme'.*'time'\?"),
    'no time': (dict(time=''), "dataset.split is 'time', but dataset.time is"),
    'policy': (
        dict(conversion_without_click='eror'), r"is 'eror'.*'error'\?"),
    'option of a column': (
        dict(id='user:mincount=3'), r"'mincount=3' is no.*'min_count'\?"),
    'number': (dict(id='user:min_count=x'), "'x' is no whole number"),
    'small': (dict(id='user:min_count=0'), 'min_count is 0; it must be a'),
    'combiner': (
        dict(ids='tags:combiner=max'), "combiner is 'max', which is not known"),
    'attention': (
        dict(ids='tags:combiner=attention'), 'attention needs a target'),
    'target': (
        dict(ids='tags:combiner=attention:target=itme'),
        r"target 'itme' is none of the fields\..*'item'\?"),
    'target of another kind': (
        dict(ids='tags:combiner=attention:target=price'),
        "target 'price' is of kind 'float'; attention compares"),
    'target in another table': (
        dict(ids='tags:combiner=attention:target=item:table=word'),
        "its table is 'word' and that of its target 'item' is 'item'"),
    'scaling': (dict(float='price:scaling=lg'), "scaling is 'lg'"),
    'min_count': (dict(min_count=0), "'user': min_count is 0; it must be a"),
    'shares': (
        dict(valid_from='', test_from='', valid_share=0.5, test_share=0.5),
        'leave no rows to train on'),
    'share': (dict(test_share=1.5), 'dataset.test_share is 1.5'),
    'boundary': (
        dict(valid_from='May'), "dataset.valid_from is 'May'; it must be a"
        ' number or a date'),
    'order': (dict(valid_from='4', test_from='3'), 'comes after test_from'),
    'empty split': (
        dict(test_from='9'), "test_from is 9, but column 'day' goes from 1 to"
        ' 4'),
    'nothing to learn from': (
        dict(valid_from='1'), "valid_from is 1, but column 'day' goes from"),
    'nothing between': (dict(valid_from='4'), "split 'valid' is empty"),
    'files': (dict(valid_files='x.csv'), "belongs to dataset.split='files'"),
    'late test': (
        dict(valid_from='4', test_from='', test_share=0.4),
        'valid_from, 4, comes after the start of the last test'),
    'all before': (
        dict(valid_from='', test_from='2', valid_share=0.9),
        "split 'train' is empty"),
    'other table': (
        dict(id='user:table=t:min_count=2,item:table=t:min_count=5'),
        "'user' and 'item' share the table 't', but min_count is 2 for the"
        ' first and 5 for the second'),
    'set twice': (
        dict(id='user:min_count=2:min_count=5'), "'min_count' is set twice"),
    'two labels': (
        dict(conversion='clicked'), "click and conversion are both 'clicked'"),
}


@pytest.mark.parametrize('case', OPTION)
def test_options(case, tmp_path):
  options, message = OPTION[case]
  log = write(table(), tmp_path / 'log.parquet')
  options = {'files': log} | options
  options['files'] = options['files'].format(log=log)
  with pytest.raises(InputError, match=message):
    prepared(tmp_path, **options)
  left = tmp_path / 'data' / 'tabular'
  assert not list(left.glob('*/1*')) and not list(left.glob('*/inc*'))


def changed(name, row, value):
  values = list(ROWS[name])
  values[row] = value
  return {name: values}


# Changes of the rows and what they are refused with; rows count from 0.
VALUES = {
    'label': (changed('clicked', 3, 2), 'row 3: column .clicked. is 2; it must'
              ' be 0 or 1'),
    'no label': (changed('clicked', 4, None), 'row 4: column .clicked. is No'),
    'not known': (
        changed('bought', 4, None), "row 4: 'bought' is null or -1, so it is"
        " not known. .* --config.dataset.unknown_conversion: zero .*'clicked'"),
    'bought unclicked': (
        changed('bought', 1, 1), "row 1: 'bought' is 1 and 'clicked' is 0. C"),
    'no number': (
        {'price': ['x'] + ['1'] * 9}, "row 0: column 'price' is 'x'; it must be"
        ' a number'),
    'infinite': (
        changed('price', 9, np.inf), "row 9: column 'price' is inf; it must"),
    'past float32': (
        changed('price', 2, 1.7976931348623157e308), "row 2: column 'price' is"
        ' 1.79.*e.308; it must be at most 3.4028235e38 in size'),
    'lost digits': (
        {'item': [2.0**53 + 2] * 10}, r"row 0: column 'item' is 90071.*2\^53"),
    'another separator': (
        {'tags': ['x^y'] * 10}, "column 'tags' has two entries, but some are"
        " like 'x.y'; write tags:separator=. in"),
    'broken list': (
        {'tags': ['["x", "y"]'] * 9 + ['["x"']}, "row 9: column 'tags' is .*; "
        'it must be a list like'),
    'offset left out': (
        {'day': ['2022-04-01T00:00Z'] * 9 + ['2022-04-01']}, "row 9: column"
        " 'day' is '2022-04-01'; it must be a date with an offset"),
    'no list': (
        {'tags': list(range(10))}, "column 'tags' is 0; it must be a list"),
    'list': ({'user': [['a']] * 10}, r"column 'user' is \['a'\]; it must be one"
             ' value'),
    'fraction': (
        {'item': [1.5] + [1.0] * 9}, "row 0: column 'item' is 1.5; it must be a"
        ' whole number'),
    'time': (
        {'day': ['2022-04-01'] * 9 + ['soon']}, "row 9: column 'day' is 'soo"),
    'no time': (changed('day', 2, None), "row 2: column 'day' is None"),
    'never clicked': (
        {'clicked': [0] * 10, 'bought': [0] * 10}, "column 'clicked' is 0 in"
        ' all 6 training rows'),
    'never bought': (
        {'bought': [0] * 10}, "column 'bought' is 0 in all 6 training rows"),
}


@pytest.mark.parametrize('case', VALUES)
def test_values(case, tmp_path):
  changes, message = VALUES[case]
  path = write(table(**changes), tmp_path / 'log.parquet')
  more = {}
  if case in ('time', 'offset left out'):
    more = dict(valid_from='2022-04-02', test_from='2022-04-03')
  with pytest.raises(InputError, match=message) as e:
    prepared(tmp_path, path, **more)
  assert 'log.parquet' in str(e.value) or 'never' in case


def test_lines_of_csv_files(tmp_path):
  """Counted as an editor does."""
  path = write(table(**changed('clicked', 3, 2)), tmp_path / 'log.csv')
  with pytest.raises(InputError, match="log.csv, line 5: column 'clicked'"):
    prepared(tmp_path, path)
  lines = (tmp_path / 'log.csv').read_text().replace(',2,', ',1,').splitlines()
  (tmp_path / 'log.csv').write_text('\n'.join([*lines[:4], 'a,b', *lines[5:]]))
  with pytest.raises(InputError, match='log.csv, line 5: the row has 2 fields, '
                     'the header 8'):
    prepared(tmp_path, path)
  (tmp_path / 'log.csv').write_text('')
  with pytest.raises(InputError, match='log.csv is empty; there is no header'):
    prepared(tmp_path, path)
  (tmp_path / 'log.parquet').write_bytes(b'PAR1 no')
  with pytest.raises(InputError, match='log.parquet cannot be read'):
    prepared(tmp_path, str(tmp_path / 'log.parquet'))


PLAIN = dict(id='user', ids='', float='', split='column', split_column='part',
             group='')
HEADER = b'user,clicked,bought,part\n'
GOOD = b'a,1,1,train\n'
# What a CSV file holds and what it is refused with.
CSV = {
    'cut row': (HEADER + GOOD + b'\n"x\ny",0,0,train\nb,0\n', 'log.csv, line 6:'
                ' the row has 2 fields, the header 4. Repair'),
    'label': (HEADER + b'"x\ny",0,0,train\n\n' + GOOD + b'b,2,0,train\n',
              "log.csv, line 6: column 'clicked' is '2'"),
    'unclicked': (HEADER + b'\n' + GOOD + b'\nb,0,1,train\n', 'log.csv, line 5:'
                  " 'bought' is 1 and 'clicked' is 0"),
    'latin-1': (HEADER + GOOD + b'\xe9,0,0,train\n', 'line 3: it is not UTF-8'),
    'long': (HEADER + GOOD + b'a' * (1 << 23) + b',0,0,train\n',
             'log.csv, line 3: the row is longer than 4194304 bytes'),
    'two columns': (b'user,user,clicked,bought,part\na,b,1,1,train\n',
                    "log.csv: there are 2 columns 'user'; rename"),
}


@pytest.mark.parametrize('case', CSV)
def test_csv_files(case, tmp_path):
  text, message = CSV[case]
  (tmp_path / 'log.csv').write_bytes(text)
  with pytest.raises(InputError, match=message):
    prepared(tmp_path, str(tmp_path / 'log.csv'), **PLAIN)


def test_line_breaks_in_values(tmp_path):
  """A value goes on over lines, wherever the file is cut to be read."""
  num = 30_000
  text = ''.join(
      f'"user\n\n{k % 7:0200d}\n",{k % 2},{k % 2},train\n' for k in range(num))
  (tmp_path / 'log.csv').write_bytes(HEADER + text.encode())
  assert os.path.getsize(tmp_path / 'log.csv') > 1 << 22
  data = prepared(tmp_path, str(tmp_path / 'log.csv'), **PLAIN)
  assert data.report['rows'] == num
  assert data.report['vocab_sizes'] == {'user': 2 + 7}


ARROW = [
    pa.array([b'\xff', b'b']), pa.array([1e19, 2.0]), pa.array([np.inf, 1.0]),
    pa.array(np.array([1.5, 2], np.float16)),
    pa.array([datetime.time(1)] * 2), pa.array([datetime.timedelta(1)] * 2),
    pa.array([{'a': 1}] * 2), pa.nulls(2), pa.array([[[1]], [[2]]])]


@pytest.mark.parametrize('kind', ['texts', 'floats', 'labels', 'times'])
@pytest.mark.parametrize('array', ARROW, ids=lambda a: str(a.type))
def test_any_arrow_type(kind, array):
  """Is read, or refused with the place."""
  try:
    found = getattr(raw_values, kind)(array, HERE)
    assert len(getattr(found, 'values', found)) == 2
  except InputError as e:
    assert str(e).startswith("x, row 0: column 'a' is "), e


@pytest.mark.parametrize('options, message', [
    (dict(fils='x'), r"dataset.fils is set, .* no such option. .*'files'\?"),
    (dict(valid_share='x'), "dataset.valid_share is 'x'; it must be a number"),
    (dict(min_count=2.5), 'min_count is 2.5; it must be a whole number'),
    (dict(id=(1, 2)), r'dataset.id is \(1, 2\); it must be a text'),
    (dict(test_share=True), 'dataset.test_share is True; it must be a number'),
])
def test_options_of_another_kind(options, message):
  with pytest.raises(InputError, match=message):
    TabularConfig.from_options(options)


def test_a_file_with_other_columns(tmp_path):
  one = write(table().slice(0, 5), tmp_path / 'a.parquet')
  two = write(table(price=None).slice(5), tmp_path / 'b.parquet')
  with pytest.raises(InputError, match="b.parquet: there is no column 'price'"):
    prepared(tmp_path, [one, two])


@pytest.mark.parametrize('policy, rows, click, bought', [
    ('drop', 5, 4, 2), ('keep', 6, 4, 2), ('click', 6, 5, 3)])
def test_bought_and_not_clicked(policy, rows, click, bought, tmp_path):
  path = write(table(**changed('bought', 1, 1)), tmp_path / 'log.csv')
  data = prepared(tmp_path, path, conversion_without_click=policy)
  assert data.report['splits']['train'] == {
      'rows': rows, 'click': click, 'conversion': bought}
  assert data.report['left_out'] == (policy == 'drop')
  assert len(read(data)['train']['user']) == rows


def test_three_events(tmp_path):
  rows = table(cart=[1, 0, 1, 1, 0, 0, 1, 0, 1, 0])
  path = write(rows, tmp_path / 'log.csv')
  data = prepared(tmp_path, path, cart='cart')
  assert data.schema.labels == ('click', 'cart', 'conversion')
  assert read(data)['train']['cart'].tolist() == [1, 0, 1, 1, 0, 0]


# Values.

HERE = Location('x', name='a')


@pytest.mark.parametrize('values', [
    pa.array([7, None, -3]), pa.array([7.0, None, -3.0]),
    pa.array(['7', '', ' -3 ']), pa.array(['7.0', None, '-3.00']),
    pa.array([7.0, np.nan, -3.0]), pa.array([7, None, -3], pa.int8()),
    pa.array(['7', None, '-3'], pa.large_string()),
    pa.array(['7', None, '-3']).dictionary_encode(),
])
def test_one_identifier_in_many_forms(values):
  found = raw_values.texts(raw_values.arrow(values, HERE), HERE)
  assert found.to_pylist() == ['7', None, '-3']


def test_other_kinds():
  texts = lambda v: raw_values.texts(
      raw_values.arrow(v, HERE), HERE).to_pylist()
  assert texts([True, False, None]) == ['True', 'False', None]
  assert texts(np.array(['b', 'a'], object)) == ['b', 'a']
  assert texts([1, 'x', None]) == ['1', 'x', None]
  assert texts(np.array(['2022-04-09'], 'datetime64[D]')) == ['2022-04-09']
  labels = raw_values.labels(
      pa.array(['0', 'TRUE', '1.0', 'false']), HERE)
  assert labels.tolist() == [0, 1, 1, 0] and labels.dtype == np.int8


NAMES = st.text('abc7. ', max_size=3)


@given(st.lists(st.none() | st.lists(st.none() | NAMES, max_size=5)),
       st.integers(1, 4))
def test_lists(rows, most):
  clean = [
      [t.strip() for t in row or [] if t and t.strip()] for row in rows]
  clean = [[raw_values.texts(pa.array([t]), HERE)[0].as_py() for t in row]
           [:most] for row in clean]
  as_lists = pa.array(rows, pa.list_(pa.string()))
  as_texts = pa.array(
      [None if r is None else '|'.join(t or '' for t in r) for r in rows],
      pa.string())
  for form in (as_lists, as_texts):
    offsets, entries, _ = raw_values.lists(form, HERE, most)
    found = [
        entries[a:b].to_pylist() for a, b in zip(offsets, offsets[1:])]
    assert found == clean


@given(st.lists(st.lists(st.floats(-1e6, 1e6) | st.just(np.nan))))
def test_moments(pieces):
  moments = Moments()
  for piece in pieces:
    moments.add(np.array(piece, float))
  values = np.array([v for p in pieces for v in p if not np.isnan(v)])
  if len(values):
    assert moments.mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-6)
    std = values.std()
    assert moments.std == pytest.approx(std, rel=1e-5, abs=1e-3)


@given(st.lists(st.tuples(NAMES, st.booleans(), st.none() | st.floats(-9, 9)),
                min_size=1))
def test_what_is_encoded_comes_of_training_rows(rows):
  names, train, prices = (list(x) for x in zip(*rows))
  train = np.array(train)
  config = TabularConfig(id='a:min_count=1', float='b:scaling=log')
  fit = Fit(config)
  columns = {'a': pa.array(names), 'b': pa.array(prices, pa.float64())}
  fit.add(columns, train, HERE)
  encoder = fit.encoder()
  made = encoder.encode(columns)
  texts = raw_values.texts(columns['a'], HERE).to_pylist()
  known = {t for t, k in zip(texts, train) if k and t is not None}
  for text, number in zip(texts, made['a']):
    if text is None or text not in known:
      assert number == (0 if text is None else 1)
    else:
      assert encoder.values('a')[number - 2] == text
  fitted = np.array([p for p, k in zip(prices, train) if k and p is not None])
  if len(fitted) > 1 and np.ptp(fitted) > 0.1:
    fitted = np.sign(fitted) * np.log1p(abs(fitted))
    there = [k and p is not None for k, p in zip(train, prices)]
    np.testing.assert_allclose(
        made['b'][there], (fitted - fitted.mean()) / fitted.std(), atol=1e-4)
  assert not made['b'][[p is None for p in prices]].any()
  assert isinstance(encoder, Encoder) and os.path.sep not in OPTIONS['id']


KEYS = sorted(set(common.tabular()) - {
    'name', 'train_split', 'valid_split', 'test_split', 'fields', 'tasks'})


@pytest.mark.parametrize('key', KEYS)
def test_any_value_of_a_key(key, tmp_path):
  """Is refused in words, or prepared."""
  config = common.tabular()
  config.update(
      files=write(table(), tmp_path / 'log.parquet'), **OPTIONS)
  kind = config.get_type(key)
  for value in config_fuzz.WRONG[kind]:
    changed = config.copy_and_resolve_references()
    changed[key] = value
    try:
      parts.dataset(changed, str(tmp_path / 'data'))
    except InputError as e:
      assert str(e)


@pytest.mark.parametrize('form', ['csv', 'csv.gz', 'parquet'])
def test_damaged_files(form, tmp_path):
  """Cut off, or with some bytes changed: refused by name, or prepared."""
  good = write(table(), tmp_path / f'good.{form}')
  with open(good, 'rb') as f:
    whole = f.read()
  rng = np.random.default_rng(0)
  refused = 0
  for k in range(40):
    data = bytearray(whole)
    if k % 2:
      del data[rng.integers(len(data)):]
    else:
      for place in rng.integers(len(data), size=3):
        data[place] ^= 1 << rng.integers(8)
    path = tmp_path / f'bad{k}.{form}'
    path.write_bytes(data)
    try:
      prepared(tmp_path, str(path))
    except InputError as e:
      refused += 1
      assert re.match(f'.*bad{k}.{form}|tabular: |dataset', str(e)), e
  assert refused > 20
