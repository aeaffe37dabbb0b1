"""Options of columns, and the encoder that reads with them."""

import json
import os

from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.tabular.encoder import Encoder
from esmm_jax.data.tabular.fit import Fit
from esmm_jax.data.values.raw_values import Location
from esmm_jax.types import InputError
import numpy as np
from pyarrow import parquet
import pyarrow as pa
import pytest

from tests.data.tabular.test_tabular import prepared, read, table, write

HERE = Location('log')


@pytest.mark.parametrize('text, separator, weights', [
    ('a:separator=^', '^', ''),
    ('a:separator=tab:max_len=3', '\t', ''),
    ('a:separator=space', ' ', ''),
    ('a:separator=comma', ',', ''),
    ('a:separator=pipe', '|', ''),
    ('a:separator=semicolon', ';', ''),
    ('a:separator=newline', '\n', ''),
    (r'a:separator=\x01', '\x01', ''),
    (r'a:separator=\t', '\t', ''),
    (r'a:separator=\u0002', '\x02', ''),
    ('a:separator=||', '||', ''),
    ('a:separator=/', '/', ''),
    ('a:weights=:', '', ':'),
    ('a:weights=::separator=^', '^', ':'),
    ('a:separator=::weights==', ':', '='),
    ('a:weights=colon', '', ':'),
    ('a:weights=equals:combiner=sum', '', '='),
    ('a:weights==', '', '='),
    ('a', '', ''),
])
def test_separators(text, separator, weights):
  (column,) = TabularConfig(ids=text).inputs
  assert (column.name, column.separator, column.weights) == (
      'a', separator, weights)
  assert column.field().weighted == bool(weights)


@pytest.mark.parametrize('options, message', [
    (dict(ids='a:separator='), 'a separator is empty; write it, or colon, com'),
    (dict(ids=r'a:separator=\x'), r"'..x' is no separator; write"),
    (dict(ids=r'a:separator=\é'), 'is no separator'),
    (dict(ids='a:weights=pipe'), 'separator and weights are the same'),
    (dict(ids='a:separator=^:weights=^'), 'separator and weights are the same'),
    (dict(id='a:separator=^'), "'separator=.' is no option of such a column"),
    (dict(ids='a:seperator=^'), "Did you mean 'separator'"),
])
def test_what_is_no_separator(options, message):
  with pytest.raises(InputError, match=message):
    TabularConfig(**options)


def fitted(columns, **options):
  fit = Fit(TabularConfig(min_count=1, **options))
  columns = {n: pa.array(v) for n, v in columns.items()}
  num = len(next(iter(columns.values())))
  fit.add(columns, np.ones(num, bool), HERE)
  return fit.encoder()


@pytest.mark.parametrize('values, name', [
    (['0^1', '2^1', None, '4'], '^'), (['a,b', 'c,d', 'e'], 'comma'),
    (['a;b', ''], 'semicolon'), (['a\tb'], 'tab'), (['a\x01b'], r'\\x01'),
    (['1 2', '3'], 'space'), (['N12 N13', ''], 'space')])
def test_lists_with_another_separator_are_noticed(values, name):
  words = f"log: no value of column 'a' has two.*a:separator={name}"
  words = words.replace('^', r'\^')
  with pytest.raises(InputError, match=words):
    fitted({'a': values}, ids='a')
  word = name.replace('\\\\', '\\')
  with_it = fitted({'a': values}, ids=f'a:separator={word}')
  assert len(with_it.values('a')) >= 2
  # The other way out, and columns about which nothing is known.
  assert values[0].strip() in fitted(
      {'a': values}, ids='a:separator=pipe').values('a')
  fitted({'a': [*values, 'x|y']}, ids='a')
  fitted({'a': [[v] for v in values]}, ids='a')
  fitted({'a': [json.dumps([v]) for v in values]}, ids='a')
  fitted({'a': [*values, *map(str, range(40))]}, ids='a')


@pytest.mark.parametrize('value', ['{1,2}', '(1, 2)', "{'a': 1}"])
def test_lists_in_other_brackets_are_noticed(value):
  with pytest.raises(InputError, match=r'write such lists as JSON, \[1, 2\]'):
    fitted({'a': [value]}, ids='a')
  assert fitted({'a': [value]}, ids='a:separator=pipe').values('a') == [value]


