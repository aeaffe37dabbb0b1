"""Batches: each row once an epoch; a pure function of (seed, step, host)."""

import threading

from esmm_jax.data.batching import order as order_lib
from esmm_jax.data.batching.batches import Batches
from esmm_jax.data.batching.compacting import Compacter
from esmm_jax.data.batching.padding import pad_lists
from esmm_jax.data.batching.prefetching import prefetch
from esmm_jax.types import InputError, Ragged
from hypothesis import given, strategies as st
import numpy as np
import pytest

from tests import toy as toy_lib
from tests.toy import SCHEMA

USER, ITEM, TAGS = (SCHEMA.offsets[t] for t in ('user', 'item', 'tags'))


@pytest.fixture
def train(toy):
  return toy.as_data_source('train')


@pytest.fixture
def small_windows(monkeypatch):
  """Blocks of 7 rows, 3 to a window: 22 blocks and 8 windows in `train`."""
  monkeypatch.setattr(order_lib, 'BLOCK', 7)
  monkeypatch.setattr(order_lib, 'WINDOW', 3)


def serials(batch):
  """Numbers of the real rows of a batch."""
  return batch.floats[batch.where > 0, 0].astype(int).tolist()


def epoch_order(batches, epoch=0):
  steps = range(epoch * len(batches), (epoch + 1) * len(batches))
  return [i for step in steps for i in serials(batches(step))]


def assert_equal(a, b):
  """Two batches, bit for bit."""
  for name in ('rows', 'slots', 'weights', 'floats', 'where'):
    x, y = getattr(a, name), getattr(b, name)
    assert x.dtype == y.dtype, name
    np.testing.assert_array_equal(x, y, err_msg=name)
  assert a.labels.keys() == b.labels.keys()
  for name in a.labels:
    np.testing.assert_array_equal(a.labels[name], b.labels[name])


def expected_row(i, split='train'):
  """Table rows, weights, floats and labels of a row, from the formula."""
  whole = toy_lib.columns(split)
  history = toy_lib.entries(whole['history'], i)[:3].tolist()
  weights = toy_lib.entries(
      Ragged(whole['history'].weights, whole['history'].offsets), i
  )[:3].tolist()
  tags = toy_lib.entries(whole['tags'], i)[:2].tolist()
  pad = lambda x, n: x + [0] * (n - len(x))
  slots = [USER + whole['user'][i], ITEM + whole['item'][i]]
  slots += [ITEM + h for h in pad(history, 3)]
  slots += [TAGS + t for t in pad(tags, 2)]
  return (
      slots,
      pad(weights, 3) + pad([1] * len(tags), 2),
      [i, whole['price'][i]],
      {n: whole[n][i] for n in ('click', 'conversion')},
  )


def assert_rows_are_the_datas(batch, split='train'):
  slots = batch.rows[batch.slots] if len(batch.rows) else batch.slots
  for k, i in enumerate(serials(batch)):
    want_slots, weights, floats, labels = expected_row(i, split)
    assert slots[k].tolist() == want_slots
    np.testing.assert_array_equal(batch.weights[k], np.float32(weights))
    np.testing.assert_array_equal(batch.floats[k], np.float32(floats))
    assert {n: v[k] for n, v in batch.labels.items()} == labels


