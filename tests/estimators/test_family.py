"""The family of estimators on one log: free outputs, enough rows.

The log of a small world with the truth: six cells of features, and a cause of
click and conversion that no feature shows, of strength 0 or more. Each output
is free in each cell, so nothing is misspecified. What is known then:

  * with nothing hidden every estimator finds the true CVR, within the noise of
    the clicks, as the bound does;
  * with a hidden cause every estimator finds the CVR of those who click, and is
    at the same distance from the CVR over all impressions. One that is nearer
    has a bug, or has seen the truth.
"""

import functools

from esmm_jax.balancing import static as balancing
from esmm_jax.estimators import ESTIMATORS
from esmm_jax.estimators.contract import bind
from esmm_jax.tasks import FUNNEL
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.estimators import w6

pytestmark = pytest.mark.slow

ROWS = 3_000_000
STEPS = 16_000
# Name -> estimator and options.
ARMS = {
    'naive': ('click_space', {}),
    'ESMM': ('entire_space', {}),
    'IPS': ('ips', {'propensity_floor': 1e-3}),
    'SNIPS': ('ips', {'normalization': 'self'}),
    'ESCM2': ('escm2', {}),
    'UNBIAS': ('unbias', {'form': 'weighting'}),
    'DR': ('doubly_robust', {}),
    'DR, error head': ('doubly_robust', {'error_head': True}),
    'Stable-DR': ('stable_dr', {}),
    'DCMT': ('dcmt', {}),
    'ChorusCVR': ('chorus', {}),
    'DDPO': ('pseudo_label', {}),
}


def world(hidden):
  """Draws the log: (p of a click, CVR of clicks, CVR of all), and counts.

  The hidden cause is a fair coin; it multiplies the odds of a click and of a
  conversion by exp(+-hidden).
  """
  sigmoid = lambda x: 1 / (1 + np.exp(-x))
  logit = lambda p: np.log(p / (1 - p))
  sides = np.array([[-hidden], [hidden]])
  p, r = sigmoid(logit(w6.P) + sides), sigmoid(logit(w6.ETA) + sides)
  click, clicked = p.mean(0), (p * r).mean(0) / p.mean(0)
  rng = np.random.default_rng(7)
  size = ROWS // 6
  clicks = rng.binomial(size, click)
  conversions = rng.binomial(clicks, clicked)
  counts = np.stack([size - clicks, clicks - conversions, conversions])
  return click, clicked, r.mean(0), counts


def fitted(name, options, counts):
  """Trains free outputs on the log; returns pCTR and pCVR of the cells."""
  estimator = bind(name, ESTIMATORS[name], options, FUNNEL)
  cells = np.tile(np.arange(6), 3)
  labels = {
      'click': jnp.repeat(jnp.array([0.0, 1.0, 1.0]), 6),
      'conversion': jnp.repeat(jnp.array([0.0, 0.0, 1.0]), 6),
      'uniform': jnp.zeros(18),
  }
  where = jnp.asarray(counts.ravel() / counts.sum(), jnp.float32)
  names = ('ctr', 'cvr', *(head.name for head in estimator.needs.heads))
  terms = functools.partial(estimator.terms, **estimator.traced)
  stop = jax.lax.stop_gradient

  def loss(x):
    found = terms({k: v[cells] for k, v in x.items()}, labels, where)
    sums = {k: s for k, (s, _) in found.items()}
    sizes = {k: stop(n) for k, (_, n) in found.items()}
    factors = balancing.static(sizes, estimator.weights)
    if estimator.rescale:
      divisor = balancing.divisor
      means = {k: stop(s) / divisor(sizes[k]) for k, s in sums.items()}
      for k, factor in estimator.rescale(means, **estimator.traced).items():
        factors[k] *= factor
    return sum(factors[k] * sums[k] for k in sums)

  # Prior odds; the steps become small, so that the ends are exact.
  start = {k: jnp.full(6, -1.0) for k in names}
  tx = optax.adam(optax.exponential_decay(0.05, 3000, 0.3))

  def step(carry, _):
    x, state = carry
    direction, state = tx.update(jax.grad(loss)(x), state)
    return (optax.apply_updates(x, direction), state), None

  (x, _), _ = jax.jit(
      lambda c: jax.lax.scan(step, c, length=STEPS))((start, tx.init(start)))
  return tuple(np.asarray(jax.nn.sigmoid(x[k])) for k in ('ctr', 'cvr'))


@pytest.fixture(scope='module', params=[0.0, 1.0], ids=['seen', 'hidden'])
def log(request):
  return world(request.param)


@pytest.mark.parametrize('arm', ARMS)
def test_every_estimator_finds_the_cvr_of_those_who_click(arm, log):
  click, clicked, everybody, counts = log
  p, q = fitted(*ARMS[arm], counts)
  clicks = counts[1:].sum(0)
  np.testing.assert_allclose(p, clicks / counts.sum(0), rtol=2e-3)
  # The best that the log has: conversions per click, to the digit.
  np.testing.assert_allclose(q, counts[2] / clicks, rtol=1e-2)
  noise = np.sqrt(clicked * (1 - clicked) / clicks)
  assert (abs(q - clicked) < 4 * noise).all()
  if np.any(abs(clicked - everybody) > 1e-12):
    # As far from the CVR over all impressions as those who click are.
    gap = (q - everybody) / (clicked - everybody)
    assert (abs(gap - 1) < 4 * noise / abs(clicked - everybody)).all()
    assert (abs(clicked - everybody) > 6 * noise).all()


def test_nise_does_not():
  """Its labels of un-clicked rows are its own predictions."""
  _, clicked, _, counts = world(0.0)
  _, q = fitted('nise', {}, counts)
  assert (q[:3] < 0.1 * clicked[:3]).all()
