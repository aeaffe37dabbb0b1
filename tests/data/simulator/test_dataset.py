"""The simulated log as a prepared data set."""

from esmm_jax.data.simulator.config import simulator_config
from esmm_jax.data.simulator.dataset import CART_TRUTH, Simulator
from esmm_jax.data.simulator.dataset import simulator_schema, TRUTH
from esmm_jax.data.simulator.log import SimulatedLog
from esmm_jax.schema import Field, Schema
from esmm_jax.tasks import CART_FUNNEL, FUNNEL
from esmm_jax.types import InputError, Ragged
import numpy as np
import pytest

from tests.data.simulator.logs import assert_same, SMALL

pytestmark = pytest.mark.slow


def make_builder(tmp_path, **dials):
  dials = SMALL | dials
  return Simulator.from_options(str(tmp_path), 'default', **dials)


@pytest.fixture(scope='module')
def built(tmp_path_factory):
  return make_builder(tmp_path_factory.mktemp('simulator')).prepare()


def test_tasks_and_truth_of_each_number_of_stages():
  two, three = (
      simulator_schema(simulator_config('tiny', stages=n)) for n in (2, 3)
  )
  assert (two.tasks, two.truth) == (FUNNEL, TRUTH)
  assert three.tasks == CART_FUNNEL
  assert three.labels == ('click', 'cart', 'conversion')
  assert three.truth == (*TRUTH, 'p_atr', 'cart_if_clicked')
  assert two.fields == three.fields
  for name in ('cart', 'cart_if_clicked', 'p_atr'):
    with pytest.raises(InputError, match='cannot be a feature'):
      Schema(
          (*three.fields, Field(name, 'float')), three.tasks, truth=three.truth
      )


def test_a_prepared_cart(tmp_path):
  builder = Simulator.from_options(str(tmp_path), 'cart', **SMALL)
  assert builder.prepare().schema == simulator_schema(builder.builder_config)
  expected, start = builder.columns(0, 4_500), 0
  for split, num_rows in (('train', 3_000), ('valid', 500), ('test', 1_000)):
    source, truth = builder.as_data_source(split), builder.truth_source(split)
    assert set(truth.names) == {*TRUTH, *CART_TRUTH}
    rows = slice(start, start + num_rows)
    cart = source.read(0, num_rows)['cart']
    np.testing.assert_array_equal(cart, expected['cart'][rows])
    columns = truth.read(0, num_rows)
    for name in CART_TRUTH:
      np.testing.assert_array_equal(columns[name], expected[name][rows])
    counts = builder.report[split]
    assert counts['carts'] == cart.sum()
    assert counts['clicks'] > counts['carts'] > counts['conversions']
    start += num_rows


def test_prepared_rows_are_the_rows_of_the_log(built):
  expected = built.columns(0, 4_500)
  start = 0
  for split, num_rows in (('train', 3_000), ('valid', 500), ('test', 1_000)):
    source, truth = built.as_data_source(split), built.truth_source(split)
    assert len(source) == len(truth) == num_rows
    columns = source.read(0, num_rows) | truth.read(0, num_rows)
    assert columns.keys() == expected.keys()
    for name, column in columns.items():
      if not isinstance(column, Ragged):
        rows = expected[name][start : start + num_rows]
        np.testing.assert_array_equal(column, rows)
    assert built.report[split]['rows'] == num_rows
    assert built.report[split]['clicks'] == columns['click'].sum()
    assert 'carts' not in built.report[split]
    start += num_rows
  history = built.as_data_source('train').read(0, 3_000)['history']
  end = expected['history'].offsets[3_000]
  np.testing.assert_array_equal(
      history.weights, expected['history'].weights[:end]
  )
  assert built.report['train']['unseen_users'] == 0
  assert built.report['test']['unseen_items'] > 0


def test_the_truth_is_apart(built):
  schema, source = built.schema, built.as_data_source('train')
  assert schema == simulator_schema(built.builder_config)
  assert not set(TRUTH) & set(source.names)
  assert not set(TRUTH) & {field.name for field in schema.fields}
  assert set(built.truth_source('train').names) == set(TRUTH)
  assert schema.truth == TRUTH
  for name in (*TRUTH, 'click', 'conversion'):
    with pytest.raises(InputError, match='cannot be a feature'):
      Schema((*schema.fields, Field(name, 'float')), truth=schema.truth)


def test_the_schema(built):
  schema = built.schema
  assert schema.group == 'group_user'
  assert 'group_user' not in {field.name for field in schema.fields}
  assert 'group_user' in built.as_data_source('test').names
  assert schema.labels == ('click', 'conversion')
  assert schema.field('history').table == 'category'
  assert schema.field('seen_category').table == 'seen_category'
  assert schema.field('user').vocab_size == 2_000 + 2
  assert schema.field('gender').vocab_size == 2 + 2
  assert len(schema.row_part.id_fields) == 15 and len(schema.float_fields) == 1


def test_slices_of_splits(built):
  train = built.as_data_source('train').read(0, 3_000, ['item'])['item']
  tenth = built.as_data_source('train[:10%]')
  np.testing.assert_array_equal(tenth.read(0, 300)['item'], train[:300])
  assert len(tenth) == 300
  both = built.as_data_source('train+valid')
  assert len(both) == 3_500
  valid = built.as_data_source('valid').read(0, 500)['item']
  np.testing.assert_array_equal(both.read(2_990, 3_500)['item'][10:], valid)
  assert len(built.truth_source('train+valid')) == 3_500


def test_a_split_of_no_rows_is_left_out(tmp_path):
  builder = make_builder(tmp_path, num_valid=0).prepare()
  assert sorted(builder.info.splits) == ['test', 'train']


def test_several_shards(tmp_path, monkeypatch, built):
  monkeypatch.setattr('esmm_jax.data.simulator.dataset.SHARD_ROWS', 1_024)
  builder = make_builder(tmp_path).prepare()
  assert builder.info.splits['train'].shard_lengths == [1_024, 1_024, 952]
  for split, num_rows in (('train', 3_000), ('test', 1_000)):
    assert_same(
        builder.as_data_source(split).read(0, num_rows),
        built.as_data_source(split).read(0, num_rows),
    )


def test_an_interrupted_build_leaves_nothing(tmp_path, monkeypatch):
  columns = SimulatedLog.columns

  def fail_in_test_rows(self, start, stop):
    if start >= 3_500:
      raise KeyboardInterrupt
    return columns(self, start, stop)

  with monkeypatch.context() as patch:
    patch.setattr(SimulatedLog, 'columns', fail_in_test_rows)
    with pytest.raises(KeyboardInterrupt):
      make_builder(tmp_path).prepare()
  builder = make_builder(tmp_path)
  assert not builder.info.splits
  builder.prepare()
  assert len(builder.as_data_source('test')) == 1_000
  assert len(make_builder(tmp_path).as_data_source('train')) == 3_000
