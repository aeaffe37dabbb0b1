"""The contract of a method, for all that are registered.

A new method needs no line here unless it differs in one of the ways below.
"""

import itertools

from esmm_jax.balancing import BALANCERS, method as methods
import jax
import numpy as np
import pytest

from tests.balancing import references
from tests.balancing.weighing import after, names, options, start, TERMS, weigh

# Method -> options that are not traced: those without chance.
FIXED = {
    'pcgrad': {'order': 'all'},
    'metabalance': {'primary': 'cvr'},
    'pcd': {'primary': 'cvr'},
}
# Traced options, for states that are not those of the start.
GIVEN = {'window': 2.0}
# Method -> exponent of w(a G) = a^exponent w(G) at the options' defaults, 0
# where none is named; None: of no simple form (PCD adds a constant to squares).
SCALE = {'fairgrad': -0.5, 'nash': -0.5, 'pcd': None}
# The update does not depend on the lengths of gradients, but for a factor.
IMPARTIAL = {'imtl_g', 'nash', 'fairgrad'}
# Method -> tests that do not fit it, and why.
EXCEPTIONS = {
    # A draw for each task by its index.
    'random': {'order', 'subset', 'equal'},
    # It takes the tasks in a random order.
    'gradvac': {'order'},
}
NAMES = sorted(BALANCERS)
NUM = 3
# Numbers of tasks and types; each is a program for each method.
PRECISIONS = [
    (2, np.float64), (NUM, np.float64),
    *(pytest.param(*more, marks=pytest.mark.slow) for more in (
        (1, np.float64), (NUM, np.float32))),
    *(pytest.param(*more, marks=pytest.mark.long) for more in (
        (1, np.float32), (2, np.float32)))]
SUBSETS = [s for s in itertools.product((0, 1), repeat=NUM) if any(s)]


def for_all(test=''):
  return pytest.mark.parametrize(
      'name', [n for n in NAMES if test not in EXCEPTIONS.get(n, ())])


def problems(num=NUM, count=20, seed=0):
  """Random Gram matrices and losses."""
  losses = np.exp(np.random.default_rng(seed).normal(size=(count, num)))
  return references.grams(num, count, seed=seed), losses


def given(name):
  return {k: v for k, v in GIVEN.items() if k in options(name)}


def chosen(name):
  return dict(fixed=FIXED.get(name, {}), **given(name))


def used(name, num=NUM, count=20, steps=5):
  """States after some steps in which all tasks were there."""
  state = None
  for step in range(steps):
    gram, losses = problems(num, count, seed=50 + step)
    _, state = weigh(name, gram, losses, state=state, seed=step, **chosen(name))
    state = moved(name, losses, np.ones_like(losses), state, step)
  return state


def moved(name, losses, counts, state, seed=0):
  """States after the part of a step that follows the update."""
  if BALANCERS[name].after is None:
    return state
  later = losses * np.exp(
      .1 * np.random.default_rng(seed).normal(size=losses.shape))
  return after(name, losses, later, counts, state, **given(name))


def only(state, tasks, num=NUM):
  """Parts of states, with axes after the first that are tasks."""
  def take(leaf):
    for axis in range(1, leaf.ndim):
      if leaf.shape[axis] == num:
        leaf = np.take(leaf, tasks, axis)
    return leaf
  return jax.tree.map(take, state)


def equal(got, expected, **tolerance):
  assert jax.tree.structure(got) == jax.tree.structure(expected)
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected)):
    np.testing.assert_allclose(a, b, **tolerance)


def all_or_none(weights):
  """Finite weights, or nan for each task of a problem."""
  finite = np.isfinite(weights)
  lost = np.isnan(weights).all(-1)
  assert (finite.all(-1) | lost).all(), weights[~(finite.all(-1) | lost)]
  return ~lost


