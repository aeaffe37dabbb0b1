"""Uncertainty weights and IMTL-L."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.balancing.by_losses import steps

LOSSES = [0.2, 3.0, 2e-3]
# The loss of a step, as the papers have it, and the weight of a task.
LOSS = {
    'uncertainty': lambda s, loss: jnp.sum(jnp.exp(-s) * loss / 2 + s / 2),
    'imtl_l': lambda s, loss: jnp.sum(jnp.exp(s) * loss - s),
}
WEIGHT = {
    'uncertainty': lambda s: np.exp(-s) / 2,
    'imtl_l': lambda s: np.exp(s),
}
NAMES = sorted(LOSS)
LONG = 2000  # One number, so that there is one program.


def noisy(num_steps, seed=0):
  draws = np.random.default_rng(seed).normal(size=(num_steps, len(LOSSES)))
  return np.array(LOSSES) * np.exp(draws / 2)


@pytest.mark.parametrize('name, factor', [('uncertainty', 0.5), ('imtl_l', 1)])
def test_stationary_weights(name, factor):
  """1/2 / L and 1 / L, also from a state far away."""
  weights, state = steps.walk(name, np.tile(LOSSES, (LONG, 1)))
  np.testing.assert_allclose(weights[0], factor, rtol=1e-6)
  np.testing.assert_allclose(
      weights[-1], factor / np.array(LOSSES), rtol=1e-4)
  weights, _ = steps.walk(name, np.tile([3.0, 2e-3, 0.2], (LONG, 1)),
                          state=state)
  np.testing.assert_allclose(
      weights[-1], factor / np.array([3.0, 2e-3, 0.2]), rtol=1e-4)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('rate', [1e-3, 0.1])
def test_is_adam_on_the_loss_of_the_paper(name, rate):
  losses = noisy(30)
  weights, _ = steps.walk(name, losses, rate=rate)
  adam = optax.adam(rate)
  s = jnp.zeros(3)
  state, expected = adam.init(s), []
  update = jax.jit(adam.update)
  for loss in losses:
    expected.append(WEIGHT[name](np.asarray(s)))
    slope = jax.grad(LOSS[name])(s, jnp.float32(loss))
    updates, state = update(slope, state)
    s += updates
  np.testing.assert_allclose(weights, expected, rtol=2e-4)


def test_first_step_of_uncertainty_by_hand():
  """Adam's first step is the rate, towards log L."""
  _, state = steps.step('uncertainty', [0.2, 3.0], rate=0.1)
  np.testing.assert_allclose(state['scales'], [-0.1, 0.1], rtol=1e-6)
  weights, _ = steps.step('uncertainty', [9.0, 9.0], state=state)
  np.testing.assert_allclose(
      weights, [np.exp(0.1) / 2, np.exp(-0.1) / 2], rtol=1e-6)


def test_imtl_l_is_twice_uncertainty_of_minus_s():
  losses = noisy(LONG, seed=1)
  one, state = steps.walk('uncertainty', losses)
  two, other = steps.walk('imtl_l', losses)
  np.testing.assert_allclose(two, 2 * one, rtol=1e-5)
  np.testing.assert_allclose(other['scales'], -state['scales'], rtol=1e-5)
  assert np.ptp(one[:, 2]) > 100


@pytest.mark.parametrize('name', NAMES)
def test_a_factor_of_the_loss_is_without_effect_in_the_end(name):
  for factor in (1.0, 7.0):
    losses = np.array([0.2 * factor, 3.0, 0.1])
    weights, _ = steps.walk(name, np.tile(losses, (LONG, 1)))
    product = weights[-1] * losses
    np.testing.assert_allclose(product, product[0], rtol=1e-4)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('loss', [0.0, -1.0, -1e30, np.nan])
def test_losses_that_are_no_losses_do_not_move_the_state(name, loss):
  _, before = steps.walk(name, noisy(20))
  _, after = steps.step(name, [0.2, loss, 2e-3], state=before)
  for key in before:
    np.testing.assert_array_equal(after[key][1], before[key][1])
    assert (after[key][[0, 2]] != before[key][[0, 2]]).all()


@pytest.mark.parametrize('name, factor', [('uncertainty', 0.5), ('imtl_l', 1)])
def test_tiny_and_infinite_losses(name, factor):
  losses = np.tile([1e-30, 1e-7, np.inf], (LONG, 1))
  weights, _ = steps.walk(name, losses)
  assert np.isfinite(weights).all()
  np.testing.assert_allclose(
      weights[-1][:2], factor * np.exp(15), rtol=1e-5)
  assert weights[-1][2] < 1e-12 and (weights >= 0).all()


@pytest.mark.parametrize('name, factor', [('uncertainty', 0.5), ('imtl_l', 1)])
def test_a_large_loss_does_not_stop_the_scales(name, factor):
  """Without a bound of the gradient s is 6.3 away from log L after 4000."""
  weights, _ = steps.walk(name, np.tile([1e6, 1e3, 1.0], (LONG, 1)))
  np.testing.assert_allclose(
      weights[-1], factor / np.array([1e6, 1e3, 1.0]), rtol=0.01)
