"""Schema: what it refuses, and where each field lies in the one table."""

import dataclasses
import json

from esmm_jax.schema import Field, Schema
from esmm_jax.tasks import CLICK, Task
from esmm_jax.types import InputError
from hypothesis import given, strategies as st
import pytest

from tests import toy


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(kind='text'), ["'age'", "'text'", "'float'"]),
        (dict(kind='ids', combiner='max'), ["'age'", "'max'", "'mean'"]),
        (dict(kind='id', max_len=2), ["'age'", 'max_len', "'id'"]),
        (dict(kind='float', by_group=True), ["'age'", 'by_group']),
        (dict(kind='float', max_len=2), ["'age'", 'max_len', "'float'"]),
        (dict(kind='float', weighted=True), ["'age'", 'weighted']),
        (dict(kind='ids', max_len=0), ["'age'", 'max_len', 'at least 1']),
    ],
)
def test_a_field_that_cannot_be(options, words):
  with pytest.raises(InputError) as e:
    Field('age', **options)
  assert all(word in str(e.value) for word in words), str(e.value)


@pytest.mark.parametrize('kind', ['id', 'ids', 'float'])
def test_own_labels_and_truth_are_refused_as_features(kind):
  field = Field('bought', kind)
  with pytest.raises(InputError, match="'bought'"):
    Schema((field,), tasks=(CLICK, Task('cvr', 'bought', 'ctr')))
  with pytest.raises(InputError, match="'bought'"):
    Schema((field,), truth=('bought',))
  assert Schema((field,)).field('bought') is field


def test_a_field_twice():
  with pytest.raises(InputError, match="'user' is declared twice"):
    Schema((Field('user', vocab_size=3), Field('x'), Field('user', 'float')))


def test_a_shared_table_has_one_size():
  item = Field('item', vocab_size=5)
  with pytest.raises(InputError) as e:
    Schema((item, Field('seen', 'ids', vocab_size=6, table='item')))
  for word in ("'seen'", "'item'", '5 ids', '6 here'):
    assert word in str(e.value)
  # A float field has no rows, whatever table its name would be.
  Schema((item, Field('price', 'float', table='item')))


def test_table_defaults_to_the_name():
  assert Field('user').table == 'user'
  assert Field('seen', table='item').table == 'item'


def test_places():
  """Slots: `id` fields first, then lists, each in order of declaration."""
  schema = toy.SCHEMA
  names = lambda fields: [f.name for f in fields]
  assert names(schema.row_part.id_fields) == ['user', 'item']
  assert names(schema.row_part.pooled_fields) == ['history', 'tags']
  assert names(schema.float_fields) == ['serial', 'price']
  assert schema.row_part.columns == {
      'user': slice(0, 1),
      'item': slice(1, 2),
      'history': slice(2, 5),
      'tags': slice(5, 7),
  }
  assert schema.num_slots == 2 + 3 + 2
  assert schema.num_inputs == 4
  # `history` has no rows of its own.
  assert schema.offsets == {'user': 0, 'item': 60, 'tags': 100}
  assert schema.num_rows == 60 + 40 + 7


def test_floats_only():
  schema = Schema((Field('x', 'float'), Field('y', 'float')))
  assert (schema.num_slots, schema.num_rows, schema.num_inputs) == (0, 1, 0)
  assert schema.offsets == {} and schema.row_part.columns == {}


@st.composite
def funnels(draw):
  """Up to 5 tasks, in any order, with all that a task can declare."""
  tasks = [Task('t0', 'l0')]
  for k in range(1, draw(st.integers(1, 5))):
    events = [t.name for t in tasks if t.kind == 'binary']
    tasks.append(
        Task(
            f't{k}',
            f'l{k}',
            draw(st.sampled_from(['', *events])),
            draw(st.sampled_from(['binary', 'regression'])),
            joint=draw(st.sampled_from(['', f'joint{k}'])),
            past=draw(st.sampled_from(['', f'past{k}'])),
        )
    )
  return tuple(draw(st.permutations(tasks)))


@st.composite
def schemas(draw):
  """Schemas of up to 8 fields on up to 3 shared tables."""
  sizes = draw(st.lists(st.integers(1, 50), min_size=3, max_size=3))
  fields = []
  for k in range(draw(st.integers(1, 8))):
    kind = draw(st.sampled_from(['id', 'ids', 'float']))
    table = draw(st.integers(0, 2))
    options = {}
    if kind != 'float':
      options = dict(vocab_size=sizes[table], table=f't{table}')
    if kind == 'ids':
      options['max_len'] = draw(st.integers(1, 4))
      options['weighted'] = draw(st.booleans())
      options['combiner'] = draw(st.sampled_from(['sum', 'mean']))
    fields.append(Field(f'f{k}', kind, **options))
  return Schema(tuple(fields), draw(funnels()), group='g', truth=('t',))


@given(schemas())
def test_tables_and_slots_neither_overlap_nor_leave_gaps(schema):
  rows = sorted(
      row
      for table, start in schema.offsets.items()
      for row in range(
          start,
          start
          + next(f.vocab_size for f in schema.fields if f.table == table),
      )
  )
  assert rows == list(range(schema.num_rows if schema.inputs else 0))
  slots = [s for c in schema.row_part.columns.values()
           for s in range(c.start, c.stop)]
  assert slots == list(range(schema.num_slots))


@given(schemas())
def test_to_dict_and_back_through_json(schema):
  text = json.dumps(schema.to_dict())
  again = Schema.from_dict(json.loads(text))
  assert again == schema
  assert again.tasks == schema.tasks and again.labels == schema.labels


def test_select():
  schema = toy.SCHEMA.select(['price', 'item'])
  assert [f.name for f in schema.fields] == ['price', 'item']
  assert schema.offsets == {'item': 0} and schema.num_rows == 40
  assert (schema.labels, schema.group, schema.truth) == (
      toy.SCHEMA.labels, toy.SCHEMA.group, toy.SCHEMA.truth)
  with pytest.raises(InputError, match="No field 'itme'.*'item'"):
    toy.SCHEMA.select(['itme'])
  with pytest.raises(InputError, match="'item' is declared twice"):
    toy.SCHEMA.select(['item', 'item'])


def test_with_vocab_sizes_reaches_every_field_of_a_table():
  schema = toy.SCHEMA.with_vocab_sizes({'item': 99})
  sizes = {f.name: f.vocab_size for f in schema.fields}
  assert sizes == dict(
      user=60, item=99, history=99, tags=7, serial=0, price=0)
  assert toy.SCHEMA.field('item').vocab_size == 40


def test_schemas_do_not_change():
  with pytest.raises(dataclasses.FrozenInstanceError):
    toy.SCHEMA.group = 'user'
