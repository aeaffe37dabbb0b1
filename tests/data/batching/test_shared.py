"""Parts of batches, one of each process, are the batches."""

import functools

from esmm_jax.data.batching import order as order_lib
from esmm_jax.data.batching.batches import Batches
from esmm_jax.data.batching.contents import content_hash
from esmm_jax.data.batching.shared import SharedBatches
from esmm_jax.types import InputError
import numpy as np
import pytest

from tests import toy as toy_lib
from tests.data.batching import test_groups
from tests.data.batching.test_batches import train

__all__ = ['train']
grouped = test_groups.grouped


class Counted:
  """A source that notes how many values are taken of its columns."""

  def __init__(self, source):
    self._source, self.values = source, 0

  def __len__(self):
    return len(self._source)

  def __getattr__(self, name):
    return getattr(self._source, name)

  def read(self, start, stop, names=None):
    columns = self._source.read(start, stop, names)
    return {
        n: c.view(_Column) if isinstance(c, np.ndarray) else c
        for n, c in columns.items()}


class _Column(np.ndarray):
  """Counts the values that an index takes of it."""

  taken = 0

  def __getitem__(self, index):
    result = super().__getitem__(index)
    if not isinstance(index, np.ndarray):
      return result
    _Column.taken += len(result)
    return np.asarray(result)


def maker(data, toy, grouped, size):
  if data == 'toy':
    return Batches(
        toy.as_data_source('train'), toy_lib.SCHEMA, size, seed=3,
        truth=toy.truth_source('train'),
        truth_labels=('conversion_if_clicked',),
        more_labels={'frozen': np.arange(150, dtype=np.float32)})
  return Batches(
      grouped.as_data_source('train'), test_groups.SCHEMA, size, seed=3,
      group_run=4 if data == 'runs' else 1)


@pytest.fixture(params=[(4096, 64), (7, 3)])
def windows(request, monkeypatch):
  monkeypatch.setattr(order_lib, 'BLOCK', request.param[0])
  monkeypatch.setattr(order_lib, 'WINDOW', request.param[1])


@pytest.mark.parametrize('data', ['toy', 'grouped', 'runs'])
@pytest.mark.parametrize('size', [4, 20, 64, 200])
@pytest.mark.parametrize('num', [1, 2, 4])
def test_parts_are_the_batch(data, size, num, toy, grouped, windows):
  """To the bit, with rows and groups of the whole batch in each.

  In the last batch some processes have a part of their examples, some none.
  """
  whole = maker(data, toy, grouped, size)
  shared = [SharedBatches(whole, k, num) for k in range(num)]
  names = ('slots', 'weights', 'floats', 'where')
  for step in range(2 * len(whole)):
    want = whole(step)
    parts = [s.part(step) for s in shared]
    messages = np.stack([p.message for p in parts])
    assert messages.shape[1] == shared[0].num_ids + shared[0].num_groups
    assert messages.dtype == np.int32
    got = [s.joined(p, messages) for s, p in zip(shared, parts)]
    real = want.where > 0
    for one in got:
      np.testing.assert_array_equal(one.rows, want.rows)
      assert {len(getattr(one, n)) for n in names} == {size // num}
      if want.groups is not None:
        np.testing.assert_array_equal(one.groups.slots, want.groups.slots)
        np.testing.assert_array_equal(one.groups.weights, want.groups.weights)
    for name in names:
      together = np.concatenate([getattr(one, name) for one in got])
      assert together.dtype == getattr(want, name).dtype
      np.testing.assert_array_equal(together[real], getattr(want, name)[real])
      if name != 'slots':  # Of padding, any of the rows.
        assert not together[~real].any()
    assert got[0].labels.keys() == want.labels.keys()
    for name, label in want.labels.items():
      together = np.concatenate([one.labels[name] for one in got])
      np.testing.assert_array_equal(together, label)
    if want.groups is not None:
      index = np.concatenate([one.groups.segment_ids for one in got])
      assert index.dtype == want.groups.segment_ids.dtype
      np.testing.assert_array_equal(
          index[real], want.groups.segment_ids[real])
    assert content_hash(whole.alone(step)) == content_hash(want)


def test_each_reads_its_own_rows(toy):
  """Of a column a process takes the values of its examples, no others."""
  make = functools.partial(Batches, schema=toy_lib.SCHEMA, batch_size=40)
  source = Counted(toy.as_data_source('train'))
  one = SharedBatches(make(source), 1, 4)
  _Column.taken = 0
  steps = range(4)
  parts = [one.part(step) for step in steps]
  num = sum(len(p.examples.where) for p in parts)
  assert num == 10 + 10 + 10 + 10
  # user, item, serial, price and two labels; lists are taken elsewhere.
  assert _Column.taken == 6 * num


def test_damaged_rows_are_named_by_their_number(toy):
  """That of the file, though a process reads only some of the rows."""
  class Damaged(Counted):
    is_damaged = False

    def read(self, start, stop, names=None):
      columns = self._source.read(start, stop, names)
      if not self.is_damaged:
        return columns
      user = np.where(np.arange(start, min(stop, 150)) == 77, 60, 1)
      return columns | {'user': user.astype(np.int32)}

  source = Damaged(toy.as_data_source('train'))
  batches = Batches(source, toy_lib.SCHEMA, 150, shuffle=False)
  source.is_damaged = True
  SharedBatches(batches, 0, 2).part(0)
  with pytest.raises(InputError, match='row 77.*user'):
    SharedBatches(batches, 1, 2).part(0)


def test_what_cannot_be_shared(train):
  with pytest.raises(InputError, match='batch_size is 10; .* the 4 processes'):
    SharedBatches(Batches(train, toy_lib.SCHEMA, 10), 0, 4)
