"""NISE against its formulas: where it ends, and what its label teaches."""

import functools

from esmm_jax.estimators.click_space import click_space
from esmm_jax.estimators.nise import default_weights, entropy, nise, rescale
from esmm_jax.tasks import CART_FUNNEL, FUNNEL
from esmm_jax.types import InputError
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.estimators import w6
from tests.estimators.test_ips import batch

NAIVE = functools.partial(click_space, cvr_normalization='impressions')


def test_default_weights():
  assert default_weights(FUNNEL) == {'ctr': 1.0, 'cvr_entire': 1.0}
  with pytest.raises(InputError, match="'nise' needs the tasks ctr"):
    default_weights(CART_FUNNEL)


def test_against_its_formula():
  x, labels, where = batch(1)
  where = where.at[3].set(0).at[4].set(2)
  got = nise(x, labels, where)
  assert got['ctr'] == click_space(x, labels, where)['ctr']
  q = 1 / (1 + np.exp(-np.float64(x['cvr'])))
  o, r, v = (np.float64(c) for c in (
      labels['click'], labels['conversion'], where))
  want = v * (o * w6.entropy(r, q) + (1 - o) * w6.entropy(q, q))
  np.testing.assert_allclose(
      got['cvr_entire'], (want.sum(), v.sum()), rtol=1e-5)


@pytest.mark.parametrize('x', [0.0, 1e-3, -0.7, 3.0, -11.0, 40.0, -88.0, 1e4])
def test_entropy(x):
  """Its gradient is -q (1 - q) x, so that descent moves q away from 1/2."""
  value, slope = jax.value_and_grad(entropy)(x)
  q, other = np.exp(-np.logaddexp(0, -x)), np.exp(-np.logaddexp(0, x))
  want = q * np.logaddexp(0, -x) + other * np.logaddexp(0, x)
  np.testing.assert_allclose(value, want, rtol=2e-6, atol=1e-36)
  np.testing.assert_allclose(slope, -q * other * x, rtol=1e-4, atol=1e-8)
  if q * other * abs(x) > 1e-30:
    assert (slope > 0) == (x < 0)


def test_a_stopped_label_teaches_unclicked_rows_nothing():
  """Then the gradient is that of clicks; the loss is the same."""
  x, labels, where = batch(2)

  def run(terms, name, **options):
    value = lambda x: terms(x, labels, where, **options)[name][0]
    return jax.value_and_grad(value)(x)

  value, slope = run(nise, 'cvr_entire')
  same, stopped = run(nise, 'cvr_entire', stop_label=True)
  _, naive = run(NAIVE, 'cvr_clicked')
  assert value == same
  unclicked = np.asarray(labels['click']) == 0
  np.testing.assert_array_equal(stopped['cvr'][unclicked], 0)
  np.testing.assert_array_equal(stopped['cvr'], naive['cvr'])
  q = jax.nn.sigmoid(x['cvr'])
  np.testing.assert_allclose(
      slope['cvr'][unclicked], (-q * (1 - q) * x['cvr'])[unclicked], rtol=1e-4,
      atol=1e-7)
  for gradient in (slope, stopped):
    np.testing.assert_array_equal(gradient['ctr'], 0)


def ends_at(start, **options):
  """CTR and CVR of a free head, where the truth is .04 and .005."""

  def value(x, labels):
    # The weight w changes the speed alone.
    return w6.loss(nise(x, labels, jnp.ones(1), **options))

  got = w6.fixed_point(
      value, dict(ctr=[0.04], cvr=[start]), [0.04], [0.005], rate=0.05,
      steps=12_000)
  return float(got['ctr'][0]), float(got['cvr'][0])


@pytest.mark.parametrize('start, end, error', [
    (0.01, 1.910e-5, 5e-9), (0.4, 1.910e-5, 5e-9), (0.9, 0.991231, 5e-7)])
def test_a_free_head_collapses(start, end, error):
  """To 0.4 % of the CVR: p (-eta/q + (1-eta)/(1-q)) + (1-p) log((1-q)/q) = 0,

  or to the other root, where it starts above 1/2.
  """
  ctr, cvr = ends_at(start)
  assert ctr == pytest.approx(0.04, abs=1e-9)
  assert cvr == pytest.approx(end, abs=error)
  slope = 0.04 * (-0.005 / cvr + 0.995 / (1 - cvr)) + 0.96 * np.log(1 / cvr - 1)
  assert abs(slope) < 1e-4
  # With a label that is stopped it ends at the truth.
  _, right = ends_at(start, stop_label=True)
  assert right == pytest.approx(0.005, abs=1e-8)
  # Against the truth it is worse. The label that is 1 where a row is clicked
  # and converts, which has no room for what the click hides, prefers 1.9e-5.
  assert w6.entropy(0.005, cvr) > w6.entropy(0.005, right) + 0.02
  score = lambda q: w6.entropy(0.04 * 0.005, q)
  assert (score(cvr) < score(right) / 2) == (start < 0.5)


@pytest.mark.parametrize('ctr, cvr, options, want', [
    (0.3, 0.1, {}, 3.0), (0.3, 0.1, {'alpha': 0.5}, 1.5),
    (0.3, 0.001, {}, 50.0), (0.3, 0.001, {'beta': 7.0}, 7.0),
    (0.3, 0.001, {'alpha': 2.0, 'beta': 7.0}, 14.0), (0.3, 0.0, {}, 50.0),
    (0.0, 0.0, {}, 50.0), (0.0, 0.2, {}, 0.0),
])
def test_rescale(ctr, cvr, options, want):
  """alpha min(ratio, beta), without a gradient."""
  def factor(means):
    (value,) = rescale(means, **options).values()
    return value

  means = {'ctr': jnp.float32(ctr), 'cvr_entire': jnp.float32(cvr)}
  value, slope = jax.value_and_grad(factor)(means)
  assert value == pytest.approx(want, rel=1e-6)
  assert slope == {'ctr': 0, 'cvr_entire': 0}
