"""Nash-MTL, FairGrad and Aligned-MTL: values, slow references, meaning."""

import numpy as np
import pytest

from tests.balancing import references_newton as slow
from tests.balancing.weighing import weigh

NAN = (np.nan, np.nan)
ROOT = 2**.5
# G_11, G_12, G_22 -> weights of TorchJD 0.18; 1 / (n_i sqrt(1 + c)) for Nash.
METHODS = {
    'nash': ('nash', {}),
    'fairgrad 1': ('fairgrad', {'alpha': 1.}),
    'fairgrad 2': ('fairgrad', {'alpha': 2.}),
    'aligned': ('aligned', {}),
}
TABLE = {
    (1, -.5, 1): [(ROOT, ROOT)] * 2 + [(1.5874, 1.5874), (.5, .5)],
    (1, -5, 100): [(ROOT, ROOT / 10)] * 2 + [(1.3562, .0995), (.5218, .0673)],
    (1, 5, 100): [(.8165, .0816)] * 2 + [(.9294, .0216), (.4759, .0214)],
    (1, 0, 100): [(1, .1)] * 2 + [(1, .0464), (.5, .05)],
    (1, 1, 1): [(.7071, .7071)] * 2 + [(.63, .63), (.5, .5)],
    # No solution; TorchJD's solver diverges. Its Aligned-MTL has an update of
    # 0, and a negative weight.
    (1, -1, 1): [NAN] * 4,
    (4, -2, 1): [NAN] * 4,
    (0, 0, 1): [(1, 1)] * 3 + [(0, .5)],
}


def two(rows):
  first, product, second = np.array(rows, float).T
  return np.array([[first, product], [product, second]]).transpose(2, 0, 1)


@pytest.mark.parametrize('dtype', [np.float64, np.float32])
@pytest.mark.parametrize('column', METHODS)
def test_table(column, dtype):
  name, given = METHODS[column]
  expected = [row[list(METHODS).index(column)] for row in TABLE.values()]
  got, _ = weigh(name, two(list(TABLE)), dtype=dtype, **given)
  np.testing.assert_allclose(got, expected, atol=6e-5)
  # A third task without rows makes the general algorithm find them.
  three = np.zeros((len(TABLE), 3, 3))
  three[:, :2, :2] = two(list(TABLE))
  got, _ = weigh(name, three, counts=[1, 1, 0], dtype=dtype, **given)
  np.testing.assert_allclose(got[:, :2], expected, atol=6e-5)
  np.testing.assert_array_equal(
      np.nan_to_num(got[:, 2]), np.zeros(len(TABLE)))


SLOW = {
    'nash': ({}, lambda v: slow.fair(slow.products(v), 1)),
    'fairgrad': ({}, lambda v: slow.fair(slow.products(v), 1)),
    'fairgrad .5': ({'alpha': .5}, lambda v: slow.fair(slow.products(v), .5)),
    'fairgrad 2': ({'alpha': 2.}, lambda v: slow.fair(slow.products(v), 2)),
    'fairgrad 4': ({'alpha': 4.}, lambda v: slow.fair(slow.products(v), 4)),
    'aligned': ({}, slow.aligned),
    'aligned median': (
        {'fixed': {'scale': 'median'}}, lambda v: slow.aligned(v, 'median')),
    'aligned rmse': (
        {'fixed': {'scale': 'rmse'}}, lambda v: slow.aligned(v, 'rmse')),
}


# The others are long.
QUICK = [('nash', 2), ('fairgrad .5', 2), ('aligned', 2), ('nash', 3),
         ('fairgrad 2', 3), ('aligned', 3)]


@pytest.mark.parametrize('case, num', [
    *QUICK, *(pytest.param(case, num, marks=pytest.mark.long)
              for case in SLOW for num in (2, 3, 4) if (case, num) not in QUICK)
])
def test_a_thousand_matrices(case, num):
  given, reference = SLOW[case]
  vectors = slow.gradients(num, 1000, seed=num)
  gram = slow.products(vectors)
  expected = np.array([reference(v) for v in vectors])
  for dtype, limits in {
      np.float64: (1e-9, 1e-9), np.float32: (3e-5, 5e-3)}.items():
    got, _ = weigh(case.split()[0], gram, dtype=dtype, **given)
    scale = np.abs(expected).max(1)
    error = np.abs(got - expected).max(1) / scale
    np.testing.assert_array_less([np.quantile(error, .98), error.max()], limits)


