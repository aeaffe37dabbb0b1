"""Ranking metrics against the definition, summed over all pairs."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from esmm_jax.metrics import ranking
from esmm_jax.types import InputError

INF, NAN = float('inf'), float('nan')

# Few distinct values, so that ties abound; 0. and -0. are one score.
SCORES = st.sampled_from([-INF, -1e4, -2.0, -0.5, -0.0, 0.0, 0.5, 1e4, INF])
ROWS = st.lists(
    st.tuples(SCORES, st.integers(0, 1), st.integers(0, 3)),
    min_size=1,
    max_size=24,
)
# No deadline: no test may fail because the machine is busy.
thorough = settings(max_examples=150, deadline=None)


def pairwise_auc(scores, positive_weight, negative_weight):
  """The definition: a float64 sum over all ordered pairs of two rows."""
  wins, total = 0.0, 0.0
  for i, (s_i, p_i) in enumerate(zip(scores, positive_weight, strict=True)):
    for j, (s_j, n_j) in enumerate(zip(scores, negative_weight, strict=True)):
      if i != j:
        wins += p_i * n_j * (1.0 if s_i > s_j else 0.5 if s_i == s_j else 0.0)
        total += p_i * n_j
  return wins / total if total else NAN


def label_auc(scores, labels):
  return pairwise_auc(scores, labels, [1 - y for y in labels])


def same(a, b):
  """Equal, or both nan."""
  return a == b or (math.isnan(a) and math.isnan(b))


def columns(rows):
  scores, labels, groups = zip(*rows, strict=True)
  return np.array(scores), np.array(labels), np.array(groups)


@pytest.mark.parametrize(
    'scores, labels, expected',
    [
        ([0.1, 0.2], [0, 1], 1.0),
        ([0.2, 0.1], [0, 1], 0.0),
        ([0.1, 0.1], [0, 1], 1 / 2),
        ([5.0] * 7, [0, 1, 1, 0, 0, 1, 0], 1 / 2),
        # Positives 3, 1; negatives 2, 1, 0: 3 wins + 1 win and half a tie.
        ([3, 2, 1, 1, 0], [1, 0, 1, 0, 0], (3 + 1.5) / 6),
        # More positives than negatives: the other side is looked up.
        ([3, 2, 1, 1, 0], [0, 1, 0, 1, 1], (1 + 0.5) / 6),
        ([1e4, -1e4, 0.0], [1, 0, 1], 1.0),
        ([INF, INF, -INF], [1, 0, 0], (0.5 + 1) / 2),
        ([0.0, -0.0], [1, 0], 1 / 2),
        ([1.0, 2.0], [1, 1], NAN),
        ([1.0, 2.0], [0, 0], NAN),
        ([], [], NAN),
    ],
)
@pytest.mark.parametrize('score_type', [np.float32, np.float64])
@pytest.mark.parametrize('label_type', [np.float32, np.int64, bool])
def test_auc_table(scores, labels, expected, score_type, label_type):
  scores, labels = np.array(scores, score_type), np.array(labels, label_type)
  assert same(ranking.auc(scores, labels), expected)


@thorough
@given(ROWS)
def test_auc_is_the_sum_over_pairs(rows):
  scores, labels, _ = columns(rows)
  # Both are quotients of the same multiples of one half: equal floats.
  assert same(ranking.auc(scores, labels), label_auc(scores, labels))


@pytest.mark.parametrize('rate', [0.04, 0.44, 0.9])
@pytest.mark.parametrize('decimals', [1, 7])
def test_auc_is_that_of_scikit_learn(rate, decimals):
  rng = np.random.default_rng(0)
  labels = rng.random(20_000) < rate
  scores = np.round(rng.normal(size=20_000) + labels, decimals)
  scores = scores.astype(np.float32)
  expected = pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
  assert ranking.auc(scores, labels) == expected


def test_counts_past_32_bits_are_exact():
  n = 150_000  # n * n pairs are 5 times 2 ** 32.
  scores = np.arange(2 * n) % n  # Every score: one positive, one negative.
  labels = np.arange(2 * n) < n
  scores[0] = n  # The lowest positive now wins all n pairs, before half a one.
  # Twice the wins in Python integers: n * n before, 2 n - 1 more.
  expected = (n * n + 2 * n - 1) / (2 * n * n)
  assert ranking.auc(scores, labels) == expected


@pytest.mark.parametrize('rows', [1, 10**5, 10**9, 3 * 10**9, 10**12])
def test_counts_of_many_rows_are_exact(rows):
  """Two groups of two scores each, whose pairs pass 2 ** 63."""
  pos, neg = [rows, 3 * rows, 5, 5], [3 * rows, rows, 5, 5]
  got = ranking.grouped_auc_of_counts(pos, neg, ['a', 'a', 'b', 'b'])
  # Of 16 parts of the pairs 9 are won and 6 are ties.
  np.testing.assert_allclose(
      got.value, (12 / 16 * 8 * rows + 0.5 * 20) / (8 * rows + 20), rtol=1e-12)
  assert got.coverage == 1 and got.num_groups == 2


def test_counts_of_parts_are_those_of_the_rows():
  rng = np.random.default_rng(0)
  scores, labels = rng.integers(0, 9, 500), rng.integers(0, 2, 500)
  groups = rng.integers(0, 20, 500)
  counts = np.zeros((2, 20, 9), np.int64)
  for part in (slice(0, 123), slice(123, 500)):
    at = labels[part], groups[part], scores[part]
    np.add.at(counts, at, 1)
  got = ranking.grouped_auc_of_counts(
      counts[1].ravel(), counts[0].ravel(), np.repeat(np.arange(20), 9))
  assert got == ranking.grouped_auc(scores, labels, groups)


def test_float64_scores_are_not_rounded_to_float32():
  assert ranking.auc(np.array([1.0, 1.0 + 1e-12]), np.array([0, 1])) == 1.0
  assert ranking.auc(np.array([2**24, 2**24 + 1]), np.array([0, 1])) == 1.0


@thorough
@given(ROWS, st.randoms(use_true_random=False))
def test_auc_depends_on_the_order_of_scores_only(rows, random):
  scores, labels, _ = columns(rows)
  value = ranking.auc(scores, labels)
  monotone = 3 * np.arctan(scores) + 7
  assert same(ranking.auc(monotone, labels), value)
  order = np.array(random.sample(range(len(rows)), len(rows)))
  assert same(ranking.auc(scores[order], labels[order]), value)


@thorough
@given(ROWS)
def test_auc_of_reversed_scores_is_the_complement(rows):
  scores, labels, _ = columns(rows)
  total = ranking.auc(scores, labels) + ranking.auc(-scores, labels)
  if 0 < labels.sum() < len(labels):
    assert total == pytest.approx(1, abs=1e-15)
  else:
    assert math.isnan(total)


WEIGHTS = st.sampled_from([0.0, 1e-6, 0.25, 0.5, 1.0, 3.0])


@thorough
@given(
    st.lists(st.tuples(SCORES, WEIGHTS, WEIGHTS), min_size=1, max_size=16),
)
def test_weighted_auc_is_the_sum_over_pairs(rows):
  scores, p, n = columns(rows)
  expected = pairwise_auc(scores, p, n)
  got = ranking.weighted_auc(scores, p, n)
  assert got == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize(
    'scores, p, n, expected',
    [
        # Two rows, r = 3/4 above 1/4: (3/4)^2 over (3/4)^2 + (1/4)^2.
        ([1, 0], [3 / 4, 1 / 4], [1 / 4, 3 / 4], (9 / 16) / (10 / 16)),
        ([0, 1], [3 / 4, 1 / 4], [1 / 4, 3 / 4], (1 / 16) / (10 / 16)),
        ([0, 0], [3 / 4, 1 / 4], [1 / 4, 3 / 4], 1 / 2),
        # A row is not compared with itself.
        ([0], [1 / 2], [1 / 2], NAN),
        ([0, 1], [1 / 2, 0], [1 / 2, 0], NAN),
        ([0, 1], [1, 1], [0, 0], NAN),
        ([], [], [], NAN),
        # Weights 0 and 0 leave a row out.
        ([9, 1, 0], [0, 3 / 4, 1 / 4], [0, 1 / 4, 3 / 4], 9 / 10),
    ],
)
def test_weighted_auc_table(scores, p, n, expected):
  got = ranking.weighted_auc(scores, p, n)
  assert got == pytest.approx(expected, abs=1e-15, nan_ok=True)


@thorough
@given(ROWS)
def test_weighted_auc_of_labels_is_auc(rows):
  scores, labels, _ = columns(rows)
  expected = ranking.auc(scores, labels)
  got = ranking.weighted_auc(scores, labels, 1 - labels)
  assert got == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_weighted_auc_is_auc_expected_over_labels():
  r = np.array([0.1, 0.7, 0.4, 0.9])
  scores = np.array([0, 1, 1, 2])
  wins = total = 0.0
  for bits in range(16):  # All draws of four labels, with their probability.
    y = np.array([bits >> i & 1 for i in range(4)])
    chance = np.prod(np.where(y == 1, r, 1 - r))
    pairs = y.sum() * (4 - y.sum())
    total += chance * pairs
    wins += chance * pairs * (ranking.auc(scores, y) if pairs else 0)
  got = ranking.weighted_auc(scores, r, 1 - r)
  assert got == pytest.approx(wins / total, abs=1e-14)


def looped_grouped_auc(scores, labels, groups):
  """The definition, with a loop over groups."""
  value, counted, num_groups = 0.0, 0, 0
  for group in set(groups.tolist()):
    rows = groups == group
    group_auc = label_auc(scores[rows], labels[rows])
    if not math.isnan(group_auc):
      value += int(rows.sum()) * group_auc
      counted += int(rows.sum())
      num_groups += 1
  value = value / counted if counted else NAN
  return value, counted / len(scores), num_groups


@thorough
@given(ROWS)
def test_grouped_auc_is_the_loop_over_groups(rows):
  scores, labels, groups = columns(rows)
  expected = looped_grouped_auc(scores, labels, groups)
  got = ranking.grouped_auc(scores, labels, groups)
  assert tuple(got) == pytest.approx(expected, abs=1e-14, nan_ok=True)


@pytest.mark.parametrize('groups', [[7, 7, 3, 3, 3, 9], list('aabbbc')])
def test_grouped_auc_table(groups):
  # First group: AUC 0 of 2 rows; second: 3/4 of 3 rows; third: one class.
  scores, labels = [1, 2, 5, 5, 4, 9], [1, 0, 1, 0, 0, 1]
  got = ranking.grouped_auc(scores, labels, groups)
  assert got == ((2 * 0 + 3 * 3 / 4) / 5, 5 / 6, 2)
  where = [1, 0, 1, 1, 1, 1]  # The first group is left with one class.
  got = ranking.grouped_auc(scores, labels, groups, where)
  assert got == (3 / 4, 3 / 5, 1)


@pytest.mark.parametrize('num_rows', [0, 3])
def test_grouped_auc_without_a_group_of_two_classes(num_rows):
  rows = range(num_rows)
  groups = np.arange(num_rows)
  got = ranking.grouped_auc(np.zeros(num_rows), [r % 2 for r in rows], groups)
  assert math.isnan(got.value)
  assert (got.coverage, got.num_groups) == (0.0, 0)


@thorough
@given(ROWS)
def test_grouped_auc_of_one_group_is_auc(rows):
  scores, labels, groups = columns(rows)
  value = ranking.auc(scores, labels)
  got = ranking.grouped_auc(scores, labels, np.full_like(groups, 5))
  assert got.value == pytest.approx(value, abs=1e-15, nan_ok=True)
  assert got.coverage == (0 if math.isnan(value) else 1)


def by_groups(scores, labels, where=None):
  """grouped_auc of one group, called as the other functions are."""
  groups = np.zeros(len(scores), np.int64)
  return ranking.grouped_auc(scores, labels, groups, where).value


@pytest.mark.parametrize('function', [ranking.auc, by_groups])
@pytest.mark.parametrize('where_type', [bool, np.float32])
def test_masked_rows_may_hold_anything(function, where_type):
  scores = np.array([3, NAN, 2, 1, -INF, 1, 0])
  labels = np.array([1, 0, 0, 1, NAN, 0, 0])
  where = np.array([1, 0, 1, 1, 0, 1, 1], where_type)
  assert function(scores, labels, where) == (3 + 1.5) / 6
  assert math.isnan(function(scores, labels, np.zeros(7, where_type)))


@pytest.mark.parametrize('function', [ranking.auc, by_groups])
@pytest.mark.parametrize(
    'scores, labels, where, message',
    [
        ([0, NAN], [0, 1], None, 'nan'),
        ([0, 1], [0, 2], None, 'labels'),
        ([0, 1], [0, -1], None, 'labels'),
        ([0, 1], [0, 0.5], None, 'labels'),
        ([0, 1], [0, NAN], None, 'labels'),
        ([0, 1], [0, 1, 1], None, 'length'),
        ([0, 1], [0, 1], [1, 1, 1], 'length'),
        ([0, 1], [0, 1], [1, 0.5], 'where'),
        ([[0], [1]], [[0], [1]], None, 'length'),
    ],
)
def test_bad_input(function, scores, labels, where, message):
  with pytest.raises(InputError, match=message):
    function(np.array(scores), np.array(labels), where)


@pytest.mark.parametrize(
    'scores, p, n, message',
    [
        ([0, NAN], [1, 1], [1, 1], 'nan'),
        ([0, 1], [1, -1], [1, 1], 'positive_weight'),
        ([0, 1], [1, 1], [1, NAN], 'negative_weight'),
        ([0, 1], [1, 1], [1, INF], 'negative_weight'),
        ([0, 1], [1, 1, 1], [1, 1], 'length'),
    ],
)
def test_bad_input_of_weighted_auc(scores, p, n, message):
  with pytest.raises(InputError, match=message):
    ranking.weighted_auc(scores, p, n)


def test_float_groups_are_refused():
  with pytest.raises(InputError, match='groups'):
    ranking.grouped_auc([0, 1], [0, 1], np.array([1.0, 1.0], np.float32))


def test_arguments_are_left_as_they_were():
  scores, labels = np.array([3.0, 1.0, 2.0]), np.array([True, False, True])
  ranking.auc(scores, labels)
  ranking.weighted_auc(scores, labels, ~labels)
  ranking.grouped_auc(scores, labels, np.array([1, 0, 1]))
  assert scores.tolist() == [3, 1, 2]
  assert labels.tolist() == [True, False, True]
