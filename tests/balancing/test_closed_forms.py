"""Methods on the Gram matrix: values, and slow references."""

import numpy as np
import pytest

from tests.balancing import references
from tests.balancing.weighing import weigh

NAN = (np.nan, np.nan)
# G_11, G_12, G_22 -> weights of TorchJD 0.18, CAGrad with c = .5.
METHODS = ('pcgrad', 'upgrad', 'mgda', 'cagrad', 'imtl_g', 'dualproj')
TABLE = {
    (1, -.5, 1): [(1.5, 1.5), (.75, .75), (.5, .5), (.75, .75), (.5, .5),
                  (.5, .5)],
    (1, -5, 100): [(6, 1.05), (2.975, .525), (.9459, .0541), (2.8848, .5),
                   (.9091, .0909), (2.475, .5)],
    (1, 5, 100): [(1, 1), (.5, .5), (1, 0), (3.1339, .5), (.9091, .0909),
                  (.5, .5)],
    (1, 0, 100): [(1, 1), (.5, .5), (.9901, .0099), (3.0125, .5),
                  (.9091, .0909), (.5, .5)],
    (1, 1, 1): [(1, 1), (.5, .5), (.5, .5), (.75, .75), (.5, .5), (.5, .5)],
    (1, -1, 1): [(2, 2), (.9999, .9999), (.5, .5), (0, 0), (0, 0), (.5, .5)],
    (4, -2, 1): [(1.5, 3), (.75, 1.4995), (.3333, .6667), (.5, .75), (2, -1),
                 (.5, .9995)],
    (0, 0, 1): [(1, 1), (.5, .5), (1, 0), (0, 0), (0, 1), (.5, .5)],
}
# Where we do not follow: an update of 0, a negative weight, and a model that
# stops because one task has no gradient.
OURS = {
    ('cagrad', (1, -1, 1)): (.5, .5),
    ('imtl_g', (1, -1, 1)): NAN,
    ('imtl_g', (4, -2, 1)): NAN,
    ('mgda', (0, 0, 1)): (0, 1),
    ('cagrad', (0, 0, 1)): (0, 1.5),
    ('imtl_g', (0, 0, 1)): (0, 1),
}


def two(rows):
  first, product, second = np.array(rows, float).T
  return np.array([[first, product], [product, second]]).transpose(2, 0, 1)


@pytest.mark.parametrize('name', METHODS)
def test_table(name):
  expected = [
      OURS.get((name, row), weights[METHODS.index(name)])
      for row, weights in TABLE.items()]
  got, _ = weigh(name, two(list(TABLE)))
  np.testing.assert_allclose(got, expected, atol=6e-5)
  # A third task without rows makes the general algorithm find them.
  three = np.zeros((len(TABLE), 3, 3))
  three[:, :2, :2] = two(list(TABLE))
  got, _ = weigh(name, three, counts=[1, 1, 0])
  np.testing.assert_allclose(got[:, :2], expected, atol=6e-5)
  np.testing.assert_array_equal(
      np.nan_to_num(got[:, 2]), np.zeros(len(TABLE)))


SLOW = {
    'pcgrad': references.pcgrad,
    'upgrad': references.upgrad,
    'dualproj': references.dualproj,
    'mgda': references.mgda,
    'imtl_g': references.imtl_g,
}


@pytest.mark.parametrize('num, count', [
    (2, 1000), (3, 60), *(pytest.param(num, 1000, marks=pytest.mark.slow)
                          for num in (3, 4))])
@pytest.mark.parametrize('name', SLOW)
def test_a_thousand_matrices(name, num, count):
  gram = references.grams(num, count, seed=num)
  fixed = {'order': 'all'} if name == 'pcgrad' else {}
  got, _ = weigh(name, gram, fixed=fixed)
  expected = np.array([SLOW[name](g) for g in gram])
  np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
  fine = ~np.isnan(expected).any(1)
  assert fine.mean() > .7
  got, expected, gram = got[fine], expected[fine], gram[fine]
  np.testing.assert_allclose(
      references.parts(got, gram), references.parts(expected, gram), atol=1e-6)
  scale = np.abs(expected).max(1, keepdims=True)
  np.testing.assert_allclose(got / scale, expected / scale, atol=1e-6)


@pytest.mark.parametrize('delta', [0., 1e-4, 1e-2])
@pytest.mark.parametrize('name', ['upgrad', 'dualproj'])
def test_delta(name, delta):
  for num in (2, 3):
    gram = references.grams(num, 200, seed=5, spread=2.0)
    got, _ = weigh(name, gram, delta=delta)
    expected = np.array([SLOW[name](g, delta) for g in gram])
    np.testing.assert_allclose(
        references.parts(got, gram), references.parts(expected, gram),
        atol=1e-6)


def test_delta_takes_weight_from_a_small_gradient():
  ratios = np.array([1., 10, 100, 300])
  gram = two([(1, -.5 * r, r**2) for r in ratios])
  got, _ = weigh('upgrad', gram)
  np.testing.assert_allclose(got[:, 0], [.75, 2.97, 13.0, 8.0], rtol=2e-2)
  got, _ = weigh('upgrad', gram, delta=0.)
  np.testing.assert_allclose(got[:, 0], [.75, 3.0, 25.5, 75.5], rtol=1e-9)


@pytest.mark.parametrize('c', [
    .5, *(pytest.param(c, marks=pytest.mark.slow) for c in (0., .2, .9, 2.))])
