"""Any rows of the simulated log: reproducible, with the right ids."""

from esmm_jax.data.simulator.dataset import simulator_schema
from esmm_jax.data.simulator.log import HISTORY_LENGTH, Ids, Seen
from esmm_jax.data.simulator.process import BLOCK
from esmm_jax.schema import RARE
from esmm_jax.types import InputError, Ragged
import numpy as np
import pytest

from tests.data.simulator.logs import assert_same, make_log, SIZES, SMALL
from tests.data.simulator.logs import STRANGE

pytestmark = pytest.mark.slow


def test_a_row_is_the_same_whatever_range_is_asked_for(strange):
  whole = strange.columns(0, 4_500)
  for start, stop in ((0, 10), (2_990, 3_010), (3_400, 3_600), (4_499, 4_500)):
    fresh = make_log(**STRANGE).columns(start, stop)
    for name, column in fresh.items():
      if isinstance(column, Ragged):
        low, high = whole[name].offsets[[start, stop]]
        expected = Ragged(
            whole[name].values[low:high],
            whole[name].offsets[start : stop + 1] - low,
            whole[name].weights[low:high],
        )
      else:
        expected = whole[name][start:stop]
      assert_same({name: column}, {name: expected})


def test_rows_are_the_same_across_blocks():
  dials = dict(num_train=2 * BLOCK, num_valid=0, num_test=10)
  whole = make_log(**dials).columns(0, 2 * BLOCK)
  part = make_log(**dials).columns(BLOCK - 5, BLOCK + 5)
  part.pop('history')
  rows = slice(BLOCK - 5, BLOCK + 5)
  assert_same(part, {name: whole[name][rows] for name in part})


def test_the_seed_decides():
  first, again, other = (
      make_log(**SMALL, seed=seed).columns(0, 4_500) for seed in (3, 3, 4)
  )
  assert_same(first, again)
  for name in ('group_user', 'item', 'p_ctr', 'click', 'gender'):
    assert (first[name] != other[name]).any(), name


def test_other_sizes_of_valid_and_test_leave_training_rows():
  small = make_log(**SMALL).columns(0, 3_000)
  large = make_log(**SMALL | dict(num_valid=0, num_test=9_000))
  assert_same(small, large.columns(0, 3_000))


@pytest.mark.parametrize('start, stop', [(-1, 5), (5, 5), (9, 3), (0, 4_501)])
def test_rows_that_are_not_there(strange, start, stop):
  with pytest.raises(InputError, match='there are 4500'):
    strange.columns(start, stop)


def test_ids_are_within_the_vocabulary(strange):
  schema = simulator_schema(strange.config)
  columns = strange.columns(0, 4_500)
  for field in schema.inputs:
    column = columns[field.name]
    ids = column.values if isinstance(column, Ragged) else column
    assert ids.dtype == np.int32
    assert ids.max() < field.vocab_size
    assert ids.min() >= (0 if field.name == 'seen_category' else 1)
  missing = columns['seen_category'] == 0
  np.testing.assert_array_equal(missing, columns['seen_count'] == 0)
  assert 0 < missing.mean() < 1


def test_unseen_values_are_1_after_training_and_nowhere_else(strange):
  schema = simulator_schema(strange.config)
  train, rest = strange.columns(0, 3_000), strange.columns(3_000, 4_500)
  world = strange.process.world
  shown = strange.process.expose(0)
  raw = dict(world.profile, user=np.arange(world.num_users))
  raw = {name: values[shown.user[:4_500]] for name, values in raw.items()}
  for name, values in (
      ('item', np.arange(world.num_items)),
      ('shop', world.shop),
      ('brand', world.brand),
  ):
    raw[name] = values[shown.item[:4_500]]
  for name, values in raw.items():
    np.testing.assert_array_equal(train[name], values[:3_000] + 2, name)
    known = np.isin(values[3_000:], values[:3_000])
    expected = np.where(known, values[3_000:] + 2, RARE)
    np.testing.assert_array_equal(rest[name], expected, name)
  assert (rest['item'] == RARE).mean() > 0.3
  assert (rest['user'] == RARE).any()
  # Tables of several fields, and lists: seen in any of a table's fields.
  for table in {field.table for field in schema.row_part.id_fields}:
    fields = [
        f.name
        for f in schema.inputs
        if f.table == table
    ]
    seen = np.unique(np.concatenate([flat(train[name]) for name in fields]))
    assert RARE not in seen
    for name in fields:
      assert np.isin(flat(rest[name]), np.append(seen, [0, RARE])).all(), name
  assert (rest['seen_category'] == RARE).any()
  assert len(np.unique(rest['group_user'])) > len(np.unique(rest['user']))


def test_items_and_histories_share_the_known_categories(strange):
  world, seen = strange.process.world, Seen(strange.process.world)
  seen.user[7] = seen.item[11] = True
  ids = Ids(world, seen)
  met = world.history_table(HISTORY_LENGTH)[0][7, : ids.history_length[7]]
  known = np.append(met, world.category[11])
  expected = np.where(
      np.isin(world.category, known), world.category + 2, RARE
  )
  np.testing.assert_array_equal(ids.item['category'], expected)
  histories = ids.history[ids.is_entry]
  assert set(histories.tolist()) == {RARE, *(known + 2).tolist()}
  assert (ids.user['user'] == RARE).sum() == world.num_users - 1
  assert (ids.seen_category == RARE).all()


def flat(column):
  return column.values if isinstance(column, Ragged) else column


def test_histories_are_sorted_and_agree_with_seen_category(plain):
  log = make_log(**SIZES)
  world = log.process.world
  history = plain['history']
  assert history.values.dtype == np.int32
  assert history.weights.dtype == np.float32
  lengths = np.diff(history.offsets)
  assert lengths.min() >= 1 and lengths.max() == HISTORY_LENGTH
  weight_of = {
      (user, category): weight
      for user, category, weight in zip(
          world.history_user.tolist(),
          world.history_category.tolist(),
          world.history_weight,
      )
  }
  for row in range(0, 4_000, 9):
    entries = slice(*history.offsets[row : row + 2])
    ids, weights = history.values[entries], history.weights[entries]
    user = int(plain['group_user'][row])
    pairs = list(zip(-weights, ids))
    assert pairs == sorted(pairs)
    own = world.history_user == user
    everything = sorted(
        zip(-world.history_weight[own], world.history_category[own] + 2)
    )
    assert pairs == everything[:HISTORY_LENGTH]
    category = int(plain['category'][row]) - 2
    count = weight_of.get((user, category), 0)
    assert plain['seen_count'][row] == np.float32(count)
    assert plain['seen_category'][row] == (category + 2 if count else 0)
