"""Values of options at and beyond what a number of theirs can be."""

import numpy as np
import pytest

from esmm_jax.data.ali_ccp.dataset import AliCcp
from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.training import parts
from esmm_jax.types import InputError

BASE = {'files': 'log.csv', 'id': 'user,item', 'float': 'price'}
NUMBERS = (-2**63, -1, 0, 2**31, 2**63, 2**64, 10**30, 1e30, float('nan'))
ALLOWED = {
    'split_seed': (0, 2**31, 2**63),
    'min_count': (),
    'shard_rows': (),
}
LISTS = (',', ',,', ' ', 'user,', ',user', 'user,,item', ':', 'user:', '""',
         "''", ' , ')


@pytest.mark.parametrize('value', NUMBERS)
@pytest.mark.parametrize('name', ALLOWED)
def test_whole_numbers(name, value):
  options = BASE | {name: value}
  if type(value) is int and value in ALLOWED[name]:
    assert getattr(TabularConfig.from_options(options), name) == value
    return
  with pytest.raises(InputError, match=name):
    TabularConfig.from_options(options)


@pytest.mark.parametrize('value', [-1, 0, 2**31, 2**63, '1e30', 'x', ''])
@pytest.mark.parametrize('option', ['min_count', 'max_values', 'max_len'])
def test_options_of_columns(option, value):
  column = f'tags:{option}={value}'
  if value == 0 and option == 'max_values':
    assert TabularConfig(**BASE, ids=column).inputs[2].max_values == 0
    return
  with pytest.raises(InputError, match=f'tags.*{option}'):
    TabularConfig(**BASE, ids=column)


@pytest.mark.parametrize('text', LISTS)
@pytest.mark.parametrize('option', ['id', 'ids', 'float', 'labels'])
def test_empty_items_of_lists(option, text):
  """They are left out or refused with their option; nothing else is raised."""
  options = {'files': 'log.csv', 'float': 'price', option: text}
  try:
    config = TabularConfig(**options)
  except InputError as e:
    assert 'dataset' in str(e)
  else:
    assert all(column.name.strip() for column in config.inputs)
    assert all(event.column.strip() for event in config.events.values())


@pytest.mark.parametrize('text', [' ', '""', "''", '  ""'])
@pytest.mark.parametrize('option', ['click', 'cart', 'conversion'])
def test_a_label_without_a_column(option, text):
  words = f'dataset.{option}: .* names no column'
  with pytest.raises(InputError, match=words):
    TabularConfig(**BASE | {option: text})


@pytest.mark.parametrize('value', ['x', '', 0, -1, 2**31, 1e30, True])
def test_the_length_of_a_history(value, tmp_path):
  with pytest.raises(InputError, match='history_length'):
    AliCcp.from_options(str(tmp_path), value)


def test_what_is_no_option(tmp_path):
  with pytest.raises(InputError, match='dataset.data_dir is set, but'):
    parts.data_builder({'name': 'tabular', 'data_dir': 'x'}, str(tmp_path))


EMPTY = ('train[5:5]', 'train[:0]', 'train[5:2]', 'train[50%:20%]',
         'train[10%:5]', 'train[5:2]+test', 'test+train[-1:5]')
NOT_SPLITS = ('', 'train[', 'train[]', 'train[:', 'train+', '+train', 'TRAIN',
              'train[:200%]', 'train[:1e3]', f'train[:{10**20}]', 'train[::2]',
              'train[3]', 'train ', 'train,test', 'train[a:b]', 'None')


@pytest.mark.parametrize('split', EMPTY + NOT_SPLITS)
def test_splits_that_are_none(toy, split):
  words = 'has no split' if split in NOT_SPLITS else (
      'has no rows')
  with pytest.raises(InputError, match=words):
    toy.as_data_source(split)


def test_splits_from_behind(toy):
  source = toy.as_data_source('train[-5:]')
  whole = toy.as_data_source('train')
  label = toy.schema.labels[0]
  last = whole.read(len(whole) - 5, len(whole), [label])[label]
  assert np.array_equal(source.read(0, 5, [label])[label], last)


def test_a_sum_of_splits(toy):
  both = len(toy.as_data_source('train')) + len(toy.as_data_source('test'))
  for split in ('train+test', 'train + test'):
    assert len(toy.as_data_source(split)) == both
