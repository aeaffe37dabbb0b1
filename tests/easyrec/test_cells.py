"""Buckets of a RawFeature and pairs of a ComboFeature."""

from esmm_jax.data.tabular.cells import buckets
from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.easyrec.convert import convert
import numpy as np
import pytest

from tests.easyrec import easyrec_configs
from tests.easyrec.test_forms import TORCH, TORCH_HEAD

PRICE, CROSS = 'feature_type: RawFeature', 'feature_type: ComboFeature'


def converted(price='', cross=''):
  """The result of the test's config with more options of two features."""
  text = easyrec_configs.config('MMoE')
  for start, more in ((PRICE, price), (CROSS, cross)):
    assert text.count(start) == 1
    text = text.replace(start, f'{start} {more}')
  return convert(text)


def there(value, bounds, low=0.0, high=0.0):
  """The bucket as TensorFlow numbers it, of what EasyRec's reader makes."""
  value = np.float32(value)
  if high > low:
    value = (value - np.float32(low)) / np.float32(high - low)
  return int(np.searchsorted(np.float32(bounds), value, 'right'))


@pytest.mark.parametrize('options, bounds, low, high', [
    ('boundaries: [0, 10, 100]', [0, 10, 100], 0, 0),
    ('boundaries: [10, 0.5]', [0.5, 10], 0, 0),
    ('boundaries: [0.1, 0.7] min_val: 0 max_val: 10', [.1, .7], 0, 10),
    ('num_buckets: 10 min_val: 0 max_val: 10', np.arange(10) / 10, 0, 10),
    ('num_buckets: 4 min_val: -2 max_val: 2', np.arange(4) / 4, -2, 2),
])
def test_buckets(options, bounds, low, high):
  result = converted(options)
  (option,) = [
      t for t in result.settings['dataset.id'].split(',') if 'price' in t]
  assert result.settings['dataset.float'] == ''
  column = TabularConfig(id=option).inputs[0]
  assert len(column.edges) == len(bounds) and column.name == 'price.bucket'
  values = np.array([-9, -2, -1, 0, .1, .5, 1, 5, 6.5, 7, 9, 10, 100, 1e6])
  names = buckets.names(column.edges)
  for value, text in zip(values, buckets.texts(values, column.edges).tolist()):
    assert names.index(text) == there(value, bounds, low, high), value
  assert 'price: stands under the name price.bucket' in '\n'.join(result.notes)


def test_buckets_of_a_normalised_number():
  result = converted("boundaries: [1, 2] normalizer_fn: 'tf.math.log1p'")
  assert result.settings['dataset.float'] == 'price'
  assert 'became the number itself' in '\n'.join(result.notes)


def test_no_bucket_without_a_range():
  assert converted('num_buckets: 4').settings['dataset.float'] == 'price'


@pytest.mark.parametrize('options, text', [
    ('', 'user*item'), ('hash_bucket_size: 70', 'user*item:max_values=70'),
    ("combo_join_sep: '_' ev_params { filter_freq: 3 }",
     'user*item:min_count=3')])
def test_a_cross(options, text):
  settings = converted(cross=options).settings
  assert settings['dataset.crosses'] == text
  (cross,) = TabularConfig(crosses=text).inputs
  assert cross.columns == ('user', 'item')


@pytest.mark.parametrize('options, why', [
    ("input_names: 'tags'", 'ComboFeature of user, item, tags is left out; a'
     ' cross is of two columns; make such a column'),
    ("combo_input_seps: ['|', '']", 'a cross is of columns of one value'),
])
def test_crosses_that_are_left_out(options, why):
  result = converted(cross=options)
  assert 'dataset.crosses' not in result.settings
  assert why in '\n'.join(result.notes)


@pytest.mark.parametrize(
    'column, kind', [('tags', 'list'), ('price', 'number')])
def test_a_cross_of_no_single_value(column, kind):
  text = easyrec_configs.config('MMoE').replace(
      "['user', 'item']", f"['user', '{column}']")
  result = convert(text)
  assert 'dataset.crosses' not in result.settings
  assert f'cross: is left out; {column} is a {kind}' in '\n'.join(result.notes)


def test_buckets_of_torch():
  text = TORCH_HEAD.replace(
      "normalizer: 'method=log10'", 'boundaries: [1, 2.5] embedding_dim: 8')
  result = convert(text + TORCH['mmoe'])
  assert result.settings['dataset.id'].endswith('price:edges=1|2.5')
  assert 'boundaries: a number that is one' in '\n'.join(result.notes)