def degenerate(num):
  """Name -> Gram matrix."""
  rng = np.random.default_rng(3)
  vectors = rng.normal(size=(num, num + 1))
  gram = lambda x: x @ x.T
  signs = np.where(np.arange(num) % 2, -1., 1.)
  zero = vectors.copy()
  zero[0] = 0
  plane = vectors.copy()
  plane[:, min(2, num):] = 0
  nan, infinite = gram(vectors), gram(vectors)
  nan[0, -1] = nan[-1, 0] = np.nan
  infinite[0, 0] = np.inf
  return {
      'zero row': gram(zero),
      'equal': np.ones((num, num)),
      'opposite': np.outer(signs, signs),
      'opposite, of other lengths': np.outer(
          signs, signs) * np.outer(1 + np.arange(num), 1 + np.arange(num)),
      'one line': np.ones((num, num)) * np.outer(
          1 + np.arange(num), 1 + np.arange(num)),
      'a plane': gram(plane),
      'all zero': np.zeros((num, num)),
      'nearly opposite': np.outer(signs, signs) + 1e-12 * np.eye(num),
      'very different': gram(vectors * 10. ** np.linspace(
          -8, 8, num)[:, None]),
      'nan': nan,
      'infinite': infinite,
      'plain': gram(vectors),
  }


@for_all()
@pytest.mark.parametrize('num, dtype', PRECISIONS)
def test_weights_are_finite_or_all_nan(name, num, dtype):
  gram = np.array(list(degenerate(num).values()))
  losses = problems(num, len(gram))[1]
  got, state = weigh(name, gram, losses, dtype=dtype, **chosen(name))
  assert got.dtype == dtype
  fine = all_or_none(got)
  assert fine[-1] and (got[-1] > -1).all()
  for before, later in zip(
      jax.tree.leaves(start(name, num)), jax.tree.leaves(state)):
    assert later.shape[1:] == np.shape(before)
  if num == 1:
    assert (got[-1] > 0).all()


@for_all()
@pytest.mark.parametrize('num', [2, NUM])
def test_others_are_trained_where_a_gradient_is_zero(name, num):
  """Or there is no solution, where the framework weighs all with 1."""
  gram, losses = problems(num)
  gram[:, 0] = gram[:, :, 0] = 0
  got, _ = weigh(name, gram, losses, **chosen(name))
  fine = all_or_none(got)
  length = np.einsum('ni,nij,nj->n', got, gram, got)[fine]
  longest = references.norms(gram).max(1)[fine]
  # MGDA's update is the shortest of the hull, and others' are longer.
  assert (length > 1e-12 * longest**2).all()
  if num == 2:
    assert (got[fine, 1] > 0).all()


@for_all('subset')
@pytest.mark.parametrize(
    'size', [2, 3, pytest.param(1, marks=pytest.mark.slow)])
def test_tasks_that_are_there_are_weighed_as_if_alone(name, size):
  """For every subset; what is stored of the others does not move."""
  count = 20
  gram, losses = problems(count=count)
  state = used(name, count=count)
  for subset in (np.array(s) for s in SUBSETS if sum(s) == size):
    tasks = np.flatnonzero(subset)
    terms = [TERMS[i] for i in tasks]
    if 'primary' in options_of(name) and terms[0] != TERMS[0]:
      continue  # The task that all turns on is not there.
    masked = gram * subset * subset[:, None]
    counts = np.broadcast_to(7. * subset, losses.shape)
    got, later = weigh(
        name, masked, losses * subset, counts, state, **chosen(name))
    sub = gram[:, tasks][:, :, tasks]
    alone, expected = weigh(
        name, sub, losses[:, tasks], 7., only(state, tasks), terms,
        **chosen(name))
    fine = all_or_none(got)
    np.testing.assert_array_equal(fine, all_or_none(alone))
    np.testing.assert_array_equal(got[fine][:, subset == 0], 0)
    np.testing.assert_allclose(
        got[fine][:, tasks], alone[fine], rtol=1e-6, atol=1e-9)
    equal(only(later, tasks), expected, rtol=1e-6, atol=1e-9)
    unmoved(later, state, subset)
    unmoved(moved(name, losses * subset, counts, state), state, subset)