@pytest.mark.parametrize('value', [
    'Toy Story', 'a:b', '2022-04-01', 'x_1', '(a) b', 'a1 b'])
def test_other_texts_are_identifiers(value):
  assert fitted({'a': [value]}, ids='a').values('a') == [value]


def test_weights_in_prepared_data(tmp_path):
  """Of CSV and Parquet; the heaviest entries stay."""
  pairs = [[('x', 1.0), ('y', 2.5), ('z', 3.0)], None, [('y', 0.5)], []] * 5
  pairs = pairs[:10]
  texts = [
      None if p is None else '^'.join(f'{k}={w}' for k, w in p) for p in pairs]
  forms = {
      'log.csv': texts, 'texts.parquet': texts,
      'maps.parquet': pa.array(pairs, pa.map_(pa.string(), pa.float32())),
      'lists.parquet': [
          None if t is None else t.split('^') if t else [] for t in texts]}
  for name, column in forms.items():
    rows = table().append_column('pairs', pa.array(column))
    path = write(rows, tmp_path / name)
    data = prepared(
        tmp_path, path, ids='pairs:separator=^:weights==:max_len=2',
        min_count=1)
    train = read(data)['train']['pairs']
    names = Encoder.load(data.encoder_folder).values('pairs')
    assert [names[k - 2] for k in train.values] == ['z', 'y', 'y', 'z', 'y']
    assert train.weights.tolist() == [3, 2.5, 0.5, 3, 2.5]
    assert train.offsets.tolist() == [0, 2, 2, 3, 3, 5, 5]
    assert data.schema.field('pairs').weighted


def test_numbers_that_overflow_when_they_are_scaled():
  encoder = fitted({'a': [1e-3, 2e-3]}, float='a')
  message = "row 1: column 'a' is 3e.38; it must be nearer .* 0.0015 and 0.0005"
  with pytest.raises(InputError, match=message):
    encoder.encode({'a': [1.0, 3e38]}, 'x')
  assert np.isfinite(encoder.encode({'a': [1e34, None]})['a']).all()
  logs = fitted({'a': [3e38, -3e38, 0.0]}, float='a:scaling=log')
  assert np.isfinite(logs.encode({'a': [3.4e38]})['a']).all()
  plain = fitted({'a': [1.0, 2.0]}, float='a:scaling=none')
  assert plain.encode({'a': [3.4e38]})['a'] == np.float32(3.4e38)


def test_the_largest_numbers_leave_something_of_a_column():
  largest = 3.4e38
  encoder = fitted({'a': [largest, -largest, 0.0, 1e38]}, float='a')
  assert len(set(encoder.encode({'a': [largest, 0.0, 1e38]})['a'])) == 3


def test_an_encoder_of_an_earlier_version(tmp_path):
  """It has texts as they were written, and no options that are new."""
  encoder = fitted(
      {'a': ['True', '2022-04-01 12:30:00', 'x'], 'b': ['u', 'v', 'u|v']},
      id='a', ids='b')
  folder = str(tmp_path / 'encoder')
  encoder.save(folder)
  with open(os.path.join(folder, 'encoder.json'), encoding='utf-8') as f:
    about = json.load(f)
  assert list(about['inputs'][1]) == [
      'name', 'kind', 'min_count', 'max_values', 'table', 'max_len',
      'combiner', 'scaling']
  values = pa.table({'value': ['true', '2022-04-01T12:30:00.000000', 'x']})
  parquet.write_table(values, os.path.join(folder, 'vocabulary-000.parquet'))
  again = Encoder.load(folder)
  result = again.encode({
      'a': [True, 'TRUE', '2022-04-01 12:30', 'x', 'y'], 'b': [['u']] * 5})
  assert result['a'].tolist() == [2, 2, 3, 4, 1]
  encoder = fitted({'b': ['u^v']}, ids='b:separator=^')
  encoder.save(str(tmp_path / 'other'))
  assert Encoder.load(str(tmp_path / 'other')).inputs == encoder.inputs