@pytest.mark.parametrize('compacted', [True, False])
@pytest.mark.parametrize('batch_size', [1, 32, 50, 149, 150, 151, 400])
def test_every_row_once_an_epoch(train, batch_size, compacted):
  """The last partial batch included, padded and masked."""
  batches = Batches(train, SCHEMA, batch_size, compacted=compacted)
  assert len(batches) == batches.steps_per_epoch == -(-150 // batch_size)
  assert sorted(epoch_order(batches)) == list(range(150))
  last = batches(len(batches) - 1)
  real = 150 - (len(batches) - 1) * batch_size
  assert last.where.tolist() == [1] * real + [0] * (batch_size - real)
  for x in (last.slots, last.weights, last.floats, *last.labels.values()):
    assert len(x) == batch_size
  assert not last.weights[real:].any() and not last.floats[real:].any()
  assert not any(label[real:].any() for label in last.labels.values())


@pytest.mark.parametrize('compacted', [True, False])
def test_batches_hold_the_rows_of_the_data(train, compacted):
  """Each list cut to its first entries, weights 0 where padded."""
  batches = Batches(train, SCHEMA, 64, compacted=compacted)
  for step in range(len(batches)):
    assert_rows_are_the_datas(batches(step))


def test_dtypes_and_shapes(train):
  batch = Batches(train, SCHEMA, 8)(0)
  assert (batch.slots.shape, batch.slots.dtype) == ((8, 7), np.int32)
  assert (batch.weights.shape, batch.weights.dtype) == ((8, 5), np.float32)
  assert (batch.floats.shape, batch.floats.dtype) == ((8, 2), np.float32)
  assert batch.where.dtype == np.float32
  assert batch.rows.dtype == np.int32
  assert set(batch.labels) == {'click', 'conversion'}
  assert {x.dtype for x in batch.labels.values()} == {np.dtype(np.float32)}


def test_slices_of_lists_across_shards(toy):
  source = toy.as_data_source('train[50:120]')
  batches = Batches(source, SCHEMA, 70, shuffle=False)
  assert serials(batches(0)) == list(range(50, 120))
  assert_rows_are_the_datas(batches(0))


def test_a_pure_function_of_seed_and_step(train, small_windows):
  """Random access, another order of calls and a new object: the same batch."""
  make = lambda: Batches(train, SCHEMA, 32, seed=3)
  one = make()
  in_order = list(one.iterate(0, 3 * len(one)))
  other = make()
  for step in np.random.default_rng(0).permutation(len(in_order)).tolist():
    assert_equal(in_order[step], other(step))
  assert_equal(in_order[11], make()(11))
  assert_equal(in_order[11], one(11))
  assert_equal(next(make().iterate(7, 8)), in_order[7])


def test_epochs_and_seeds_differ(train):
  orders = [
      tuple(epoch_order(Batches(train, SCHEMA, 32, seed=seed), epoch))
      for seed in (0, 1, 2)
      for epoch in (0, 1, 2)
  ]
  orders.append(tuple(range(150)))
  assert len(set(orders)) == 10
  assert {tuple(sorted(o)) for o in orders} == {tuple(range(150))}


@pytest.mark.parametrize('epoch', [0, 2])
def test_without_shuffling_the_order_is_the_files(train, small_windows, epoch):
  batches = Batches(train, SCHEMA, 32, shuffle=False)
  assert epoch_order(batches, epoch) == list(range(150))


@pytest.mark.parametrize('size', [0, -4])
def test_batch_sizes_that_cannot_be(train, size):
  with pytest.raises(InputError, match=f'batch_size is {size}; .* positive'):
    Batches(train, SCHEMA, size)


@pytest.mark.parametrize(
    'block, window', [(1, 1), (1, 1000), (7, 3), (10, 4), (50, 1), (149, 2),
                      (150, 1), (151, 64), (4096, 64)])
@pytest.mark.parametrize('batch_size', [13, 64])
def test_more_than_one_window(train, monkeypatch, block, window, batch_size):
  """A window holds whole blocks and is mixed; together every row once."""
  monkeypatch.setattr(order_lib, 'BLOCK', block)
  monkeypatch.setattr(order_lib, 'WINDOW', window)
  batches = Batches(train, SCHEMA, batch_size)
  num_blocks = -(-150 // block)
  sizes = [block] * (num_blocks - 1) + [150 - (num_blocks - 1) * block]
  for epoch in range(3):
    order = epoch_order(batches, epoch)
    assert sorted(order) == list(range(150))
    start, seen = 0, set()
    while start < 150:
      blocks = {i // block for i in order[start : start + block * window]}
      if len(blocks) > window:  # A window with the short block ends earlier.
        stop = start + block * (window - 1) + sizes[-1]
        blocks = {i // block for i in order[start:stop]}
      assert len(blocks) <= window and not blocks & seen
      start, seen = start + sum(sizes[b] for b in blocks), seen | blocks
    assert start == 150 and len(seen) == num_blocks


def test_the_order_of_blocks(train, monkeypatch):
  """Blocks are shuffled, not just the rows in them."""
  monkeypatch.setattr(order_lib, 'BLOCK', 10)
  monkeypatch.setattr(order_lib, 'WINDOW', 1)
  batches = Batches(train, SCHEMA, 50)
  orders = []
  for epoch in range(2):
    order = np.reshape(epoch_order(batches, epoch), (15, 10))
    blocks = order // 10
    assert (blocks == blocks[:, :1]).all()
    orders.append(blocks[:, 0].tolist())
    assert sorted(orders[-1]) == list(range(15)) != orders[-1]
    assert any(row.tolist() != sorted(row.tolist()) for row in order)
  assert orders[0] != orders[1]


def test_truth_labels(toy, train, small_windows):
  """Of the same rows, in any order; and only when asked for."""
  truth = toy.truth_source('train')
  batches = Batches(
      train, SCHEMA, 32, truth=truth, truth_labels=('conversion_if_clicked',))
  want = toy_lib.columns('train')['conversion_if_clicked']
  for step in range(len(batches)):
    batch = batches(step)
    got = batch.labels['conversion_if_clicked'][batch.where > 0]
    np.testing.assert_array_equal(got, want[serials(batch)])
    assert got.dtype == np.float32
  assert set(Batches(train, SCHEMA, 32, truth=truth)(0).labels) == {
      'click', 'conversion'}


def test_truth_labels_without_truth(train):
  with pytest.raises(InputError, match='conversion_if_clicked.*synthetic'):
    Batches(train, SCHEMA, 32, truth_labels=('conversion_if_clicked',))


@pytest.mark.parametrize('names', [
    ['user'], ['tags'], ['history', 'price'], ['serial'], ['price', 'user'],
])
def test_parts_of_the_schema(train, names):
  schema = SCHEMA.select(names)
  batch = Batches(train, schema, 50, shuffle=False)(1)
  whole = Batches(train, SCHEMA, 50, shuffle=False)(1)
  assert batch.slots.shape == (50, schema.num_slots)
  assert batch.floats.shape == (50, len(schema.float_fields))
  for name, columns in schema.row_part.columns.items():
    table = schema.field(name).table
    np.testing.assert_array_equal(
        batch.rows[batch.slots][:, columns] - schema.offsets[table],
        whole.rows[whole.slots][:, SCHEMA.row_part.columns[name]]
        - SCHEMA.offsets[table],
    )
  for k, f in enumerate(schema.float_fields):
    j = [g.name for g in SCHEMA.float_fields].index(f.name)
    np.testing.assert_array_equal(batch.floats[:, k], whole.floats[:, j])


# Compaction.


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=40),
    st.integers(1, 50),
)
def test_compact(ids, capacity):
  ids = np.array(ids, np.int32).reshape(-1, 1)
  rows, slots = Compacter(31)(ids, capacity)
  unique = len(set(ids[:, 0].tolist()))
  np.testing.assert_array_equal(rows[slots], ids)
  assert slots.shape == ids.shape
  assert (rows.dtype, slots.dtype) == (np.int32, np.int32)
  assert (np.diff(rows) > 0).all()
  assert (rows[:unique] < 31).all() and (rows[unique:] >= 31).all()
  assert len(rows) >= max(capacity, unique)


@pytest.mark.parametrize(
    'unique, capacity, expected',
    [(3, 5, 5), (5, 5, 5), (6, 5, 8), (8, 5, 8), (9, 5, 13), (3, 1, 4),
     (2, 1, 2), (1, 1, 1)],
)
def test_growth(unique, capacity, expected):
  """By half and one: 1, 2, 4, 7, 11 .. or 5, 8, 13 .. whatever the need."""
  rows, _ = Compacter(100)(np.arange(unique, dtype=np.int32), capacity)
  assert len(rows) == expected
  assert rows[unique:].tolist() == [100 + k for k in range(expected - unique)]


def test_rows_of_batches_are_unique_and_ascending(train):
  batches = Batches(train, SCHEMA, 32)
  for batch in batches.iterate(0, len(batches)):
    assert (np.diff(batch.rows) > 0).all()
    touched = np.unique(batch.rows[batch.slots])
    real = batch.rows[batch.rows < SCHEMA.num_rows]
    # Padding touches no row that the batch does not touch anyway.
    np.testing.assert_array_equal(touched, real)
    np.testing.assert_array_equal(
        touched, np.unique(batch.rows[batch.slots[batch.where > 0]]))


@pytest.mark.parametrize('batch_size', [1, 10, 1000])
def test_capacity_on_small_vocabularies(train, batch_size):
  """Never more than the vocabulary, nor than the slots of a batch."""
  batches = Batches(train, SCHEMA, batch_size)
  bound = (
      min(batch_size, 60) + min((1 + 3) * batch_size, 40)
      + min(2 * batch_size, 7))
  assert 1 <= batches.capacity <= bound
  for batch in batches.iterate(0, min(len(batches), 20)):
    assert len(batch.rows) == batches.capacity


def test_no_compaction(train):
  batches = Batches(train, SCHEMA, 32, compacted=False)
  assert batches.capacity == 0
  batch, compacted = batches(2), Batches(train, SCHEMA, 32)(2)
  assert batch.rows.shape == (0,)
  np.testing.assert_array_equal(compacted.rows[compacted.slots], batch.slots)


# Lists.


@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 9), st.floats(0.1, 5)), max_size=6),
        min_size=1,
        max_size=8,
    ),
    st.integers(1, 7),
    st.booleans(),
)
def test_pad_lists(lists, max_len, weighted):
  """The first `max_len` entries stand, in their order, with their weights."""
  flat = [entry for x in lists for entry in x]
  ragged = Ragged(
      np.array([v for v, _ in flat], np.int32),
      np.cumsum([0] + [len(x) for x in lists]),
      np.array([w for _, w in flat], np.float32) if weighted else None,
  )
  ids, weights = pad_lists(ragged, max_len)
  assert (ids.dtype, weights.dtype) == (np.int32, np.float32)
  for k, entries in enumerate(lists):
    kept = entries[:max_len]
    pad = [0] * (max_len - len(kept))
    assert ids[k].tolist() == [v for v, _ in kept] + pad
    want = [np.float32(w) if weighted else 1 for _, w in kept] + pad
    assert weights[k].tolist() == want


