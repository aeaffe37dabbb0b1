"""DFM: its likelihood, and the estimates that it gives."""

import functools

from esmm_jax.estimators.delayed.dfm import delayed_dfm
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special

# Of clicks, their mean delay in days, the age of the oldest.
RATE, MEAN, WINDOW, NUM = 0.1, 1 / 0.3, 10.0, 400_000


def softplus(x):
  return np.log1p(np.exp(x))


def log_of_clicks(shape=1.0, seed=0, num=NUM):
  rng = np.random.default_rng(seed)
  delay = rng.weibull(shape, num)
  delay *= MEAN / special.gamma(1 + 1 / shape)
  age = WINDOW * (1 - rng.random(num))
  converts = rng.random(num) < RATE
  seen = converts & (delay <= age)
  return dict(
      click=np.ones(num), conversion=seen, click_age=age,
      conversion_delay=np.where(seen, delay, np.inf))


@jax.jit
def likelihood(theta, columns):
  """Returns the loss of one P and one rate for all, gradient and Hessian."""
  ones = jnp.ones_like(columns['click'])

  def loss(theta):
    x = {'ctr': ones, 'cvr': theta[0] * ones, 'delay_rate': theta[1] * ones}
    terms = delayed_dfm(x, columns, ones)
    return terms['cvr_clicked'][0] + terms['delay'][0]

  return loss(theta), jax.grad(loss)(theta), jax.hessian(loss)(theta)


def estimate(labels):
  """Maximises the likelihood of one P and one rate for all clicks.

  Returns:
    P and the rate, and the standard error of each.
  """
  with jax.enable_x64(True):
    columns = {k: jnp.asarray(v, jnp.float64) for k, v in labels.items()}
    # The optimiser asks for value, gradient and Hessian one by one.
    every = functools.cache(
        lambda *theta: likelihood(np.array(theta), columns))
    at = lambda theta, k: np.asarray(every(*theta)[k])
    fit = optimize.minimize(
        at, np.array([-2.2, -1.0]), args=(0,), method='trust-exact',
        jac=lambda theta, _: at(theta, 1), hess=lambda theta, _: at(theta, 2),
        options=dict(gtol=0.1))
    theta, hessian = fit.x, at(fit.x, 2)
  assert fit.success, fit.message
  p, slope = 1 / (1 + np.exp(-theta))
  errors = np.array([p * (1 - p), slope])
  errors *= np.sqrt(np.diag(np.linalg.inv(hessian)))
  return np.array([p, softplus(theta[1])]), errors


def random_rows(num=50):
  rng = np.random.default_rng(0)
  x = {k: rng.normal(size=num) * 3 for k in ('ctr', 'cvr', 'delay_rate')}
  labels = dict(
      click=np.ones(num), conversion=rng.integers(0, 2, num),
      click_age=rng.uniform(0, 5, num), conversion_delay=rng.uniform(0, 5, num))
  return x, labels


def likelihood_of(x, labels, **options):
  """Returns the sum of both terms, and their counts."""
  with jax.enable_x64(True):
    terms = delayed_dfm(x, labels, np.ones(len(x['ctr'])), **options)
  (first, num), (second, also) = terms['cvr_clicked'], terms['delay']
  return float(first) + float(second), (float(num), float(also))


def test_the_likelihood_is_that_of_the_paper():
  """-[log P + log rate - rate t], -log(1 - P + P exp(-rate e))."""
  x, labels = random_rows()
  p, rate = 1 / (1 + np.exp(-x['cvr'])), softplus(x['delay_rate'])
  shown = -(np.log(p) + np.log(rate) - rate * labels['conversion_delay'])
  not_shown = -np.log(1 - p + p * np.exp(-rate * labels['click_age']))
  expected = np.where(labels['conversion'], shown, not_shown).sum()
  total, counts = likelihood_of(x, labels)
  assert total == pytest.approx(expected, rel=1e-9)
  assert counts == (50, 50)


def test_the_unit_of_time():
  """Times of another unit have a density of another unit."""
  x, labels = random_rows()
  longer = labels | {
      k: 7 * labels[k] for k in ('click_age', 'conversion_delay')}
  one, _ = likelihood_of(x, labels)
  seven, _ = likelihood_of(x, longer, delay_unit=7.0)
  assert seven == pytest.approx(one, rel=1e-9)


def test_an_exponential_delay_is_recovered():
  labels = log_of_clicks()
  values, errors = estimate(labels)
  # Naive: P (1 - (1 - e^-3) / 3) = .068.
  assert labels['conversion'].mean() == pytest.approx(0.0683, abs=0.002)
  assert (errors < (0.002, 0.01)).all()
  assert (np.abs(values - (RATE, 1 / MEAN)) < 3 * errors).all()


@pytest.mark.slow
@pytest.mark.parametrize('shape, low, high', [(0.5, 0.0, 0.095), (2, 0.105, 1)])
def test_another_delay_is_not(shape, low, high):
  """Too low where the tail is heavier than the exponential's, or too high."""
  (p, _), errors = estimate(log_of_clicks(shape))
  assert low < p < high
  assert abs(p - RATE) > 5 * errors[0]


def test_the_delay_of_what_is_not_shown_counts_nothing():
  labels = log_of_clicks(num=200)
  with_inf = {k: jnp.asarray(v, jnp.float32) for k, v in labels.items()}
  other = with_inf | {
      'conversion_delay': jnp.where(
          with_inf['conversion'] > 0, with_inf['conversion_delay'], 7.0)}
  x = {k: jnp.linspace(-2, 2, 200) for k in ('ctr', 'cvr', 'delay_rate')}
  @jax.jit
  def value_and_gradient(x, columns):
    every = lambda x: delayed_dfm(x, columns, jnp.ones(200)).values()
    return jax.value_and_grad(lambda x: sum(v for v, _ in every(x)))(x)

  (value, gradient), (same, same_gradient) = (
      value_and_gradient(x, columns) for columns in (with_inf, other))
  assert value == same
  for output in x:
    np.testing.assert_array_equal(gradient[output], same_gradient[output])