def test_cagrad(c):
  for num, count in {2: 1000, 3: 60}.items():
    gram = references.grams(num, count, seed=num)
    got, _ = weigh('cagrad', gram, c=c)
    np.testing.assert_allclose(
        references.parts(got, gram),
        references.parts(references.cagrad(gram, c), gram), atol=2e-5)


@pytest.mark.parametrize('c', [.1, .5, .9, 2.])
@pytest.mark.parametrize(
    'num', [2, 3, pytest.param(4, marks=pytest.mark.slow)])
def test_cagrad_has_no_duality_gap(num, c):
  """The worst gain of the update is that of the dual: it is the optimum."""
  gram = references.grams(num, 1000, seed=9 + num)
  got, _ = weigh('cagrad', gram, c=c)
  more = got - 1 / num
  assert (more > -1e-9).all()
  least = np.einsum('nij,nj->ni', gram, got).min(1)
  a = more / more.sum(1, keepdims=True)
  dual = references.cagrad_dual(gram, a, c)
  square = gram.mean((1, 2))
  length = np.einsum('ni,nij,nj->n', more, gram, more)
  np.testing.assert_allclose(length, c**2 * square, rtol=1e-6)
  worst = references.norms(gram).max(1) * np.sqrt(square)
  np.testing.assert_allclose(least / worst, dual / worst, atol=1e-6)


@pytest.mark.slow
def test_cagrad_rescale():
  gram = references.grams(3, 10)
  plain, _ = weigh('cagrad', gram, c=.4)
  for rescale, divisor in {'none': 1, 'square': 1.16, 'sum': 1.4}.items():
    got, _ = weigh('cagrad', gram, fixed={'rescale': rescale}, c=.4)
    np.testing.assert_allclose(got, plain / divisor)


def test_cagrad_without_a_way():
  """Opposite gradients, and a ball that reaches the update of 0."""
  for dtype in (np.float64, np.float32):
    gram = two([(4, -2, 1)] * 2)
    # Rounding leaves such a rest: weights of 1e4 that mean nothing.
    gram[:, 1, 1] += 4 * np.finfo(dtype).eps
    three = np.zeros((2, 3, 3))
    three[:, :2, :2] = gram
    c = np.array([1.5, .9])
    for got in (
        weigh('cagrad', gram, c=c, dtype=dtype)[0],
        weigh('cagrad', three, counts=[1, 1, 0], c=c, dtype=dtype)[0]):
      assert np.isnan(got[0]).all() and (np.abs(got[1]) < 2).all()


@pytest.mark.slow
@pytest.mark.parametrize('num', [2, 3])
def test_mgda_of_divided_gradients(num):
  gram = references.grams(num, 50)
  losses = np.exp(np.random.default_rng(0).normal(size=(50, num)))
  sizes = references.norms(gram)
  for normalize, divisor in {
      'l2': sizes, 'loss': losses, 'loss+': sizes * losses}.items():
    got, _ = weigh(
        'mgda', gram, losses, fixed={'normalize': normalize})
    fitted = gram / divisor[:, None] / divisor[:, :, None]
    expected = np.array([references.mgda(g) for g in fitted]) / divisor
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)
  got, _ = weigh('mgda', gram, np.where(np.arange(num) == 0, 0., losses),
                 fixed={'normalize': 'loss'})
  assert np.isnan(got).all()


def test_the_search_of_another_library_is_above_the_minimum():
  gram = references.grams(3, 1000, seed=3)
  got, _ = weigh('mgda', gram)
  theirs = np.array([references.frank_wolfe(g) for g in gram])
  ratio = np.array([
      references.value(g, t) / references.value(g, w)
      for g, t, w in zip(gram, theirs, got)])
  assert ratio.min() > 1 - 1e-9
  assert ratio.max() > 1.2 and np.median(ratio) > 1.001


@pytest.mark.parametrize('name', METHODS)
@pytest.mark.parametrize(
    'num', [2, pytest.param(3, marks=pytest.mark.slow)])
def test_single_precision(name, num):
  """Of gradients whose norms are 1e-8 to 1e8."""
  rng = np.random.default_rng(num)
  vectors = rng.normal(size=(500, num, 2 * num))
  vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
  vectors *= 10 ** rng.uniform(-8, 8, size=(500, num, 1))
  gram = (vectors @ vectors.transpose(0, 2, 1)).astype(np.float32)
  got, _ = weigh(name, gram, dtype=np.float32)
  expected, _ = weigh(name, gram.astype(np.float64))
  assert got.dtype == np.float32 and expected.dtype == np.float64
  np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
  fine = ~np.isnan(got).any(1)
  assert fine.mean() > .7
  np.testing.assert_allclose(
      references.parts(got, gram)[fine], references.parts(expected, gram)[fine],
      atol=2e-3)


def test_pcgrad_draws_an_order():
  gram = np.repeat(references.grams(3, 40, seed=1)[None], 50, 0)
  gram = gram.reshape(-1, 3, 3)
  drawn, _ = weigh('pcgrad', gram, seed=0)
  again, _ = weigh('pcgrad', gram, seed=0)
  other, _ = weigh('pcgrad', gram, seed=1)
  np.testing.assert_array_equal(drawn, again)
  assert (drawn != other).any()
  mean, _ = weigh('pcgrad', gram[:40], fixed={'order': 'all'})
  drawn = drawn.reshape(50, 40, 3)
  deviation = drawn.std(0) / 50**.5
  assert (np.abs(drawn.mean(0) - mean) <= 5 * deviation + 1e-9).all()
  assert (deviation > 1e-3).any()
