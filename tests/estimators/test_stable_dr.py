"""Stable-DR against its formulas in float64."""

import functools

from esmm_jax.estimators.stable_dr import default_weights, rescale
from esmm_jax.estimators.stable_dr import stable_dr
from esmm_jax.tasks import CART_FUNNEL, FUNNEL
from esmm_jax.types import InputError
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.estimators import w6

FLOOR = 0.2


def rows(num=40, seed=0):
  rng = np.random.default_rng(seed)
  names = ('ctr', 'cvr', 'imputation', 'propensity')
  x = {k: rng.normal(size=num) for k in names}
  click = (rng.random(num) < 0.5) * 1.0
  labels = dict(click=click, conversion=click * (rng.random(num) < 0.4))
  where = np.where(rng.random(num) < 0.2, 0, rng.random(num))
  return x, labels, where


def step_gradient(x, labels, where, names, parts=1):
  """The gradient that a step forms of some terms, part by part of a batch."""
  weights = default_weights(FUNNEL)
  split = lambda s: jax.tree.map(lambda v: v[s], (x, labels, where))
  size = len(where) // parts
  batches = [split(slice(i * size, (i + 1) * size)) for i in range(parts)]
  run = lambda *args: stable_dr(*args, propensity_floor=FLOOR)
  each = [run(*b) for b in batches]
  means = {
      k: sum(e[k][0] for e in each) / sum(e[k][1] for e in each)
      for k in weights}
  counts = {k: sum(e[k][1] for e in each) for k in weights}
  factors = rescale(means)
  coefficients = {
      k: weights[k] / counts[k] * factors.get(k, 1.0) for k in names}

  def loss(x, labels, where):
    return sum(coefficients[k] * run(x, labels, where)[k][0] for k in names)

  gradients = [jax.grad(loss)(*b) for b in batches]
  return {k: np.concatenate([g[k] for g in gradients]) for k in x}


def cross_entropy(x, y):
  return jnp.logaddexp(0.0, x) - x * y


def squared_moment(x, labels, where):
  """M^2 as one formula of the whole batch; the guesses are fixed."""
  p = jnp.maximum(jax.nn.sigmoid(x['propensity']), FLOOR)
  weights = labels['click'] / p
  guess = cross_entropy(x['cvr'], jax.nn.sigmoid(x['imputation']))
  guess = jax.lax.stop_gradient(guess)
  mean = lambda v: jnp.sum(v * where) / jnp.sum(where)
  return mean(weights * (guess - mean(guess))) ** 2


@pytest.mark.parametrize('parts', [1, 4])
def test_gradient_of_what_is_no_sum_of_rows(parts):
  """That of the whole batch at once, however it is divided."""
  names = ('balance_guesses', 'balance_weights', 'mean_guess')
  with jax.enable_x64(True):
    data = jax.tree.map(jnp.asarray, rows())
    got = step_gradient(*data, names, parts)
    want = jax.grad(squared_moment)(*data)
  for k in data[0]:
    np.testing.assert_allclose(got[k], want[k], atol=1e-14, rtol=1e-10)
    assert np.any(want[k]) == (k == 'propensity')


def one_gradient(terms, name, data):
  with jax.enable_x64(True):
    data = jax.tree.map(jnp.asarray, data)
    value = lambda x, *more: w6.loss(terms(x, *more), {name: 1.0})
    return jax.tree.map(np.asarray, jax.value_and_grad(value)(*data))


def test_each_head_has_its_term():
  learns = lambda name: {
      k for k, g in one_gradient(stable_dr, name, rows())[1].items()
      if np.any(g)}
  want = dict(
      ctr={'ctr'}, propensity={'propensity'}, cvr_clicked={'cvr'},
      imputation={'imputation'}, balance_guesses={'propensity'},
      balance_weights={'propensity'}, mean_guess=set())
  assert {k: learns(k) for k in default_weights(FUNNEL)} == want


def test_cvr_is_self_normalised():
  """By the head, not by pCTR."""
  x, labels, where = rows()
  terms = functools.partial(stable_dr, propensity_floor=FLOOR)
  got, gradient = one_gradient(terms, 'cvr_clicked', (x, labels, where))
  sigmoid = lambda v: 1 / (1 + np.exp(-v))
  weight = where * labels['click'] / np.maximum(
      sigmoid(x['propensity']), FLOOR)
  weight /= weight.sum()
  q, r = sigmoid(x['cvr']), labels['conversion']
  np.testing.assert_allclose(got, weight @ w6.entropy(r, q), rtol=1e-10)
  np.testing.assert_allclose(gradient['cvr'], weight * (q - r), atol=1e-14)


def population(x):
  """Labels and weights of each outcome of the world, and outputs for them."""
  click = np.repeat([0.0, 1.0, 1.0], 6)
  conversion = np.repeat([0.0, 0.0, 1.0], 6)
  where = np.concatenate([
      1 - w6.P, w6.P * (1 - w6.ETA), w6.P * w6.ETA])
  x = {k: np.tile(v, 3) for k, v in x.items()}
  return x, dict(click=click, conversion=conversion), where


def expected_terms(terms, x):
  with jax.enable_x64(True):
    data = jax.tree.map(jnp.asarray, population(x))
    sums = terms(*data, propensity_floor=1e-6)
    return {k: float(s / n) for k, (s, n) in sums.items()}


def tilted(t):
  """A propensity that is wrong everywhere, by more where t is."""
  x = w6.logit(w6.WRONG_P) + t * (w6.RISKS - w6.RISK)
  return 1 / (1 + np.exp(-x))


def test_a_balance_of_right_guesses_makes_a_wrong_propensity_right():
  """The term that is 0 where SNIPS is, so far, the risk itself."""
  x = w6.logits(imputation=w6.ETA)

  def moment(t):
    terms = expected_terms(
        stable_dr, x | {'propensity': w6.logit(tilted(t))})
    factor = float(rescale(terms)['balance_guesses'])
    return factor / 2, terms['cvr_clicked']

  low, high = -6.0, 6.0
  assert moment(low)[0] > 0 > moment(high)[0]
  for _ in range(60):
    middle = (low + high) / 2
    low, high = (middle, high) if moment(middle)[0] > 0 else (low, middle)
  np.testing.assert_allclose(moment(low)[1], w6.RISK, rtol=1e-9)
  assert abs(tilted(low) / w6.P - 1).max() > 0.3
  assert abs(moment(0.0)[1] - w6.RISK) > 3e-3
  right = expected_terms(stable_dr, x | {'propensity': w6.logit(w6.P)})
  assert abs(rescale(right)['balance_guesses']) < 1e-12


def test_a_batch_without_clicks():
  x, labels, where = rows()
  labels = {k: 0 * v for k, v in labels.items()}
  means = {
      k: s / jnp.maximum(n, 1)
      for k, (s, n) in stable_dr(x, labels, where).items()}
  assert means.keys() == default_weights(FUNNEL).keys()
  assert all(np.isfinite(v) for v in means.values())
  factors = rescale(means)
  assert all(v == 0 for v in factors.values())
  for name in factors:
    _, gradient = one_gradient(stable_dr, name, (x, labels, where))
    assert not any(map(np.any, gradient.values()))


def test_tasks_without_cvr_after_the_click():
  with pytest.raises(InputError, match="'stable_dr' needs the tasks ctr"):
    default_weights(CART_FUNNEL)
