"""GradVac, MetaBalance and PCD: values, slow references, memory."""

import itertools

from esmm_jax.balancing import BALANCERS
from esmm_jax.types import InputError
import jax
import numpy as np
import pytest

from tests.balancing import references_newton as slow
from tests.balancing.weighing import start, weigh

CVR = {'primary': 'cvr'}  # The first of the tests' terms.
# G_11, G_12, G_22 -> weights of the first step: GradVac is PCGrad, MetaBalance
# with r = .7 by its formula, PCD those of the authors' code.
TABLE = {
    (1, -.5, 1): [(1.5, 1.5), (1, 1), (1.1544, .6003)],
    (1, -5, 100): [(6, 1.05), (1, .37), (1.1544, .0600)],
    (1, 5, 100): [(1, 1), (1, .37), (1, 0)],
    (1, 0, 100): [(1, 1), (1, .37), (.9998, .0020)],
    (1, 1, 1): [(1, 1), (1, 1), (1, 0)],
    (1, -1, 1): [(2, 2), (1, 1), (50, 51)],
    (4, -2, 1): [(1.5, 3), (1, 1.7), (50, 102)],
    # The authors' PCD stops where the primary task's gradient is 0.
    (0, 0, 1): [(1, 1), (1, 1), (0, 1)],
}
METHODS = ('gradvac', 'metabalance', 'pcd')


def fixed(name):
  return {} if name == 'gradvac' else CVR


def two(rows):
  first, product, second = np.array(rows, float).T
  return np.array([[first, product], [product, second]]).transpose(2, 0, 1)


@pytest.mark.parametrize('dtype', [np.float64, np.float32])
@pytest.mark.parametrize('name', METHODS)
def test_table(name, dtype):
  expected = [row[METHODS.index(name)] for row in TABLE.values()]
  limits = dict(atol=6e-5, rtol=1e-6 if dtype == np.float64 else 1e-3)
  got, _ = weigh(name, two(list(TABLE)), fixed=fixed(name), dtype=dtype)
  np.testing.assert_allclose(got, expected, **limits)
  three = np.zeros((len(TABLE), 3, 3))
  three[:, :2, :2] = two(list(TABLE))
  got, _ = weigh(
      name, three, counts=[1, 1, 0], fixed=fixed(name), dtype=dtype)
  np.testing.assert_allclose(got[:, :2], expected, **limits)
  np.testing.assert_array_equal(got[:, 2], 0)


def corrected(vectors, targets, beta, after):
  """The reference's update, in the orders that give the new targets."""
  num = len(vectors)
  total = 0
  for i in range(num):
    gaps = []
    for order in slow.orders(num, i):
      every = [order if k == i else () for k in range(num)]
      v, new = slow.gradvac(vectors, targets, beta, every)
      gaps.append((np.abs(new[i] - after[i]).max(), v[i]))
    gap, v = min(gaps, key=lambda pair: pair[0])
    assert gap < 1e-9
    total += v
  return total


@pytest.mark.parametrize(
    'num, count', [(2, 1000), (3, 1000), pytest.param(
        4, 300, marks=pytest.mark.slow)])
def test_gradvac_on_gradients(num, count):
  rng = np.random.default_rng(num)
  vectors = slow.gradients(num, count, seed=num)
  targets = rng.uniform(-.8, .9, (count, num, num))
  targets[:, np.arange(num), np.arange(num)] = 0
  got, after = weigh(
      'gradvac', slow.products(vectors), state=targets, beta=.9)
  expected = np.array([
      corrected(v, t, .9, a) for v, t, a in zip(vectors, targets, after)])
  update = np.einsum('ni,nip->np', got, vectors)
  scale = np.abs(expected).max(1, keepdims=True)
  np.testing.assert_allclose(update / scale, expected / scale, atol=1e-8)


def test_gradvac_by_the_closed_form():
  """And both cosines are the target where they were below it."""
  vectors = slow.gradients(2, 1000, seed=5)
  gram = slow.products(vectors)
  sizes = np.sqrt(np.einsum('nii->ni', gram))
  cosine = gram[:, 0, 1] / sizes.prod(1)
  target = np.random.default_rng(0).uniform(-.9, .9, 1000)
  state = np.repeat(target, 4).reshape(-1, 2, 2) * (1 - np.eye(2))
  got, after = weigh('gradvac', gram, state=state)
  more = target * np.sqrt(1 - cosine**2) / np.sqrt(1 - target**2) - cosine
  more = np.where(cosine < target, more, 0)
  expected = 1 + more[:, None] * sizes[:, ::-1] / sizes
  np.testing.assert_allclose(got, expected, rtol=1e-8)
  np.testing.assert_allclose(after[:, 0, 1], (target + cosine) / 2, rtol=1e-8)
  np.testing.assert_allclose(after[:, 1, 0], (target + cosine) / 2, rtol=1e-8)
  first = vectors[:, 0] + (got[:, 1] - 1)[:, None] * vectors[:, 1]
  now = np.einsum('np,np->n', first, vectors[:, 1])
  now /= np.linalg.norm(first, axis=1) * sizes[:, 1]
  np.testing.assert_allclose(now, np.maximum(cosine, target), atol=1e-9)


