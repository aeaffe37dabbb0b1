"""Statistics against scipy, against formulas typed out, and by simulation."""

import math

from esmm_jax.metrics import significance as sig
from esmm_jax.metrics.ranking import auc
from esmm_jax.types import InputError
from hypothesis import given, strategies as st
import numpy as np
import pytest
from scipy import stats

NAN = float('nan')
FLOATS = st.floats(-1, 1, allow_nan=False).map(lambda x: round(x, 3))
PAIRS = st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=12)


def numbered(values):
  return dict(enumerate(values))


@pytest.mark.parametrize(
    'values, expected',
    [
        ([], (NAN, NAN, 0)),
        ([0.7], (0.7, NAN, 1)),
        ([0.7, NAN], (0.7, NAN, 1)),
        ([1.0, 2.0, 4.0], (7 / 3, math.sqrt(7 / 3), 3)),
    ],
)
def test_summarize(values, expected):
  np.testing.assert_allclose(sig.summarize(values), expected)


@pytest.mark.parametrize('n', [2, 3, 10, 30])
def test_paired_is_that_of_scipy(n):
  rng = np.random.default_rng(n)
  ours, others = rng.normal(0.3, 1, n), rng.normal(0, 1, n)
  got = sig.paired(numbered(ours), numbered(others))
  error = (ours - others).std(ddof=1) / math.sqrt(n)
  t = (ours - others).mean() / error
  half = stats.t.ppf(0.975, n - 1) * error
  assert got.n == n
  assert got.mean == pytest.approx((ours - others).mean())
  assert got.std == pytest.approx((ours - others).std(ddof=1))
  assert got.p_t == pytest.approx(2 * stats.t.sf(abs(t), n - 1))
  ends = got.mean - half, got.mean + half
  assert (got.low, got.high) == pytest.approx(ends)
  exact = stats.wilcoxon(ours - others, method='exact').pvalue
  assert got.p_wilcoxon == pytest.approx(exact)


def test_ties_and_zeros_of_the_signed_ranks():
  """By all 2^4 signs of |d| = 1, 1, 2, 3: the zero is left out, ties share."""
  d = [0.0, 0.1, -0.1, 0.2, 0.3]
  ranks = np.array([1.5, 1.5, 3, 4])
  signs = np.array(np.meshgrid(*[[0, 1]] * 4)).reshape(4, -1)
  sums = ranks @ signs
  expected = min(1, 2 * min((sums >= 8.5).mean(), (sums <= 8.5).mean()))
  # 0.3 - 0.2 is not 0.1 in float64; they tie nonetheless.
  ours = dict(enumerate([0.5, 0.3, 0.1, 0.4, 0.5]))
  others = dict(enumerate([0.5, 0.2, 0.2, 0.2, 0.2]))
  assert [ours[k] - others[k] for k in ours] == pytest.approx(d)
  assert sig.paired(ours, others).p_wilcoxon == pytest.approx(expected)


def test_pairs_are_those_that_exist():
  got = sig.paired({0: 0.5, 1: 0.6, 2: NAN, 3: 0.9}, {0: 0.4, 1: 0.4, 2: 0.1})
  assert got.n == 2
  assert got.mean == pytest.approx(0.15)


@pytest.mark.parametrize(
    'ours, others, n, p_t, p_wilcoxon',
    [
        ({0: 0.5}, {1: 0.5}, 0, NAN, NAN),
        ({0: 0.5}, {0: 0.4}, 1, NAN, 1.0),
        ({0: 0.5, 1: 0.6}, {0: 0.5, 1: 0.6}, 2, 1.0, 1.0),
        ({0: 0.75, 1: 0.5}, {0: 0.5, 1: 0.25}, 2, 0.0, 0.5),
    ],
)
def test_paired_at_the_edges(ours, others, n, p_t, p_wilcoxon):
  """No pair, one pair, no difference at all, the same difference always."""
  got = sig.paired(ours, others)
  assert got.n == n
  np.testing.assert_equal([got.p_t, got.p_wilcoxon], [p_t, p_wilcoxon])
  if n < 2:
    assert math.isnan(got.std) and math.isnan(got.low)
  else:
    assert got.low == got.high == got.mean


@pytest.mark.long
@given(PAIRS)
def test_differences_are_antisymmetric(pairs):
  ours, others = map(numbered, zip(*pairs))
  one, other = sig.paired(ours, others), sig.paired(others, ours)
  np.testing.assert_allclose(
      [one.mean, one.low, one.high], [-other.mean, -other.high, -other.low]
  )
  np.testing.assert_allclose(
      [one.std, one.p_t, one.p_wilcoxon],
      [other.std, other.p_t, other.p_wilcoxon],
  )


@pytest.mark.slow
def test_the_interval_covers_and_the_test_keeps_its_level():
  """1500 tables of 5 seeds: 95 % cover the truth, 5 % of no effect reject."""
  rng = np.random.default_rng(0)
  covered = rejected = 0
  for _ in range(1500):
    d = numbered(rng.normal(0.2, 1, 5))
    got = sig.paired(d, dict.fromkeys(d, 0.0))
    covered += got.low <= 0.2 <= got.high
    null = sig.paired(d, dict.fromkeys(d, 0.2))
    rejected += null.p_t < 0.05
  assert abs(covered / 1500 - 0.95) < 0.02
  assert abs(rejected / 1500 - 0.05) < 0.02


def test_holm_by_hand():
  """Holm's own order: 4 x .005, 3 x .01, 2 x .03, 1 x .04, made monotone."""
  got = sig.holm([0.01, 0.04, NAN, 0.03, 0.005])
  np.testing.assert_allclose(got, [0.03, 0.06, NAN, 0.06, 0.02])
  assert sig.holm([]).shape == (0,)
  np.testing.assert_equal(sig.holm([0.9, 0.8]), [1.0, 1.0])


