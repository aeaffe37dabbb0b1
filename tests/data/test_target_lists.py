"""Lists of a log with a target: one vocabulary, and what is refused."""

import json

from esmm_jax.data.tabular import growing
from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.tabular.dataset import Tabular
from esmm_jax.data.tabular.encoder import Encoder
from esmm_jax.schema import Field, Schema
from esmm_jax.types import InputError
from pyarrow import parquet
import pyarrow as pa
import pytest

OPTIONS = dict(
    id='user,item', click='click', conversion='buy', split='column',
    split_column='part', min_count=1)
ATTENDS = 'past:combiner=attention:target=item'
LOG = {
    'user': [*'aabbccdd'],
    'item': [*'xyzxyzxw'],
    'past': [['y', 'v'], ['x'], [], None, ['z', 'x', 'v'], ['y'], ['x'], ['u']],
    'click': [1, 0, 1, 1, 0, 1, 1, 0],
    'buy': [1, 0, 0, 1, 0, 0, 0, 0],
    'part': ['train'] * 6 + ['valid', 'test'],
}


def prepared(tmp_path, log=None, **options):
  parquet.write_table(pa.table(LOG | (log or {})), tmp_path / 'log.parquet')
  return Tabular.from_options(
      str(tmp_path / 'data'), files=str(tmp_path / 'log.parquet'),
      **OPTIONS | dict(ids=ATTENDS) | options).prepare()


def test_one_vocabulary(tmp_path):
  """Of the entries and of the targets; v comes in lists alone."""
  data = prepared(tmp_path, id='user,item:table=thing')
  field = data.schema.field('past')
  assert (field.table, field.combiner, field.target) == (
      'thing', 'attention', 'item')
  encoder = Encoder.load(data.encoder_folder)
  assert sorted(encoder.values('thing')) == [*'vxyz']
  ids = {value: k + 2 for k, value in enumerate(encoder.values('thing'))}
  source = data.as_data_source('train')
  rows = source.read(0, len(source))
  assert rows['item'].tolist() == [ids[x] for x in LOG['item'][:6]]
  assert rows['past'].values.tolist() == [ids[x] for x in 'yvxzxvy']
  assert encoder.inputs[2].target == 'item'
  assert Schema.from_dict(data.schema.to_dict()) == data.schema


def test_other_schemas_are_written_as_before(tmp_path):
  data = prepared(tmp_path, ids='past:table=item')
  assert 'target' not in json.dumps(data.schema.to_dict())
  assert set(Field('item').to_dict()) == {
      'name', 'kind', 'vocab_size', 'max_len', 'weighted', 'combiner', 'table',
      'by_group'}
  with open(f'{data.encoder_folder}/encoder.json', encoding='utf-8') as f:
    assert 'target' not in f.read()


COLUMNS = {
    'none': ('past:combiner=attention', 'combiner=attention needs a target'),
    'another combiner': (
        'past:target=item', 'target=item is for combiner=attention, not mean'),
    'missing': (
        'past:combiner=attention:target=itme',
        r"'itme' is none of the fields\. Did you mean 'item'"),
    'kind': (
        'tags,past:combiner=attention:target=tags',
        "'tags' is of kind 'ids'; attention compares"),
    'number': (
        'past:combiner=attention:target=price', "'price' is of kind 'float'"),
    'itself': (
        'past:combiner=attention:target=past', 'its target is the list itself'),
    'table': (
        f'{ATTENDS}:table=other',
        "its table is 'other' and that of its target 'item' is 'item'"),
    'min_count': (
        f'{ATTENDS}:min_count=5', "share the table 'item', but min_count is"),
}


@pytest.mark.parametrize('case', COLUMNS)
def test_columns_that_are_refused(case):
  text, message = COLUMNS[case]
  with pytest.raises(InputError, match=message) as e:
    TabularConfig.from_options(
        OPTIONS | dict(files='x.csv', ids=text, float='price'))
  assert '\n' not in str(e.value) and 'past' in str(e.value)


FIELDS = {
    'group': (dict(by_group=True), {}, 'is by_group'),
    'group of the target': ({}, dict(by_group=True), 'is by_group'),
    'weighted target': ({}, dict(weighted=True), "'item' is weighted"),
    'table of the target': ({}, dict(table='t'), "target 'item' is 't'"),
    'size': (dict(vocab_size=5), {}, '4 ids in another field and 5 here'),
    'kind': (dict(kind='id'), {}, 'combiner=attention is for kind "ids"'),
}


@pytest.mark.parametrize('case', FIELDS)
def test_fields_that_are_refused(case):
  more, of_target, message = FIELDS[case]
  options = dict(
      kind='ids', vocab_size=4, combiner='attention', target='item') | more
  with pytest.raises(InputError, match=message):
    Schema(
        (Field('item', vocab_size=4, **of_target), Field('past', **options)),
        group='user')


def test_a_selection_without_the_target(tmp_path):
  schema = prepared(tmp_path).schema
  with pytest.raises(InputError, match="'past': its target 'item' is none of"):
    schema.select(['user', 'past'])
  assert schema.select(['past', 'item']).field('past').target == 'item'


def test_a_list_without_an_entry(tmp_path):
  with pytest.raises(InputError, match=(
      "column 'past' has no entry in any training row, so nothing can be"
      " compared with its target 'item'")):
    prepared(tmp_path, {'past': pa.array([[]] * 8, pa.list_(pa.string()))})


def test_entries_of_another_kind(tmp_path):
  said = prepared(tmp_path, {'past': [['v', 'u']] * 8}).warnings
  assert any(
      "no entry of column 'past' is a value of its target 'item'" in text
      for text in said)


def test_a_vocabulary_that_grows_keeps_the_target():
  read = lambda text: TabularConfig.from_options(
      OPTIONS | dict(files='x.csv', ids=text)).inputs
  base = Encoder(read(ATTENDS), Schema((Field('user'),)), {}, {})
  growing.check_inputs(read(ATTENDS), base, 'here')
  with pytest.raises(InputError, match=(
      "'past' has .*combiner=mean,.*combiner=attention, target=item, no w")):
    growing.check_inputs(read('past:table=item'), base, 'here')