def test_gradvac_draws_an_order_for_three_tasks():
  gram = np.repeat(slow.products(slow.gradients(3, 1, seed=2)), 60, 0)
  state = np.full((60, 3, 3), .5)
  got, _ = weigh('gradvac', gram, state=state)
  again, _ = weigh('gradvac', gram, state=state)
  np.testing.assert_array_equal(got, again)
  # Each task has two orders.
  assert 2 < len(np.unique(got.round(9), axis=0)) <= 8


def test_gradvac_remembers():
  """Two steps by hand, a task that is away, and a target that is 1."""
  np.testing.assert_array_equal(start('gradvac', 2), np.zeros((2, 2)))
  gram = two([(1, -.5, 1)])
  got, state = weigh('gradvac', gram, beta=.75)
  np.testing.assert_allclose(got, [[1.5, 1.5]])
  np.testing.assert_allclose(state, [[[0, -.125], [-.125, 0]]])
  got, state = weigh('gradvac', gram, state=state, beta=.75)
  # From -.5 to -.125: -.125 sqrt(.75 / (1 - 1/64)) + .5
  np.testing.assert_allclose(got, 1 - .125 * (.75 / (63 / 64))**.5 + .5)
  np.testing.assert_allclose(state[0, 0, 1], -.125 * .75 - .5 * .25)
  _, same = weigh('gradvac', gram * [[1, 0], [0, 0]], counts=[1, 0],
                  state=state)
  np.testing.assert_array_equal(same, state)
  for dtype in (np.float64, np.float32):
    got, _ = weigh('gradvac', gram, state=np.ones((1, 2, 2)), dtype=dtype)
    assert np.isfinite(got).all() and (got > 1).all()


def test_metabalance_by_its_formula():
  """m_i is the average over the steps of the task, of any number of steps."""
  rng = np.random.default_rng(0)
  count, num, steps, beta, relax = 50, 3, 6, .8, .6
  state, history = None, [[[] for _ in range(num)] for _ in range(count)]
  for step in range(steps):
    gram = slow.products(slow.gradients(num, count, seed=step))
    counts = (rng.random((count, num)) < .6).astype(float)
    gram = gram * counts[:, None] * counts[:, :, None]
    sizes = np.sqrt(np.einsum('nii->ni', gram))
    before = state
    states = [before] * 2
    for k, magnitude in enumerate(('primary', 'largest')):
      got, states[k] = weigh(
          'metabalance', gram, counts=counts, state=before,
          fixed={'magnitude': magnitude}, beta=beta, relax=relax)
      for n, i in itertools.product(range(count), range(num)):
        if counts[n, i] and not k:
          history[n][i].append(sizes[n, i])
      for n in range(count):
        there = np.flatnonzero(counts[n])
        m = {i: average(history[n][i], beta) for i in there}
        # The last that has rows is the primary one.
        top = m[there[-1]] if not k and m else max(m.values(), default=0)
        for i in range(num):
          expected = relax * top / m[i] + 1 - relax if i in m else 0
          np.testing.assert_allclose(got[n, i], expected, rtol=1e-6)
    state = states[0]
    for a, b in zip(jax.tree.leaves(states[0]), jax.tree.leaves(states[1])):
      np.testing.assert_array_equal(a, b)


def average(values, beta):
  decay = beta ** np.arange(len(values))[::-1]
  return (decay * values).sum() / decay.sum()


def test_metabalance_at_its_ends():
  gram = slow.products(slow.gradients(3, 30))
  sizes = np.sqrt(np.einsum('nii->ni', gram))
  got, _ = weigh('metabalance', gram, fixed=CVR, relax=1.)
  np.testing.assert_allclose(got * sizes, sizes[:, :1] * np.ones(3))
  got, _ = weigh('metabalance', gram, fixed={'magnitude': 'largest'}, relax=1.)
  np.testing.assert_allclose(got * sizes, sizes.max(1)[:, None] * np.ones(3))
  got, _ = weigh('metabalance', gram, fixed=CVR, relax=0.)
  np.testing.assert_array_equal(got, 1)


