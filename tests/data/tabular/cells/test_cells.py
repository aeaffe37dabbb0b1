"""Buckets of numbers and crosses of columns in a log of one's own."""

import json
import math
import os

from esmm_jax.data.tabular import growing
from esmm_jax.data.tabular.cells import buckets, crosses
from esmm_jax.data.tabular.cells.quantiles import Cells
from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.tabular.encoder import Encoder
from esmm_jax.types import InputError
import hypothesis
from hypothesis import strategies as st
import numpy as np
import pyarrow as pa
import pytest

from tests.data.tabular.test_tabular import prepared, read, table, write

few = hypothesis.settings(max_examples=25, deadline=None)
# Training rows are the first six: 1, 2, 4, 5, 8 and a missing one.
CELLS = dict(
    id='user,price:buckets=3', float='price', ids='',
    crosses='user*item:min_count=1,price.bucket*user:min_count=1')


def quantiles(x, num):
  """The edges by their definition."""
  x = np.sort(x[~np.isnan(x)])
  ranks = [k * len(x) // num for k in range(1, num)]
  return [e for e in np.unique(x[ranks]) if e > x[0]] if len(x) else []


def numbers(kind, num, seed=0):
  rng = np.random.default_rng(seed)
  x = {
      'normal': rng.normal(size=num),
      'ties': rng.integers(-3, 3, num).astype(float),
      'wide': np.exp(8 * rng.normal(size=num)) * rng.choice([-1, 1], num),
      'skewed': np.where(rng.random(num) < .9, 0., rng.random(num)),
  }[kind]
  return np.where(rng.random(num) < .1, np.nan, x)


@pytest.mark.parametrize('kind', ['normal', 'ties', 'wide', 'skewed'])
@pytest.mark.parametrize('num', [0, 1, 5, 3000])
def test_edges_are_quantiles(kind, num):
  x = numbers(kind, num)
  cells = Cells()
  for part in np.array_split(x, 3):
    cells.add(part)
  for many in (2, 7, 50):
    assert list(cells.edges(many)) == quantiles(x, many)


@pytest.mark.parametrize('kind', ['normal', 'wide'])
def test_edges_do_not_depend_on_the_parts(kind):
  x = numbers(kind, 90_000)
  whole = Cells(most=1 << 14)
  whole.add(x)
  assert whole.shift > 0
  for cut in (7, 3):
    parts = [Cells(most=1 << 14) for _ in range(cut)]
    for part, some in zip(parts, np.array_split(x[::-1], cut)):
      part.add(some)
    total = Cells(most=1 << 14)
    for part in parts[::-1]:
      total.merge(part)
    assert total.edges(20) == whole.edges(20)
  # An edge is as near to the quantile as a cell is wide.
  width = 2.0 ** (whole.shift - 52)
  for edge, exact in zip(whole.edges(20), quantiles(x, 20), strict=True):
    assert edge <= exact and abs(edge - exact) <= 2 * width * abs(exact)


@pytest.mark.parametrize('edges, names', [
    ((), ['(-inf, inf)']), ((0.1,), ['(-inf, 0.1)', '[0.1, inf)']),
    ((-5.0, 0.0, 1e20), ['(-inf, -5)', '[-5, 0)', '[0, 1e+20)', '[1e+20, inf)'])
])
def test_names(edges, names):
  assert buckets.names(edges) == names


def test_a_bucket_holds_its_lower_edge():
  x = np.array([-1e30, -0.0, 0, 9.99, 10, 100, 1e38, np.nan])
  assert buckets.texts(x, (0.0, 10.0, 100.0)).tolist() == [
      '(-inf, 0)', '[0, 10)', '[0, 10)', '[0, 10)', '[10, 100)', '[100, inf)',
      '[100, inf)', None]


@few
@hypothesis.example([('a\\', 'b*c'), ('a*b\\', 'c')])
@hypothesis.given(st.lists(st.tuples(*[st.text(r'ab*\,') for _ in range(2)])))
def test_different_pairs_have_different_texts(pairs):
  first, second = (
      pa.array([pair[k] for pair in pairs], pa.string()) for k in range(2))
  assert len({*crosses.texts(first, second).tolist()}) == len({*pairs})


NAMES = st.text(min_size=1, max_size=6).filter(
    lambda name: name.strip() == name and '\x00' not in name)


def quoted(name):
  return '"' + name.replace('"', '""') + '"'


@few
@hypothesis.given(NAMES, NAMES, st.integers(1, 9))
def test_any_two_names_are_a_cross(first, second, min_count):
  hypothesis.assume(first != second)
  hypothesis.assume('/' not in first + second and first[0] != '.')
  hypothesis.assume(not {first, second} & {'click', 'conversion'})
  text = f'{quoted(first)}*{quoted(second)}:min_count={min_count}'
  (cross,) = TabularConfig(crosses=f' {text} , ').inputs
  assert cross.columns == (first, second)
  assert (cross.name, cross.min_count) == (f'{first}_x_{second}', min_count)


@few
@hypothesis.given(st.sets(st.floats(-1e30, 1e30), min_size=1, max_size=6))
def test_any_edges_are_read(edges):
  edges = tuple(sorted({edge + 0.0 for edge in edges}))
  text = '|'.join(map(buckets.shown, edges))
  (column,) = TabularConfig(id=f'price:edges={text}').inputs
  assert column.edges == edges and column.columns == ('price',)


@few
@hypothesis.given(st.text('ab*:=|,"\'\\ 0.-', max_size=12))
def test_any_text_is_read_or_refused_in_one_line(text):
  for option in ('crosses', 'id'):
    try:
      inputs = TabularConfig(**{option: text, 'float': 'z'}).inputs
    except InputError as e:
      assert '\n' not in str(e)
    else:
      assert all(all(c.columns) for c in inputs)


REFUSED = {
    'one bucket': (
        dict(id='price:buckets=1'),
        'buckets is 1; it must be a whole number in [2, 65536]'),
    'buckets': (dict(id='price:buckets=x'), "'x' is no whole number"),
    'no edge': (
        dict(id='price:edges=1|x'), "edge 'x' is no number; write edges=0|10"),
    'edge nan': (dict(id='price:edges=1|nan'), "edge 'nan' is no number"),
    'edge with _': (dict(id='price:edges=1_0'), "edge '1_0' is no number"),
    'empty edges': (dict(id='price:edges='), "edge '' is no number"),
    'falling edges': (dict(id='price:edges=2|1'), 'edge 1 follows 2; edges r'),
    'equal edges': (dict(id='price:edges=1|1'), 'edge 1 follows 1; edges rise'),
    'buckets and edges': (
        dict(id='price:buckets=5:edges=1'), "'buckets' and 'edges' exclude ea"),
    'min_count of buckets': (
        dict(id='price:min_count=5:buckets=5'), "'min_count' and 'buckets' ex"),
    'buckets in float': (
        dict(float='price:buckets=5'), "'buckets=5' is no option of such a c"),
    'two buckets': (
        dict(id='price:edges=1,price:edges=2'), "'price.bucket' is named twi"),
    'one part': (
        dict(crosses='city'), "dataset.crosses: 'city': a cross is of two dif"),
    'one part twice': (dict(crosses='city*city'), 'of two different columns'),
    'three parts': (
        dict(crosses='city*tab*hour'), 'make a column of more in the log'),
    'table of a cross': (
        dict(crosses='city*tab:table=c'), "'table=c' is no option of such a"),
    'list in a cross': (
        dict(ids='tags', crosses='city*tags'),
        "dataset.crosses: 'city*tags': 'tags' is a list, of which"),
    'number in a cross': (
        dict(float='price', crosses='city*price'),
        "'price' is a number; write dataset.id=price:buckets=10 and cross"),
    'number of a bucket in a cross': (
        dict(id='price:edges=1', crosses='city*price'),
        "'price' is a number; write dataset.id=price:buckets=10 and cross"),
    'label in a cross': (
        dict(crosses='city*click'), "'click' is a label; it cannot be an inp"),
    'buckets of a label': (
        dict(id='conversion:buckets=3'), "'conversion' is a label; it cannot"),
    'name of a cross': (
        dict(crosses='city*tab', id='city_x_tab'), "'city_x_tab' is named tw"),
    'table of a bucket': (
        dict(id='price:edges=1,city:table=price.bucket'),
        'table=price.bucket names the table of'),
    'table of a cross elsewhere': (
        dict(crosses='city*tab', id='hour:table=city_x_tab'),
        'table=city_x_tab names the table of'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_what_is_refused(case):
  options, message = REFUSED[case]
  with pytest.raises(InputError) as caught:
    TabularConfig(**options)
  assert message in str(caught.value) and '\n' not in str(caught.value)


def test_what_is_made_of_ten_rows(tmp_path):
  data = prepared(tmp_path, write(table(), tmp_path / 'log.parquet'), **CELLS)
  rows = read(data)
  train, valid, test = (rows[s] for s in ('train', 'valid', 'test'))
  # Of 1, 2, 4, 5, 8 those at 5 // 3 and 10 // 3: edges 2 and 5.
  encoder = Encoder.load(data.encoder_folder)
  names = ['(-inf, 2)', '[2, 5)', '[5, inf)']
  assert encoder.values('price.bucket') == names
  assert train['price.bucket'].tolist() == [2, 3, 0, 3, 4, 4]
  assert valid['price.bucket'].tolist() == [4, 0]  # 1e3, none.
  assert test['price.bucket'].tolist() == [3, 2]  # 3, -1.
  # By count, then as texts; all of them once but a*9.
  pairs = ['a*9', 'a*7', 'b*7', 'b*8', 'c*9']
  assert encoder.values('user_x_item') == pairs
  assert train['user_x_item'].tolist() == [3, 4, 2, 6, 2, 5]
  assert valid['user_x_item'].tolist() == [1, 1]  # d*7, a*5.
  assert test['user_x_item'].tolist() == [0, 1]  # No user; b*9.
  kept = encoder.values('price.bucket_x_user')
  assert sorted(kept) == [
      '(-inf, 2)*a', '[2, 5)*b', '[2, 5)*c', '[5, inf)*a', '[5, inf)*b']
  assert train['price.bucket_x_user'][2] == 0
  assert test['price.bucket_x_user'].tolist() == [0, 1]
  known = np.array([1, 2, 4, 5, 8.0])
  assert train['price'][0] == np.float32((1 - known.mean()) / known.std())
  sizes = {f.name: f.vocab_size for f in data.schema.inputs}
  assert sizes == {
      'user': 4, 'price.bucket': 5, 'user_x_item': 7, 'price.bucket_x_user': 7}


@pytest.mark.parametrize('form', ['log.csv', 'log.parquet'])
def test_rows_are_encoded_as_in_training(form, tmp_path):
  rows = table()
  data = prepared(tmp_path, write(rows, tmp_path / form), **CELLS)
  encoder = Encoder.load(data.encoder_folder)
  assert encoder.raw_names == ['user', 'price', 'item']
  frame = rows.to_pandas()
  splits = read(data)
  for columns in (rows, frame, rows.to_pylist(), rows.to_pydict()):
    encoded = encoder.encode(columns)
    assert encoded.keys() == {f.name for f in data.schema.fields}
    for name, values in encoded.items():
      stored = np.concatenate([splits[s][name] for s in splits])
      np.testing.assert_array_equal(values, stored)


def test_a_field_may_be_left_out(tmp_path):
  data = prepared(tmp_path, write(table(), tmp_path / 'log.csv'), **CELLS)
  encoder = Encoder.load(data.encoder_folder)
  one = encoder.select(['price.bucket_x_user'])
  assert one.raw_names == ['price', 'user']
  np.testing.assert_array_equal(
      one.encode(table())['price.bucket_x_user'],
      encoder.encode(table())['price.bucket_x_user'])


@pytest.mark.parametrize('value, message', [
    ('cheap', "'price' is 'cheap'; it must be a number"),
    (math.inf, "'price' is inf; it must be")])
def test_what_is_no_number(value, message, tmp_path):
  prices = [1.0, 2.0, value, *range(7)]
  prices = list(map(str, prices))
  path = write(table(price=prices), tmp_path / 'log.parquet')
  with pytest.raises(InputError) as caught:
    prepared(tmp_path, path, id='price:buckets=3', float='', ids='')
  assert f'{path}, row 2: column {message}' in str(caught.value)


def test_a_column_of_lists_is_no_part(tmp_path):
  path = write(table(), tmp_path / 'log.parquet')
  with pytest.raises(InputError, match=r"row 0: column 'tags' is \['x'\]; it "):
    prepared(tmp_path, path, id='', float='', ids='', crosses='user*tags')


def warned(tmp_path, **options):
  path = write(table(), tmp_path / 'log.parquet')
  data = prepared(tmp_path, path, float='', ids='', **options)
  return '\n'.join(data.warnings)


def test_buckets_without_training_rows(tmp_path):
  text = warned(tmp_path, id='price:edges=0|3|100')
  assert "'price.bucket' has no training row in (-inf, 0), [100, inf):" in text


def test_one_bucket(tmp_path):
  text = warned(tmp_path, id='bought:buckets=2,user', conversion='')
  assert "column 'bought.bucket' has one bucket: most" in text


def grown(tmp_path, **options):
  """A log prepared on the vocabulary of another one."""
  first = prepared(
      tmp_path, write(table(), tmp_path / 'log.csv'), **CELLS)
  run = tmp_path / 'run'
  run.mkdir(exist_ok=True)
  if not (run / 'encoder').exists():
    os.symlink(first.encoder_folder, run / 'encoder')
  more = table(price=[100.0 * k for k in range(10)])
  path = write(more, tmp_path / 'more.csv')
  options = CELLS | options
  return first, prepared(tmp_path, path, vocabulary_of=str(run), **options)


def test_a_vocabulary_that_grows_keeps_its_edges(tmp_path):
  first, second = grown(tmp_path)
  one, two = (Encoder.load(d.encoder_folder) for d in (first, second))
  assert [c.edges for c in one.inputs] == [c.edges for c in two.inputs]
  name = 'price.bucket_x_user'
  old, new = one.values(name), two.values(name)
  assert new[:len(old)] == old
  assert new[len(old):] == ['[5, inf)*c']
  assert second.report['new_values'][name] == 1
  assert growing.base(second.builder_config) is not None


@pytest.mark.parametrize('options, message', [
    (dict(id='user,price:buckets=4'), 'buckets=4 of price, but buckets=3'),
    (dict(id='user,price:edges=2|5'), 'options edges=2|5 of price'),
    (dict(crosses='user*item,user*price.bucket'), 'that run has no column')])
def test_a_vocabulary_of_other_cells_does_not_grow(options, message, tmp_path):
  with pytest.raises(InputError) as caught:
    grown(tmp_path, **options)
  assert message in str(caught.value)


def test_an_encoder_of_plain_columns_is_written_as_before(tmp_path):
  data = prepared(tmp_path, write(table(), tmp_path / 'log.csv'))
  path = os.path.join(data.encoder_folder, 'encoder.json')
  with open(path, encoding='utf-8') as f:
    (user, *_) = json.load(f)['inputs']
  assert user == {
      'name': 'user', 'kind': 'id', 'min_count': 2, 'max_values': 0,
      'table': 'user', 'max_len': 50, 'combiner': 'mean', 'scaling': 'standard'}
