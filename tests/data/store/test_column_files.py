"""Columns that grow on disk hold what was put in, and nothing else."""

from esmm_jax.data.store.column_files import GrowingColumn, GrowingTable, Pile
from esmm_jax.data.store.columns import open_folder
from esmm_jax.types import Ragged
from hypothesis import given, strategies as st
import numpy as np
import pytest


@pytest.mark.parametrize('dtype', [np.int32, np.float16, np.uint64, np.int8])
@pytest.mark.parametrize('lengths', [[], [0], [3, 0, 70_000, 1]])
def test_a_growing_column(tmp_path, dtype, lengths):
  rng = np.random.default_rng(0)
  pieces = [rng.integers(0, 100, n).astype(dtype) for n in lengths]
  column = GrowingColumn(str(tmp_path / 'c.npy'), dtype)
  for piece in pieces:
    column.append(piece)
  column.close()
  for mode in (None, 'r'):
    found = np.load(tmp_path / 'c.npy', mmap_mode=mode)
    assert found.dtype == dtype
    expected = np.concatenate([np.zeros(0, dtype), *pieces])
    np.testing.assert_array_equal(found, expected)


LISTS = st.lists(
    st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=4),
    min_size=1,
    max_size=4,
)


def ragged(lists, weighted: bool) -> Ragged:
  flat = [x for one in lists for x in one]
  return Ragged(
      np.array(flat, np.int32),
      np.cumsum([0, *map(len, lists)]),
      np.array(flat, np.float16) / 4 if weighted else None,
  )


def same(found: Ragged, lists, weighted: bool) -> None:
  expected = ragged(lists, weighted)
  np.testing.assert_array_equal(found.values, expected.values)
  np.testing.assert_array_equal(found.offsets, expected.offsets)
  if weighted:
    np.testing.assert_array_equal(found.weights, expected.weights)
    assert found.weights.dtype == np.float16
  else:
    assert found.weights is None


@given(LISTS, st.booleans())
def test_a_growing_table(tmp_path_factory, calls, weighted):
  folder = tmp_path_factory.mktemp('table') / 'groups'
  table = GrowingTable(str(folder))
  for lists in calls:
    number = np.arange(len(lists), dtype=np.int32)
    table.append({'a': number, 'lists': ragged(lists, weighted)})
  table.close()
  found = open_folder(str(folder))
  assert set(found) == {'a', 'lists'}
  same(found['lists'], [x for lists in calls for x in lists], weighted)
  assert found['a'].tolist() == [i for c in calls for i in range(len(c))]
  assert table.num_rows == len(found['a'])


@given(LISTS, st.booleans())
def test_a_pile(tmp_path_factory, calls, weighted):
  path = tmp_path_factory.mktemp('pile') / 'p'
  pile = Pile(str(path))
  for lists in calls:
    number = np.arange(len(lists), dtype=np.uint64)
    pile.put({'lists': ragged(lists, weighted), 'a': number})
  everything = [x for lists in calls for x in lists]
  assert pile.num_rows == len(everything)
  if everything:
    for _ in range(2):
      found = pile.take()
      same(found['lists'], everything, weighted)
      assert found['a'].tolist() == [i for c in calls for i in range(len(c))]
  else:
    assert not len(pile.take().get('a', ()))
  pile.remove()
  pile.remove()
  assert not path.exists()
