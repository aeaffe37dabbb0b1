"""ESCM2: ESMM and the click term, each other's special cases."""

import functools

from esmm_jax.estimators.click_space import click_space
from esmm_jax.estimators.entire_space import entire_space
from esmm_jax.estimators.escm2 import default_weights, escm2, row_weights
from esmm_jax.estimators.ips import ips
from esmm_jax.tasks import CART_FUNNEL, FUNNEL
from esmm_jax.types import InputError
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.estimators import w6
from tests.estimators.test_ips import assert_equal, batch

PLAIN = functools.partial(escm2, propensity='none')
PROPENSITIES = ('none', 'own', 'frozen', 'true')


def loss_and_gradient(terms, weights, x, labels, where):
  value = lambda x: w6.loss(terms(x, labels, where), weights)
  return jax.value_and_grad(value)(x)


def weighted(lambda_c, lambda_g):
  return {'ctr': 1.0, 'cvr_clicked': lambda_c, 'ctcvr': lambda_g}


def test_default_weights():
  assert default_weights(FUNNEL) == weighted(0.1, 1.0)
  with pytest.raises(InputError, match="'escm2' needs the tasks ctr"):
    default_weights(CART_FUNNEL)


@pytest.mark.parametrize('propensity', PROPENSITIES)
def test_without_the_click_term_it_is_esmm_to_the_bit(propensity):
  run = functools.partial(escm2, propensity=propensity)
  got = loss_and_gradient(run, weighted(0.0, 1.0), *batch(1))
  want = loss_and_gradient(entire_space, weighted(0.0, 1.0), *batch(1))
  assert_equal(got, want)


@pytest.mark.parametrize('normalization, naive', [
    ('impressions', 'impressions'), ('clicks', 'clicks'), ('self', 'clicks')])
def test_without_esmm_s_term_or_propensity_it_is_the_naive_loss(
    normalization, naive
):
  """To the bit."""
  run = functools.partial(PLAIN, normalization=normalization)
  got = loss_and_gradient(run, weighted(1.0, 0.0), *batch(2))
  want = loss_and_gradient(
      functools.partial(click_space, cvr_normalization=naive),
      {'ctr': 1.0, 'cvr_clicked': 1.0}, *batch(2))
  assert_equal(got, want)


@pytest.mark.parametrize('propensity', PROPENSITIES[1:])
def test_without_esmm_s_term_it_is_ips_to_the_bit(propensity):
  options = dict(
      propensity=propensity, propensity_floor=0.2, warmup_steps=4, step=3)
  got = loss_and_gradient(
      functools.partial(escm2, **options), weighted(1.0, 0.0), *batch(3))
  want = loss_and_gradient(
      functools.partial(ips, **options), {'ctr': 1.0, 'cvr_clicked': 1.0},
      *batch(3))
  assert_equal(got, want)


@pytest.mark.parametrize('propensity', ['none', 'own'])
def test_the_gradient_is_linear_in_both_weights(propensity):
  run = functools.partial(escm2, propensity=propensity)
  slope = lambda c, g: loss_and_gradient(run, weighted(c, g), *batch(4))[1]
  alone, click, joint = slope(0.0, 0.0), slope(1.0, 0.0), slope(0.0, 1.0)
  got = slope(0.3, 1.7)
  for name in got:
    want = alone[name] + 0.3 * (click[name] - alone[name]) + (
        1.7 * (joint[name] - alone[name]))
    np.testing.assert_allclose(got[name], want, rtol=1e-5, atol=2e-8)
  # The click term teaches the CTR nothing, and un-clicked rows neither.
  np.testing.assert_array_equal(click['ctr'], alone['ctr'])
  unclicked = np.asarray(batch(4)[1]['click']) == 0
  np.testing.assert_array_equal(click['cvr'][unclicked], 0)
  assert joint['cvr'][unclicked].all()


@pytest.mark.parametrize('term, propensity', [
    *(('cvr_clicked', p) for p in PROPENSITIES),
    ('ctr', 'own'), ('ctcvr', 'own')])
def test_at_the_truth_every_expected_gradient_is_0(term, propensity):
  """With a propensity that is wrong, too; at another CVR it is not."""

  def slope(q, *heads):
    run = functools.partial(escm2, propensity=propensity)
    got = w6.enumerated(
        w6.gradient(run, term, w6.logits(q=q)), p_ctr=w6.P,
        frozen_ctr=w6.WRONG_P)
    return np.abs(np.stack([got.mean[h] for h in heads]))

  assert slope(w6.ETA, 'ctr', 'cvr').max() < 1e-15
  if term != 'ctr':
    assert slope(w6.Q, 'cvr').min() > 1e-5


def test_row_weights():
  _, labels, where = batch(5)
  p = {'ctr': jnp.linspace(0.001, 0.9, 40)}
  (ones,) = row_weights(p, labels, propensity='none').values()
  np.testing.assert_array_equal(ones, where)
  (got,) = row_weights(p, labels, propensity_floor=0.05).values()
  np.testing.assert_allclose(got, 1 / np.maximum(p['ctr'], 0.05), rtol=1e-6)