@given(st.lists(st.floats(0, 1) | st.just(NAN), max_size=8), st.randoms())
def test_holm_properties(p, random):
  p = np.asarray(p)
  got = sig.holm(p)
  np.testing.assert_array_equal(np.isnan(got), np.isnan(p))
  finite = ~np.isnan(p)
  assert np.all(got[finite] >= p[finite]) and np.all(got[finite] <= 1)
  order = np.argsort(p[finite])
  assert np.all(np.diff(got[finite][order]) >= 0)
  indices = list(range(len(p)))
  random.shuffle(indices)
  np.testing.assert_array_equal(sig.holm(p[indices]), got[indices])
  count = finite.sum()
  bonferroni = np.minimum(1, count * p[finite])
  assert np.all(got[finite] <= bonferroni + 1e-15)


def test_the_detectable_difference_is_detected():
  """There the test rejects 80 times in 100, with 4 seeds and with 10."""
  rng = np.random.default_rng(1)
  for n in (4, 10):
    delta = sig.minimum_detectable_difference(2.0, n)
    d = rng.normal(delta, 2.0, (20_000, n))
    p = stats.ttest_1samp(d, 0, axis=1).pvalue
    assert abs((p < 0.05).mean() - 0.8) < 0.01
  assert math.isnan(sig.minimum_detectable_difference(1.0, 1))
  assert math.isnan(sig.minimum_detectable_difference(NAN, 5))
  assert sig.minimum_detectable_difference(0.0, 5) == 0.0
  # Two seeds need a large one: t has one degree of freedom.
  assert 10 < sig.minimum_detectable_difference(1.0, 2) < 100
  # Many seeds: (z_.975 + z_.8) / sqrt(n).
  many = (stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) / math.sqrt(10_000)
  assert sig.minimum_detectable_difference(1.0, 10_000) == pytest.approx(
      many, rel=1e-3)


def delong_by_pairs(a, b, labels):
  """AUCs and standard error from the m x n matrix of comparisons."""
  aucs, v10, v01 = [], [], []
  for scores in (a, b):
    x, y = scores[labels == 1], scores[labels == 0]
    psi = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    aucs.append(psi.mean())
    v10.append(psi.mean(1))
    v01.append(psi.mean(0))
  s10, s01 = np.cov(v10), np.cov(v01)
  s = s10 / len(v10[0]) + s01 / len(v01[0])
  return *aucs, math.sqrt(max(s[0, 0] + s[1, 1] - 2 * s[0, 1], 0))


@pytest.mark.parametrize('seed', range(10))
@pytest.mark.parametrize('levels', [3, 20, 10_000])
def test_delong_against_all_pairs(seed, levels):
  rng = np.random.default_rng(seed)
  n = int(rng.integers(20, 200))
  labels = (rng.random(n) < 0.3).astype(int)
  labels[:4] = [0, 0, 1, 1]
  a = rng.integers(0, levels, n) / levels + labels * 0.2
  b = np.where(rng.random(n) < 0.5, a, rng.integers(0, levels, n) / levels)
  got = sig.delong(a, b, labels)
  auc_a, auc_b, error = delong_by_pairs(a, b, labels)
  assert got.auc_a == pytest.approx(auc_a)
  assert got.auc_b == pytest.approx(auc_b)
  assert got.difference == pytest.approx(auc_a - auc_b)
  assert got.error == pytest.approx(error, rel=1e-9)
  assert got.p == pytest.approx(2 * stats.norm.sf(abs(got.z)))
  other = sig.delong(b, a, labels)
  assert other.difference == -got.difference
  assert (other.error, other.p) == pytest.approx((got.error, got.p))


def test_delong_on_part_of_the_rows():
  rng = np.random.default_rng(3)
  a, b = rng.random((2, 60)).astype(np.float32)
  labels, where = rng.random((2, 60)) < 0.5
  some = sig.delong(a[where], b[where], labels[where])
  a[~where] = np.nan
  assert sig.delong(a, b, labels, where) == some
  assert some.auc_a == auc(a[where], labels[where])


def test_delong_at_the_edges():
  scores, labels = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 1, 0, 1])
  same = sig.delong(scores, scores, labels)
  assert (same.difference, same.error, same.z, same.p) == (0, 0, 0, 1)
  one_class = sig.delong(scores, scores, np.ones(4))
  assert all(math.isnan(x) for x in one_class)
  one_positive = sig.delong(scores, -scores, np.array([0, 0, 0, 1]))
  assert one_positive.difference == 1.0 and math.isnan(one_positive.error)
  perfect = sig.delong(labels, np.zeros(4), labels)
  assert (perfect.error, perfect.z, perfect.p) == (0, math.inf, 0)
  with pytest.raises(InputError, match='nan'):
    sig.delong(scores * np.nan, scores, labels)


@given(
    st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9), st.booleans()),
             min_size=4, max_size=40))
def test_only_the_order_of_scores_counts(rows):
  a, b, labels = map(np.asarray, zip(*rows))
  one = sig.delong(a, b, labels)
  other = sig.delong(np.exp(a / 3), 5 * b**3 - 7, labels)
  np.testing.assert_allclose(one, other)


def test_delong_has_the_right_size():
  """Two equally good scores of 1500 draws: 5 % of the tests reject."""
  rng = np.random.default_rng(5)
  rejected = 0
  for _ in range(1500):
    labels = rng.random(200) < 0.3
    common = labels + rng.normal(0, 1, 200)
    a, b = common + rng.normal(0, 1, (2, 200))
    rejected += sig.delong(a, b, labels).p < 0.05
  assert abs(rejected / 1500 - 0.05) < 0.02
