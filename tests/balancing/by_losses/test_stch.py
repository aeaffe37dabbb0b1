"""Smooth Tchebycheff."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.balancing.by_losses import steps

LOSSES = np.array([[0.2, 3.0, 0.01], [0.4, 1.0, 0.03], [0.35, 2.5, 0.01]])
NADIR = LOSSES[:2].mean(0)


def log_form(losses, mu):
  """T mu log sum exp(log(L / N) / mu): LibMTL's loss, but for its 1e-20."""
  logs = jnp.log(losses / NADIR)
  return len(NADIR) * mu * jax.nn.logsumexp(logs / mu)


def plain_form(losses, mu):
  """mu log sum exp(lambda (L - z) / mu), lambda = 1 / (T N), z = 0."""
  return mu * jax.nn.logsumexp(losses / (len(NADIR) * NADIR) / mu)


def torchjd(losses, mu):
  """TorchJD's STCH(mu) of losses: lambda = 1 / T."""
  return mu * jax.nn.logsumexp(losses / len(NADIR) / mu)


@pytest.mark.parametrize('mu', [0.01, 0.1, 0.5, 1.0])
@pytest.mark.parametrize('options, loss', [
    (dict(form='log'), log_form), (dict(form='plain'), plain_form),
    (dict(form='plain', nadir=False), torchjd)])
def test_weights_are_the_gradient_of_the_typed_loss(mu, options, loss):
  weights, _ = steps.walk('stch', LOSSES, mu=mu, window=2, **options)
  expected = jax.grad(loss)(jnp.float32(LOSSES[2]), mu)
  np.testing.assert_allclose(weights[2], expected, rtol=2e-4, atol=1e-7)


def test_defaults():
  """The log form at 1/2 after 100 steps."""
  losses = np.tile(LOSSES[0], (101, 1))
  losses[100] *= [1, 2, 1]
  weights, _ = steps.walk('stch', losses)
  np.testing.assert_allclose(weights[99], 1 / LOSSES[0], rtol=1e-5)
  ratios = np.array([1, 2, 1])
  np.testing.assert_allclose(
      weights[100], 3 * ratios**2 / 6 / losses[100], rtol=1e-4)


@pytest.mark.parametrize('form, factor', [('log', 1), ('plain', 1 / 9)])
def test_before_the_nadir_is_there_the_losses_are_it(form, factor):
  weights, _ = steps.walk('stch', LOSSES, form=form, window=3)
  np.testing.assert_allclose(weights, factor / LOSSES, rtol=1e-4)


def test_mu_1_of_the_log_form_is_a_static_weight():
  weights, _ = steps.walk('stch', LOSSES[[0, 1, 2, 2, 0]], mu=1, window=2)
  ratios = weights[2:] * NADIR
  np.testing.assert_allclose(ratios, ratios[:, :1].repeat(3, 1), rtol=1e-4)


@pytest.mark.parametrize('mu', [1e-3, 1e-45])
def test_small_mu_trains_the_largest(mu):
  """L / N is 1.17, 1.25 and 1/2."""
  weights, _ = steps.walk('stch', LOSSES, mu=mu, window=2)
  np.testing.assert_allclose(weights[2], [0, 3 / 2.5, 0], rtol=1e-4, atol=1e-20)


@pytest.mark.parametrize('losses, log, plain', [
    # Of nadirs 1, 1 and mu = 1/2.
    ([0.0, 1.0], [0, 1], None),
    ([0.0, 0.0], [1, 1], None),
    ([-1.0, 1.0], [np.nan] * 2, None),
    ([np.nan, 1.0], [np.nan] * 2, [np.nan] * 2),
    ([np.inf, 1.0], [np.nan] * 2, [np.nan] * 2),
    ([1e-30, 1.0], [0, 2], None),
    ([1e30, 1.0], [2e-30, 0], [0.5, 0]),
])
def test_losses_of_all_kinds(losses, log, plain):
  both = np.array([[1.0, 1.0], losses])
  weights, _ = steps.walk('stch', both, window=1)
  if losses == [0.0, 0.0]:
    assert (weights[1] > 0).all() and np.isfinite(weights[1]).all()
  else:
    np.testing.assert_allclose(weights[1], log, rtol=1e-4, atol=1e-6)
  weights, _ = steps.walk('stch', both, window=1, form='plain')
  if plain is None:
    exps = np.exp(losses)  # lambda / mu is 1.
    plain = exps / exps.sum() / 2
  np.testing.assert_allclose(weights[1], plain, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize('form', ['log', 'plain'])
@pytest.mark.parametrize('first, expected', [
    (0.0, [0, np.nan]), (-1.0, [np.nan, np.nan])])
def test_first_losses_of_0_and_less(form, first, expected):
  """A loss of 0 has no weight; a nadir of 0 no solution."""
  weights, _ = steps.walk(
      'stch', np.array([[first, 1.0], [1.0, 1.0]]), form=form, window=1)
  np.testing.assert_array_equal(weights[:, 0], expected)
