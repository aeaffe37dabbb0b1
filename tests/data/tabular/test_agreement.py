"""Keys of the dataset section that must agree: all pairs of them."""

import itertools

from esmm_jax.data.tabular import agreement, splits
from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.tabular.inputs import parse_inputs
from esmm_jax.types import InputError
import pytest

from configs import common

# Every key that names a column, with what makes it read.
KEYS = {
    'id': {},
    'ids': {},
    'float': {},
    'click': {},
    'cart': {},
    'conversion': {},
    'group': {},
    'time': dict(split='time'),
    'split_by': dict(split='random'),
    'split_column': dict(split='column'),
}
INPUTS, LABELS = {'id', 'ids', 'float'}, {'click', 'cart', 'conversion'}
SPLIT = {'time', 'split_by', 'split_column'}
# Pairs that may name one column, and why the others may not.
TOGETHER = {
    ('group', 'split_by'), ('group', 'time'),
    *((kind, key) for kind in INPUTS for key in ('group', 'split_by', 'time'))}
PAIRS = list(itertools.combinations_with_replacement(KEYS, 2))


def why_not(one, two):
  """What a pair is refused with; '' if it is allowed."""
  if (one, two) in TOGETHER or (two, one) in TOGETHER:
    return ''
  if {one, two} <= SPLIT:
    return 'belongs to dataset.split='  # Each is of another rule.
  if {one, two} <= INPUTS:
    return "'x' is named twice"
  if {one, two} <= LABELS:
    return "are both 'x'; they would always be equal"
  if one in INPUTS and two in LABELS:
    return "'x' is a label; it cannot be an input"
  if {one, two} & LABELS:
    return "'x' is used for .*a label is not known before"
  return "'x' is used for .*one value in the training rows"


def section(one, two):
  """Both keys name x; the rest is what a log needs."""
  options = dict(files='x.csv', id='user', click='a', conversion='b')
  options |= {one: 'x', two: 'x'}
  if one == two:
    options[one] = 'x,x'
  for key in (one, two):
    options |= KEYS[key]
  return options


@pytest.mark.parametrize('one, two', PAIRS)
def test_one_column_for_two_keys(one, two):
  if one == two and one not in INPUTS:
    return  # It names one column.
  words = why_not(one, two)
  if not words:
    assert 'x' in TabularConfig.from_options(section(one, two)).read
    return
  with pytest.raises(InputError, match=words) as e:
    TabularConfig.from_options(section(one, two))
  for key in {one, two} & ({'group'} if {one, two} <= SPLIT else SPLIT):
    assert f'dataset.{key}' in str(e.value)


def test_all_keys_that_name_columns_are_tried():
  texts = {k for k, v in common.tabular().items() if v == '' or k in KEYS}
  others = {'files', 'valid_files', 'test_files', 'valid_from', 'test_from'}
  assert set(KEYS) | others == texts


def test_two_labels_of_one_column_may_differ():
  """A comparison names a column too; labels differ where their texts do."""

  class Event(str):
    column = 'action'

  events = {'click': Event('action>0'), 'conversion': Event('action>1')}
  agreement.check_columns([], events, {})
  with pytest.raises(InputError, match="'action' is used for the label"):
    agreement.check_columns([], events, {'group': 'action'})


# Option -> a value, and the rules that read it.
OF_RULES = {
    'split_by': ('u', {'random', 'files'}),
    'split_seed': (3, {'random', 'files'}),
    'split_column': ('p', {'column'}),
    'time': ('t', {'time'}),
    'valid_from': ('3', {'time'}),
    'test_from': ('4', {'time'}),
    'valid_share': (0.2, {'random', 'time', 'files'}),
    'test_share': (0.2, {'random', 'time'}),
    'valid_files': ('v.csv', {'files'}),
    'test_files': ('w.csv', {'files'}),
}
NEEDED = dict(time=dict(time='t'), column=dict(split_column='p'),
              files=dict(test_files='w.csv', valid_share=0.2), random={})


@pytest.mark.parametrize('rule', splits.RULES)
@pytest.mark.parametrize('option', OF_RULES)
def test_an_option_is_of_a_rule(rule, option):
  value, rules = OF_RULES[option]
  options = dict(files='x.csv', id='user', split=rule) | NEEDED[rule]
  options[option] = value
  if option == 'valid_files':
    options.pop('valid_share', None)
  if rule in rules:
    assert getattr(TabularConfig.from_options(options), option) == value
    return
  with pytest.raises(InputError, match=f'dataset.{option} belongs to dataset.'
                     f"split=.*but dataset.split is '{rule}'"):
    TabularConfig.from_options(options)