def options_of(name):
  return methods.options(BALANCERS[name])


def unmoved(later, state, subset):
  """What is stored of an absent task is the same."""
  for a, b in zip(jax.tree.leaves(later), jax.tree.leaves(state)):
    for axis in range(1, a.ndim):
      if a.shape[axis] == NUM:
        gone = np.flatnonzero(1 - subset)
        np.testing.assert_array_equal(
            np.take(a, gone, axis), np.take(b, gone, axis))


@for_all()
def test_a_batch_without_any_task(name):
  gram, losses = problems(count=4)
  state = used(name, count=4)
  got, later = weigh(
      name, gram * 0, losses * 0, 0., state, **chosen(name))
  np.testing.assert_array_equal(got, 0)
  unmoved(later, state, np.zeros(NUM, int))


@for_all('order')
def test_order_of_tasks(name):
  gram, losses = problems()
  state = used(name)
  got, later = weigh(name, gram, losses, state=state, **chosen(name))
  for order in ([1, 2, 0], [0, 2, 1]):
    again, moved_state = weigh(
        name, gram[:, order][:, :, order], losses[:, order],
        state=only(state, order), terms=[TERMS[i] for i in order],
        **chosen(name))
    np.testing.assert_allclose(got[:, order], again, rtol=1e-6, atol=1e-9)
    equal(only(later, order), moved_state, rtol=1e-6, atol=1e-9)


@for_all('equal')
@pytest.mark.parametrize('num', [2, NUM])
def test_equal_tasks_are_weighed_alike(name, num):
  if 'primary' in options_of(name):
    pytest.skip('it has a primary task')
  got, _ = weigh(name, np.ones((1, num, num)), **chosen(name))
  assert all_or_none(got).all() and (got > 0).all()
  np.testing.assert_allclose(got / got[:, :1], 1, rtol=1e-2)


@for_all('scale')
def test_scale(name):
  exponent = SCALE.get(name, 0.0)
  if exponent is None:
    pytest.skip('of no simple form')
  gram, losses = problems()
  got, _ = weigh(name, gram, losses, **chosen(name))
  for factor in (1e-8, 1e-2, 1e8):
    again, _ = weigh(name, gram * factor, losses, **chosen(name))
    np.testing.assert_allclose(
        again, got * factor**exponent, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize('name', sorted(IMPARTIAL & set(NAMES)))
def test_lengths_change_no_direction(name):
  for num in (2, NUM):
    gram, _ = problems(num, 50)
    lengths = np.exp(np.random.default_rng(1).normal(size=(50, num)))
    got, _ = weigh(name, gram)
    again, _ = weigh(name, gram * lengths[:, None] * lengths[:, :, None])
    both = got * references.norms(gram), again * lengths * references.norms(
        gram)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in both]
    fine = ~np.isnan(got + again).any(1)
    assert fine.mean() > .7
    np.testing.assert_allclose(unit[0][fine], unit[1][fine], atol=1e-6)


@pytest.mark.slow
@for_all()
@pytest.mark.parametrize('num', [2, NUM])
def test_single_precision(name, num):
  """Norms of 1e-8 to 1e8: no inf, and few more nan than in double precision."""
  rng = np.random.default_rng(num)
  vectors = rng.normal(size=(200, num, 2 * num))
  vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
  vectors *= 10 ** rng.uniform(-8, 8, size=(200, num, 1))
  gram = (vectors @ vectors.transpose(0, 2, 1)).astype(np.float32)
  got, _ = weigh(name, gram, dtype=np.float32, **chosen(name))
  double, _ = weigh(name, gram.astype(np.float64), **chosen(name))
  assert got.dtype == np.float32
  assert all_or_none(got).mean() > all_or_none(double).mean() - .05