# Prefetch.


def threads_of(size):
  return threading.active_count() == size


@pytest.mark.parametrize('size', [1, 2, 50])
def test_prefetch_keeps_the_order(size):
  before = threading.active_count()
  got = list(prefetch(iter(range(20)), lambda x: x * x, size))
  assert got == [x * x for x in range(20)]
  assert threads_of(before)
  assert list(prefetch(iter(()), lambda x: x, size)) == []


@pytest.mark.parametrize('where', ['items', 'transform'])
def test_prefetch_raises_at_its_place(where):
  """The items before it come first; the error is the one that was raised."""
  error = KeyError('three')

  def items():
    for k in range(10):
      if where == 'items' and k == 3:
        raise error
      yield k

  def transform(k):
    if where == 'transform' and k == 3:
      raise error
    return -k

  before = threading.active_count()
  got = []
  with pytest.raises(KeyError) as e:
    for x in prefetch(items(), transform, size=8):
      got.append(x)
  assert e.value is error and got == [0, -1, -2]
  assert threads_of(before)


def test_closing_early_ends_the_thread():
  """Though the items have no end, and the queue is full."""
  before, made = threading.active_count(), []

  def items():
    while True:
      made.append(1)
      yield len(made)

  ahead = prefetch(items(), lambda x: x, size=2)
  assert [next(ahead), next(ahead)] == [1, 2]
  assert not threads_of(before)
  ahead.close()
  assert threads_of(before)
  # 2 taken, 2 in the queue, 1 in hand, and 1 more if it had just been put.
  assert len(made) <= 6


def test_prefetch_runs_ahead():
  """The next item is made before it is asked for."""
  ready = threading.Event()

  def items():
    yield 0
    ready.set()
    yield 1

  ahead = prefetch(items(), lambda x: x)
  next(ahead)
  assert ready.wait(timeout=60)
  ahead.close()


def test_prefetch_of_batches(train):
  batches = Batches(train, SCHEMA, 32)
  ahead = prefetch(batches.iterate(3, 8), lambda b: b)
  for step, batch in zip(range(3, 8), ahead, strict=True):
    assert_equal(batch, Batches(train, SCHEMA, 32)(step))
