"""Sorted values and integers instead of orders: the same ranks."""

from fractions import Fraction

from esmm_jax.metrics import packing, ranking
from esmm_jax.metrics.checks import equal_mass_bins
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest

KEYS = st.lists(
    st.sampled_from([-np.inf, -2.5, -0.0, 0.0, 1e-300, 1.0, 7.0, np.inf]),
    max_size=30,
)


@settings(max_examples=50)
@given(KEYS, st.integers(1, 40))
def test_a_bin_is_that_of_the_middle_rank(keys, num_bins):
  expected = []
  for key in keys:
    below, ties = sum(x < key for x in keys), keys.count(key)
    middle = below + Fraction(ties, 2)
    expected.append(int(middle * num_bins / len(keys)))
  assert equal_mass_bins(np.array(keys), num_bins).tolist() == expected


SCORES = np.array(
    [0.0, -0.0, 1e-45, -1e-45, 1.5, -1.5, np.inf, -np.inf, 3e38, -3e38],
    np.float32,
)


@pytest.mark.parametrize(
    'groups',
    [
        [3, 1, 2],
        np.array([-(2**63), 2**63 - 1, 0]),
        np.array([2**64 - 1, 2**64 - 3, 2**64 - 2], np.uint64),
        np.array([127, -128, 0], np.int8),
        [True, False, False],
        ['b', 'a', 'aa'],
    ],
)
def test_packed_rows_have_the_order_of_group_and_score(groups):
  rng = np.random.default_rng(0)
  groups = np.asarray(groups)[rng.integers(0, 3, 500)]
  scores = rng.choice(SCORES, 500)
  positive = rng.random(500) < 0.5
  # As floats: 0 and -0 are one key, and the label breaks ties.
  rows = sorted(
      zip(groups.tolist(), scores.tolist(), positive.tolist()),
  )
  packed = np.sort(packing.packed(scores, positive, groups)).tolist()
  assert [bool(x & 1) for x in packed] == [p for _, _, p in rows]
  starts = lambda keys: [a != b for a, b in zip(keys, keys[1:])]
  assert starts([x >> 1 for x in packed]) == starts([r[:2] for r in rows])
  assert starts([x >> 33 for x in packed]) == starts([r[0] for r in rows])


def test_what_is_not_packed():
  one = np.ones(1, bool)
  assert packing.packed(np.ones(1), one, one) is None  # float64
  assert packing.packed(np.ones(0, np.float32), one[:0], one[:0]) is None


@pytest.mark.parametrize('kind', [np.float32, np.float64])
def test_grouped_auc_of_both_ways(kind):
  """float64 is not packed; all that is float32 is float64 too."""
  rng = np.random.default_rng(1)
  scores = rng.choice(SCORES, 2000).astype(kind)
  labels, groups = rng.integers(0, 2, 2000), rng.integers(-9, 9, 2000)
  aucs, rows = [], []
  for group in range(-9, 9):
    where = groups == group
    aucs.append(ranking.auc(scores[where], labels[where]))
    rows.append(where.sum())
  got = ranking.grouped_auc(scores, labels, groups)
  assert got == (np.average(aucs, weights=rows), 1.0, 18)