@pytest.mark.slow
@for_all()
def test_a_problem_alone_and_with_options_that_are_numbers(name):
  gram, losses = problems(count=3)
  method = BALANCERS[name]
  state = used(name, count=3)
  more = {'terms': TERMS[:NUM], 'step': np.int32(7)} | given(name)
  more |= FIXED.get(name, {})
  more = {k: v for k, v in more.items() if k in names(method.weights)}
  got, later = weigh(name, gram, losses, state=state, **chosen(name))
  with jax.enable_x64(True):
    keys = jax.random.split(jax.random.key(0), 3)
    one = jax.jit(lambda *args: method.weights(*args, **more))
    for i in range(3):
      alone, new = one(
          gram[i], losses[i], np.ones(NUM), jax.tree.map(
              lambda x, i=i: x[i], state), keys[i])
      np.testing.assert_allclose(alone, got[i], rtol=1e-9, atol=1e-12)
      equal(new, jax.tree.map(lambda x, i=i: x[i], later), rtol=1e-9,
            atol=1e-12)


@for_all('options')
def test_traced_options_have_an_effect(name):
  """As numbers that differ between replicas, which trace without a branch."""
  read = options_of(name)
  outcomes = []
  for option in [None, *options(name)]:
    values = given(name)
    if option:
      default = values.get(option, read[option].default)
      values[option] = default / 2 if default else .25
      assert read[option].allowed.holds(values[option])
    state = None
    for step in range(6):
      gram, losses = problems(seed=step)
      got, state = weigh(
          name, gram, losses, state=state, fixed=FIXED.get(name), **values)
      if BALANCERS[name].after:
        later, there = problems(seed=99)[1], np.ones_like(losses)
        state = after(name, losses, later, there, state, **values)
    outcomes.append(jax.tree.leaves((got, state)))
  for option, outcome in zip(options(name), outcomes[1:]):
    assert any((a != b).any() for a, b in zip(outcome, outcomes[0])), option


@for_all()
def test_options_are_documented(name):
  doc = BALANCERS[name].weights.__doc__
  for option in options_of(name):
    assert f'    {option}: ' in doc, option
  # Constant weights have no paper.
  assert 'References:' in doc or name in ('static', 'replay')


def harms_none(gram, weights):
  parts = np.einsum('nij,nj->ni', gram, weights) / references.norms(gram)
  longest = np.abs(weights * references.norms(gram)).max(1, keepdims=True)
  assert (parts / longest > -1e-6).all()


def is_shortest(gram, weights):
  parts = np.einsum('nij,nj->ni', gram, weights)
  square = (weights * parts).sum(1, keepdims=True)
  np.testing.assert_allclose(weights.sum(1), 1)
  assert (parts > square * (1 - 1e-6)).all()


def has_equal_parts(gram, weights):
  parts = np.einsum('nij,nj->ni', gram, weights) / references.norms(gram)
  np.testing.assert_allclose(parts, parts[:, :1] * np.ones(parts.shape[1]),
                             rtol=1e-5)
  assert (parts > 0).all()


# (method, numbers of tasks, traced options, what its update is).
MEANINGS = [
    ('pcgrad', (2,), {}, harms_none),
    ('upgrad', (2, 3), {'delta': 0.}, harms_none),
    ('dualproj', (2, 3), {'delta': 0.}, harms_none),
    ('mgda', (2, 3), {}, harms_none),
    ('mgda', (2, 3), {}, is_shortest),
    ('imtl_g', (2, 3), {}, has_equal_parts),
]


@pytest.mark.parametrize('name, nums, given, meaning', MEANINGS)
def test_meaning(name, nums, given, meaning):
  for num in nums:
    gram = references.grams(num, 1000, seed=20 + num)
    got, _ = weigh(name, gram, fixed=FIXED.get(name), **given)
    fine = all_or_none(got)
    assert fine.mean() > .7
    meaning(gram[fine], got[fine])