@pytest.mark.parametrize(
    'num', [2, 3, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize('alpha', [.5, 1., 2.])
def test_every_gain_has_its_fair_size(alpha, num):
  """(G w)_i w_i = 1 in Nash-MTL, (G w)_i = w_i^(-1/alpha) in FairGrad."""
  gram = slow.products(slow.gradients(num, 1000, seed=40 + num, spread=2.))
  got, _ = weigh('fairgrad', gram, alpha=alpha)
  gains = np.einsum('nij,nj->ni', gram, got)
  np.testing.assert_allclose(gains * got ** (1 / alpha), 1, atol=1e-7)
  if alpha == 1:
    nash, _ = weigh('nash', gram)
    np.testing.assert_allclose(nash, got, rtol=1e-9)
    gains = np.einsum('nij,nj->ni', gram, nash)
    np.testing.assert_allclose(gains * nash, 1, atol=1e-9)


@pytest.mark.parametrize('num', [2, 3])
@pytest.mark.parametrize('scale', ['min', 'median', 'rmse'])
def test_aligned_gradients_are_orthogonal_and_of_one_norm(scale, num):
  """G^(1/2) w T is the sum of the rows of sqrt(L) I, in some coordinates."""
  vectors = slow.gradients(num, 200, seed=60 + num)
  got, _ = weigh('aligned', slow.products(vectors), fixed={'scale': scale})
  for v, w in zip(vectors, got):
    left, sizes, right = np.linalg.svd(v, full_matrices=False)
    orthogonal = left @ right
    level = {'min': sizes.min(), 'median': np.sort(sizes)[(num - 1) // 2],
             'rmse': np.sqrt((sizes**2).mean())}[scale]
    np.testing.assert_allclose(
        w @ v, level * orthogonal.mean(0), atol=1e-9 * sizes.max())
    assert np.linalg.cond(orthogonal) < 1 + 1e-9


@pytest.mark.parametrize('num', [2, 3])
@pytest.mark.parametrize('name, given, power', [
    ('nash', {}, -1 / 2), ('fairgrad', {'alpha': 2.}, -2 / 3),
    ('fairgrad', {'alpha': .5}, -1 / 3), ('aligned', {}, 0)])
def test_scale(name, given, power, num):
  gram = slow.products(slow.gradients(num, 100, seed=3))
  got, _ = weigh(name, gram, **given)
  for factor in (1e-12, .01, 1e12):
    again, _ = weigh(name, gram * factor, **given)
    np.testing.assert_allclose(again, got * factor**power, rtol=1e-7)


@pytest.mark.parametrize('num', [2, 3])
@pytest.mark.parametrize('name, given', [
    ('nash', {}), ('fairgrad', {'alpha': 1.}), ('fairgrad', {'alpha': 2.}),
    ('aligned', {})])
def test_single_precision(name, given, num):
  """Norms of 1e-8 to 1e8."""
  vectors = slow.gradients(num, 500, seed=7, spread=0)
  vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
  vectors *= 10 ** np.random.default_rng(0).uniform(-8, 8, (500, num, 1))
  gram = slow.products(vectors).astype(np.float32)
  got, _ = weigh(name, gram, dtype=np.float32, **given)
  expected, _ = weigh(name, gram.astype(np.float64), **given)
  # Newton's method of FairGrad ends in rounding errors now and then.
  hard = num > 2 and given == {'alpha': 2.}
  assert np.isnan(got).any(1).mean() < (.06 if hard else .01)
  fine = ~np.isnan(got + expected).any(1)
  # Lengths in the update, of which the longest is seen.
  sizes = np.sqrt(np.einsum('nii->ni', gram.astype(float)))
  scale = (expected * sizes)[fine].max(1, keepdims=True)
  error = np.abs((got - expected) * sizes)[fine] / scale
  assert np.quantile(error, .98) < 1e-4 and error.max() < 2e-2


@pytest.mark.parametrize('name', ['nash', 'fairgrad', 'aligned'])
def test_no_solution(name):
  """A convex combination of the gradients is 0."""
  star = np.array([[1, 0], [-.5, .75**.5], [-.5, -(.75**.5)]])
  lengths = np.array([[1, 1, 1], [1, 30, 1e-3], [1e4, 1, 2]])
  for dtype in (np.float64, np.float32):
    got, _ = weigh(
        name, slow.products(star * lengths[:, :, None]), dtype=dtype)
    assert np.isnan(got).all(), got
  # Two of three, while the third is somewhere else.
  opposite = np.array([[1., 0, 0], [-2, 0, 0], [0, 1, 0]])
  got, _ = weigh(name, slow.products(opposite)[None])
  assert np.isnan(got).all()
  got, _ = weigh(name, slow.products(opposite)[None] * [1, 0, 1]
                 * np.array([[1], [0], [1]]), counts=[1, 0, 1])
  assert (got[0, ::2] > 0).all() and got[0, 1] == 0


def test_the_root_of_fairgrad_far_from_nash():
  """For two tasks, of any fairness, found in logarithms."""
  for alpha in (.3, 10., 50.):
    gram = slow.products(slow.gradients(2, 300, seed=8))
    got, _ = weigh('fairgrad', gram, alpha=alpha)
    gains = np.einsum('nij,nj->ni', gram, got)
    np.testing.assert_allclose(
        np.log(gains) + np.log(got) / alpha, 0, atol=1e-6)


def test_aligned_keeps_a_small_gradient():
  """LAPACK's eigenvalues lose one that is 1e-8 times as long as another."""
  lengths = np.array([1e8, 1, 1e-8])
  vectors = slow.gradients(3, 100, seed=1, spread=0) * lengths[:, None]
  gram = slow.products(vectors)
  single, _ = weigh('aligned', gram, dtype=np.float32)
  got, _ = weigh('aligned', gram)
  np.testing.assert_allclose(single, got, rtol=1e-2, atol=1e-12)
  # The update has the length of the shortest, in three directions.
  parts = np.linalg.norm(
      np.einsum('ni,nip->np', got, vectors), axis=1)
  assert (parts > 1e-10).all() and (parts < 1e-7).all()


def test_aligned_of_dependent_gradients():
  """The eigenvectors of positive eigenvalues alone: the mean of one."""
  line = np.array([[1., 2, 3]] * 2)
  gram = np.einsum('ni,nj->nij', line, line)
  got, _ = weigh('aligned', gram)
  # v = (1, 2, 3) / sqrt 14: w = v (sum v) / 3.
  np.testing.assert_allclose(got, line * 6 / 14 / 3, rtol=1e-9)
