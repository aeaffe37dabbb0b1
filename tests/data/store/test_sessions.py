"""Sessions: their hash, the split and the group each gets."""

from esmm_jax.data.store.sessions import BUCKETS, GroupIndex, place
from esmm_jax.data.store.sessions import session_hash
from esmm_jax.data.store.sessions import SessionRows
from hypothesis import given, strategies as st
import numpy as np
import pytest

KEYS = np.random.default_rng(0).integers(0, 2**64, 20_000, dtype=np.uint64)


def splitmix(x: int) -> int:
  """The published algorithm, in Python's integers."""
  mask = 2**64 - 1
  x = (x + 0x9E3779B97F4A7C15) & mask
  x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
  x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
  return x ^ (x >> 31)


def test_the_hash_is_splitmix64():
  keys = np.array([0, 1, 2**63, 2**64 - 1, 1234567], np.uint64)
  assert session_hash(keys).tolist() == [splitmix(int(k)) for k in keys]
  # The first output of the reference program for the seed 1234567.
  assert splitmix(1234567) == 6457827717110365317


def test_shares_and_samples_are_as_asked():
  split, bucket, order = place(KEYS, (0.95, 0.05), 1.0)
  n = len(KEYS)
  assert set(split.tolist()) == {0, 1}
  assert abs((split == 1).sum() - 0.05 * n) < 4 * np.sqrt(n * 0.05 * 0.95)
  # The same in exact arithmetic: the last twentieth of the hashes.
  position = np.array([splitmix(int(k)) / 2**64 for k in KEYS])
  np.testing.assert_array_equal(split == 1, position >= 0.95)
  for k, low, high in ((0, 0, 0.95), (1, 0.95, 1)):
    mine = split == k
    by_hash = np.argsort(order[mine])
    assert (np.diff(bucket[mine][by_hash]) >= 0).all()
    assert 0 <= bucket[mine].min() and bucket[mine].max() == BUCKETS - 1
    within = (position[mine] - low) / (high - low)
    np.testing.assert_array_equal(
        bucket[mine], np.floor(within * BUCKETS).astype(int)
    )


@pytest.mark.parametrize('sample', [0.5, 0.1])
def test_a_sample_is_the_beginning_of_the_whole(sample):
  whole = place(KEYS, (0.8, 0.2), 1.0)
  part = place(KEYS, (0.8, 0.2), sample)
  for k in (0, 1):
    kept, mine = part.split == k, whole.split == k
    assert kept.sum() < mine.sum() and not (kept & ~mine).any()
    assert whole.order[kept].max() < whole.order[mine & ~kept].min()
    share = kept.sum() / mine.sum()
    assert abs(share - sample) < 4 * np.sqrt(sample / mine.sum())


def test_without_a_validation_share_there_is_one_split():
  split, _, _ = place(KEYS, (1.0,), 1.0)
  assert (split == 0).all()


@given(
    st.lists(st.integers(0, 9), max_size=60), st.lists(st.integers(0, 60))
)
def test_rows_of_sessions(keys, cuts):
  """However the file is cut: rows and the first line of each session."""
  ends = sorted({0, len(keys), *(c for c in cuts if c < len(keys))})
  counted = SessionRows()
  for k, (a, b) in enumerate(zip(ends, ends[1:])):
    counted.add(
        np.array(keys[a:b], np.uint64), np.arange(a, b, dtype=np.int64) * 10
    )
    if k % 2:
      counted.merged()
  found, rows, lines = counted.merged()
  assert found.tolist() == sorted(set(keys))
  assert rows.tolist() == [keys.count(k) for k in found.tolist()]
  assert lines.tolist() == [10 * keys.index(k) for k in found.tolist()]


def test_the_group_of_a_session():
  index = GroupIndex(np.array([50, 7, 50, 2**64 - 1], np.uint64))
  keys = np.array([7, 50, 3, 2**64 - 1, 0], np.uint64)
  assert index.find(keys).tolist() == [1, 0, -1, 3, -1]
  assert index.drops
  index.keep_others(5)
  assert index.find(keys).tolist() == [1, 0, 4, 3, 4]
  assert index.rows.tolist() == [0, 0, 0, 0, 5] and not index.drops
  none = GroupIndex(np.zeros(0, np.uint64))
  assert none.find(keys).tolist() == [-1] * 5
  none.keep_others(5)
  assert none.find(keys).tolist() == [0] * 5
