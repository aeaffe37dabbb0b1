"""Vocabulary: 0 missing, 1 rare or unseen, 2.. kept, by falling count."""

import collections
import pickle

from esmm_jax.data.store.vocabulary import ValueCounts, Vocabulary
from esmm_jax.types import InputError
from hypothesis import given, settings, strategies as st
import numpy as np
import pyarrow as pa
import pytest


def test_ids_by_falling_count_and_ties_by_value():
  values = np.array([7, 5, 5, 9, 9, 9, 3, 7])
  vocabulary = Vocabulary.fit(values)
  assert vocabulary.values.to_pylist() == [9, 5, 7, 3]
  assert vocabulary.size == 6
  assert vocabulary.encode(values).tolist() == [4, 3, 3, 2, 2, 2, 5, 4]


def test_rare_unseen_and_missing():
  values = np.array(['b', 'a', 'a', 'c', 'c', 'c'])
  missing = np.array([False, False, False, True, True, False])
  vocabulary = Vocabulary.fit(values, missing, min_count=2)
  assert vocabulary.values.to_pylist() == ['a']  # 'c' is there once, unmasked
  ids = vocabulary.encode(np.array(['a', 'b', 'c', 'zz', 'a']))
  assert ids.tolist() == [2, 1, 1, 1, 2]
  assert ids.dtype == np.int32
  assert vocabulary.encode(values, missing).tolist() == [1, 2, 2, 0, 0, 1]
  assert vocabulary.decode([0, 1, 2]) == [None, None, 'a']


def test_nothing_to_fit():
  vocabulary = Vocabulary.fit(np.array([], np.int64))
  assert vocabulary.size == 2
  assert vocabulary.encode(np.array([4, 5])).tolist() == [1, 1]


def test_shape_is_kept():
  vocabulary = Vocabulary.fit(np.array([1, 1, 2]))
  assert vocabulary.encode(np.array([[2, 1], [8, 2]])).tolist() == [
      [3, 2],
      [1, 3],
  ]


def test_min_count_below_one():
  with pytest.raises(InputError, match='min_count is 0'):
    Vocabulary.fit(np.array([1]), min_count=0)


_VALUES = st.lists(st.integers(-5, 5), max_size=40)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(_VALUES, _VALUES, st.integers(1, 4), st.integers(0, 9))
def test_matches_counting(train, new, min_count, seed):
  counts = collections.Counter(train)
  kept = sorted(
      (v for v in counts if counts[v] >= min_count),
      key=lambda v: (-counts[v], v),
  )
  expected = {v: k + 2 for k, v in enumerate(kept)}
  shuffled = np.random.default_rng(seed).permutation(np.array(train, np.int64))
  vocabulary = Vocabulary.fit(shuffled, min_count=min_count)
  ids = vocabulary.encode(np.array(new, np.int64)).tolist()
  assert vocabulary.size == len(kept) + 2
  assert ids == [expected.get(v, 1) for v in new]
  decoded = vocabulary.decode(ids)
  assert all(d == v for d, v in zip(decoded, new) if d is not None)


_TEXTS = st.text('abc7\u00e9\ufb01\U0001f600', max_size=3)


@pytest.mark.parametrize('waiting', [0, 1 << 22])
@given(
    st.lists(st.lists(st.none() | _TEXTS)),
    st.integers(1, 3),
    st.lists(st.none() | _TEXTS),
)
def test_counts_of_pieces(waiting, pieces, least, new):
  """However the rows are cut, and however often the counts are added up."""
  counts = ValueCounts(waiting)
  for piece in pieces:
    counts.add(pa.array(piece, pa.string()))
  number = collections.Counter(v for p in pieces for v in p if v is not None)
  # Ties by the text: by code points, as Python has it.
  expected = sorted(
      (v for v in number if number[v] >= least), key=lambda v: (-number[v], v)
  )
  vocabulary = counts.vocabulary(least)
  assert vocabulary.values.to_pylist() == expected
  assert counts.vocabulary(least, 2).values.to_pylist() == expected[:2]
  ids = {v: k + 2 for k, v in enumerate(expected)} | {None: 0}
  got = vocabulary.encode(pa.array(new, pa.string()))
  assert got.dtype == np.int32
  assert got.tolist() == [ids.get(v, 1) for v in new]


def test_zeros_of_both_signs_are_one_value():
  vocabulary = Vocabulary.fit(np.array([0.0, -0.0, 1.5, -0.0]))
  assert vocabulary.values.to_pylist() == [0.0, 1.5]
  assert vocabulary.encode(np.array([-0.0, 0.0, 1.5])).tolist() == [2, 2, 3]


_KEPT = {
    'texts': ['b', 'a', '', '\u00e9', '\U0001f600', '12', '-1'],
    'integers': [5, -3, 0, 12, 1 << 62, 7, 8],
}


@pytest.mark.parametrize('kind', [
    pa.string(), pa.large_string(), pa.int32(), pa.int64(), pa.int8(),
])
def test_few_values_are_looked_up_as_many(kind):
  """Whether or not a call has as many values as are kept."""
  is_text = kind in (pa.string(), pa.large_string())
  kept = [
      v for v in _KEPT['texts' if is_text else 'integers']
      if is_text or v < 128 or kind == pa.int64()
  ]
  vocabulary = Vocabulary(pa.array(kept, kind))
  unseen = ['zz', 'B'] if is_text else [99, -99]
  values = [kept[3], None, *unseen, kept[0], kept[-1], None, kept[3]]
  expected = [5, 0, 1, 1, 2, len(kept) + 1, 0, 5]
  for low in range(len(values)):
    for high in range(low, len(values) + 1):
      few = pa.array(values, kind)[low:high]
      got = vocabulary.encode(few)
      assert got.dtype == np.int32 and got.tolist() == expected[low:high]
  many = pa.array(values * 9, kind)
  assert vocabulary.encode(many).tolist() == expected * 9
  codes = pa.array(['b', None, 'b'] if is_text else [5, None, 5], kind)
  assert vocabulary.encode(codes).tolist() == [2, 0, 2]


def test_counts_of_long_texts():
  """Added up before they fill the memory, each time with the same result."""
  rng = np.random.default_rng(0)
  names = [f'{k:05d}' * 4000 for k in range(50)]
  counts, number = ValueCounts(), collections.Counter()
  for _ in range(40):
    piece = [names[k] for k in rng.integers(0, 50, 60)]
    counts.add(pa.array(piece))
    number.update(piece)
  expected = sorted(number, key=lambda v: (-number[v], v))
  assert counts.vocabulary().values.to_pylist() == expected


def test_what_another_process_gets_grows_with_the_values():
  """And not with their square, as slices of one array would."""
  counts = ValueCounts()
  counts.add(pa.array([f'{k:09}' for k in range(200_000)]))
  copy = pickle.dumps(counts)
  # A count, 9 letters and where they begin.
  assert 200_000 * (8 + 9 + 4) <= len(copy) < 1.1 * 200_000 * (8 + 9 + 4)
  again = pickle.loads(copy).vocabulary()
  assert again.values.equals(counts.vocabulary().values)