@pytest.mark.parametrize(
    'num', [2, 3, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    'tau', [.02, pytest.param(.5, marks=pytest.mark.slow)])
def test_pcd_on_gradients(num, tau):
  vectors = slow.gradients(num, 1000, seed=num)
  got, _ = weigh('pcd', slow.products(vectors), fixed=CVR, tau=tau, epsilon=0.)
  update = np.einsum('ni,nip->np', got, vectors)
  parts, expected = map(np.array, zip(*(
      slow.pcd(v, tau, 0) for v in vectors)))
  scale = np.linalg.norm(vectors[:, 0], axis=1)[:, None]
  np.testing.assert_allclose(update / scale, expected / scale, atol=1e-6)
  # The length of the primary gradient; none of the others is harmed.
  np.testing.assert_allclose(
      np.linalg.norm(update, axis=1), scale[:, 0], rtol=1e-9)
  units = vectors / np.linalg.norm(vectors, axis=2, keepdims=True)
  gains = np.einsum('nip,np->ni', units, update)
  least = tau * scale[:, 0] / np.linalg.norm(
      np.einsum('ni,nip->np', parts, units), axis=1)
  assert (gains[:, 1:] > least[:, None] - 1e-6 * scale).all()
  single, _ = weigh('pcd', slow.products(vectors), fixed=CVR, tau=tau,
                    epsilon=0., dtype=np.float32)
  error = np.linalg.norm(
      np.einsum('ni,nip->np', single - got, vectors), axis=1) / scale[:, 0]
  assert np.quantile(error, .98) < 1e-3 and error.max() < .1


def test_pcd_with_constraints_that_contradict():
  vectors = np.array([[0, 1., 0], [1, .1, 0], [-3, -.3, 0]])
  for dtype in (np.float64, np.float32):
    got, _ = weigh('pcd', slow.products(vectors)[None], fixed=CVR, dtype=dtype)
    np.testing.assert_allclose(got, [[1, 0, 0]], atol=1e-9)


def test_pcd_has_no_solution_without_progress():
  got, _ = weigh('pcd', two([(1, -1, 1), (1, -.5, 1)]), fixed=CVR, tau=0.)
  assert np.isnan(got[0]).all()
  # Without tau it is the projection of PCGrad, of the old length.
  np.testing.assert_allclose(got[1], np.array([1, .5]) / .75**.5)


def test_pcd_remembers():
  """Scales after two steps: v = mean of n^2, the newer one a bit heavier."""
  beta, tau = .9, .1
  grams = two([(1, -1, 4)]), two([(9, -2, 1)])
  _, state = weigh('pcd', grams[0], fixed=CVR, beta=beta)
  np.testing.assert_allclose(state.mass, [[1 - beta] * 2])
  np.testing.assert_allclose(state.total, [[.1, .4]])
  got, state = weigh('pcd', grams[1], state=state, fixed=CVR, beta=beta,
                     tau=tau, epsilon=1e-8)
  v = (beta * np.array([1, 4]) + np.array([9, 1])) / (1 + beta)
  np.testing.assert_allclose(state.total / state.mass, v[None])
  s = 1 / np.sqrt(v + 1e-8)
  n = grams[1][0] * s * s[:, None]
  m = (tau * n[1, 1] - n[0, 1]) / n[1, 1]
  square = n[0, 0] + 2 * m * n[0, 1] + m**2 * n[1, 1]
  np.testing.assert_allclose(
      got[0], np.array([s[0], m * s[1]]) * np.sqrt(9 / square))


@pytest.mark.parametrize('name', ['metabalance', 'pcd'])
def test_memory_starts_empty_and_waits_for_its_task(name):
  for leaf in jax.tree.leaves(start(name, 3)):
    np.testing.assert_array_equal(leaf, np.zeros(3))
  gram = slow.products(slow.gradients(3, 5))
  _, state = weigh(name, gram)
  away = np.array([1., 1, 0])
  masked = gram * away * away[:, None]
  _, later = weigh(name, masked, counts=away, state=state)
  for a, b in zip(jax.tree.leaves(later), jax.tree.leaves(state)):
    np.testing.assert_array_equal(a[:, 2], b[:, 2])
    assert (a[:, :2] != b[:, :2]).all()


@pytest.mark.parametrize('name', ['metabalance', 'pcd'])
def test_primary_task(name):
  gram = slow.products(slow.gradients(3, 40, seed=4))
  by_name = {
      p: weigh(name, gram, fixed={'primary': p})[0] for p in ('cvr', 'x')}
  assert (by_name['cvr'] != by_name['x']).any()
  unset, _ = weigh(name, gram)
  np.testing.assert_array_equal(unset, by_name['x'])
  # Its gradient is 0, or it has no rows: the last that has some.
  for counts in ([1, 1, 1], [1, 1, 0]):
    gone = gram * [1, 1, 0] * np.array([[1], [1], [0]])
    got, _ = weigh(name, gone, counts=counts, fixed={'primary': 'x'})
    expected, _ = weigh(name, gram[:, :2, :2], fixed={'primary': 'ctr'})
    np.testing.assert_allclose(got[:, :2], expected, rtol=1e-6, atol=1e-9)
  weights = BALANCERS[name].weights
  with pytest.raises(InputError, match=(
      "balancing.primary is 'ctrr', which is none .* Did you mean 'ctr'")):
    weights(gram[0], np.ones(3), np.ones(3), start(name, 3), None,
            primary='ctrr', terms=('cvr', 'ctr', 'x'))


@pytest.mark.parametrize('num', [2, 3])
@pytest.mark.parametrize('name', METHODS)
def test_lengths_in_other_units(name, num):
  """One unit for all changes no weight, if PCD adds nothing to its squares."""
  gram = slow.products(slow.gradients(num, 50))
  given = {'epsilon': 0.} if name == 'pcd' else {}
  got, _ = weigh(name, gram, **given)
  for factor in (1e-12, 1e12):
    again, _ = weigh(name, gram * factor, **given)
    np.testing.assert_allclose(again, got, rtol=1e-7, atol=1e-12)