@pytest.mark.parametrize('options, words', [
    (dict(split='time', time='t', valid_from='3', valid_share=0.2),
     'valid_from and valid_share both define'),
    (dict(split='time', time='t', test_from='3', test_share=0.1),
     'test_from and test_share both define'),
    (dict(split='files', test_files='w', valid_files='v', valid_share=0.1),
     'valid_files and valid_share both define'),
    (dict(split='files', test_files='w', split_by='user'),
     'set dataset.valid_share, or leave dataset.split_by out'),
    (dict(split='files'), 'dataset.test_files is empty'),
    (dict(split='time'), 'dataset.time is empty'),
    (dict(split='column'), 'dataset.split_column is empty'),
    (dict(valid_share=0.95), 'leave no rows to train on'),
])
def test_two_options_that_contradict_each_other(options, words):
  with pytest.raises(InputError, match=words):
    TabularConfig.from_options(dict(files='x.csv', id='user') | options)


@pytest.mark.parametrize('text, words', [
    ('a:table=t:min_count=5,b:table=t:min_count=5', ''),
    ('a:table=t,b:table=t:min_count=2', ''),
    ('a:table=b,b', ''),
    ('a:max_values=9,b:max_values=8', ''),
    ('a:table=t:min_count=2,b:table=t:min_count=5', 'min_count is 2 .* and 5'),
    ('a:table=t:max_values=9,b:table=t', 'max_values is 9 .* and 0'),
    ('a:table=b:min_count=7,b', "'a' and 'b' share the table 'b'"),
    ('c,a:table=t,d,b:table=t:min_count=3', "'a' and 'b' share"),
])
@pytest.mark.parametrize('kinds', [('id',), ('ids',), ('id', 'ids')])
def test_options_of_a_shared_table(text, words, kinds):
  inputs = [c for k, part in enumerate(text.split(','))
            for c in parse_inputs(kinds[k % len(kinds)], part, 2)]
  if not words:
    agreement.check_tables(inputs)
    return
  with pytest.raises(InputError, match=words):
    agreement.check_tables(inputs)


@pytest.mark.parametrize('options, names', [
    ({}, ['train', 'valid', 'test']),
    (dict(valid_share=0.0), ['train', 'test']),
    (dict(test_share=0.0), ['train', 'valid']),
    (dict(split='time', time='t', valid_from='3', test_share=0.0),
     ['train', 'valid']),
    (dict(split='time', time='t', test_from='3', valid_share=0.0),
     ['train', 'test']),
    (dict(split='column', split_column='p'), ['train', 'valid', 'test']),
    (dict(split='files', test_files='w'), ['train', 'test']),
    (dict(split='files', test_files='w', valid_files='v'),
     ['train', 'valid', 'test']),
    (dict(split='files', test_files='w', valid_share=0.1),
     ['train', 'valid', 'test']),
    (dict(split='files', test_files='w', valid_share=0.0), ['train', 'test']),
])
def test_the_splits_are_known_before_the_log_is_read(options, names):
  config = TabularConfig.from_options(dict(files='x', id='user') | options)
  assert list(config.split_names) == names


# Sections, and the hashes that the version before these checks gave them.
HASHES = {
    '441fe1be9ff8': {},
    '94bf9e7769d8': dict(split='time', time='t', valid_from='3', test_from='4'),
    '28d90e102d3f': dict(split='time', time='t'),
    'bbf728350039': dict(split='column', split_column='p'),
    'e5ebc7ea5da2': dict(split='files', test_files='/w.csv'),
    '2d3b5fdd3e16': dict(
        split='files', test_files='/w.csv', valid_files='/v.csv'),
    'df1781ccd342': dict(
        split_by='u', split_seed=3, valid_share=0.2, test_share=0.3),
}
# What is split in another way now is other data.
CHANGED = {
    'b88c40edeec1': dict(split='time', time='t', test_from='4'),
    'e5ebc7ea5da2': dict(split='files', test_files='/w.csv', valid_share=0.1),
}


@pytest.mark.parametrize('name, options', [*HASHES.items(), *CHANGED.items()])
def test_data_of_earlier_versions(name, options):
  config = TabularConfig(files='/x.csv', id='a', **options)
  assert (config.name == name) == (HASHES.get(name) == options)
