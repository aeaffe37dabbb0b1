"""FAMO."""

import math

from esmm_jax.balancing import BALANCERS
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.balancing.by_losses import steps

AFTER = jax.jit(BALANCERS['famo'].after)


def softmax(x):
  return np.exp(x) / np.exp(x).sum()


def moved(state, before, after, counts=None, **options):
  counts = np.ones(len(before)) if counts is None else counts
  state = AFTER(jnp.float32(before), jnp.float32(after), jnp.float32(counts),
                state, **options)
  return jax.tree.map(np.asarray, state)


def typed(pairs, rate=0.025, decay=1e-3):
  """xi after steps of torch's Adam, float64, as algorithm 2 has them."""
  xi = np.zeros(len(pairs[0][0]))
  mean, square = np.zeros((2, len(xi)))
  for t, (before, after) in enumerate(np.asarray(pairs, np.float64), 1):
    falls = np.log(before + 1e-8) - np.log(after + 1e-8)
    z = softmax(xi)
    slope = (np.diag(z) - np.outer(z, z)) @ falls + decay * xi
    mean = 0.9 * mean + 0.1 * slope
    square = 0.999 * square + 0.001 * slope**2
    xi = xi - rate * (mean / (1 - 0.9**t)) / (
        np.sqrt(square / (1 - 0.999**t)) + 1e-8)
  return xi


@pytest.mark.parametrize('losses', [[0.2, 0.002], [0.5, 3.0, 1e-4], [7.0]])
def test_first_weights(losses):
  """c z / L: 1 / L at the start, with the sum 1."""
  weights, _ = steps.step('famo', losses)
  inverse = 1 / np.array(losses)
  np.testing.assert_allclose(weights, inverse / inverse.sum(), rtol=1e-4)


def test_z_after_one_step_by_hand():
  """The first loss halves, the second stands still: xi moves by the rate."""
  state = moved(steps.start('famo', 2), [0.4, 1.0], [0.2, 1.0])
  # z = (1/2, 1/2), falls (log 2, 0): the gradient is +-log(2) / 4, and the
  # first step of Adam is the rate.
  np.testing.assert_allclose(
      state['mean'], [math.log(2) / 40, -math.log(2) / 40], rtol=1e-5)
  np.testing.assert_allclose(state['logits'], [-0.025, 0.025], rtol=1e-5)
  weights, _ = steps.step('famo', [0.2, 1.0], state=state)
  z = softmax(np.array([-0.025, 0.025]))
  inverse = z / np.array([0.2, 1.0])
  np.testing.assert_allclose(weights, inverse / inverse.sum(), rtol=1e-5)


@pytest.mark.parametrize('rate, decay', [(0.025, 1e-3), (0.1, 0.0), (0.1, 0.3)])
def test_many_steps_against_numpy(rate, decay):
  rng = np.random.default_rng(0)
  before = np.exp(rng.normal(size=(30, 3)))
  pairs = np.stack([before, before * rng.uniform(0.5, 1.2, (30, 3))], 1)
  state = steps.start('famo', 3)
  for pair in pairs:
    state = moved(state, *pair, rate=rate, weight_decay=decay)
  np.testing.assert_allclose(
      state['logits'], typed(pairs, rate, decay), rtol=1e-3, atol=1e-5)


def test_the_decay_pulls_to_0():
  state = dict(steps.start('famo', 2), logits=jnp.float32([1, -1]))
  for _ in range(200):
    state = moved(state, [0.5, 0.5], [0.5, 0.5])
  assert np.abs(state['logits']).max() < 0.05


def test_a_factor_of_the_loss_changes_no_weighted_loss():
  one, _ = steps.step('famo', [0.2, 0.5])
  two, _ = steps.step('famo', [0.2 * 7, 0.5])
  np.testing.assert_allclose(
      one * [0.2, 0.5] / (one @ [0.2, 0.5]),
      two * [1.4, 0.5] / (two @ [1.4, 0.5]), rtol=1e-5)


@pytest.mark.parametrize('losses, expected', [
    ([0.0, 0.5, 0.5], [0, 0.5, 0.5]),
    ([0.0, 0.0, 0.5], [0, 0, 1]),
    ([0.0, 0.0, 0.0], [1 / 3] * 3),
    ([1e-30, 1e-8, 1e-30], [0.4, 0.2, 0.4]),
    ([1e38, 1e38, 1e38], [1 / 3] * 3),
    ([-1e-3, 0.5, 0.5], [np.nan] * 3),
    ([np.nan, 0.5, 0.5], [np.nan] * 3),
    ([np.inf, 0.5, 0.5], [np.nan] * 3),
])
def test_losses_of_all_kinds(losses, expected):
  weights, _ = steps.step('famo', losses)
  np.testing.assert_allclose(weights, expected, rtol=1e-5)


@pytest.mark.parametrize('before, after', [
    (0.0, 0.1), (-1.0, 0.5), (0.5, -1.0), (np.nan, 0.5), (0.5, np.nan),
    (0.5, np.inf)])
def test_after_losses_without_a_logarithm(before, after):
  """The task does not move; the others do as if it were absent."""
  start = steps.start('famo', 3)
  start = moved(start, [1.0, 1.0, 1.0], [0.9, 0.8, 0.5])
  state = moved(start, [1.0, before, 1.0], [0.5, after, 0.9])
  alone = moved(
      jax.tree.map(lambda x: x[[0, 2]], start), [1.0, 1.0], [0.5, 0.9])
  for key in state:
    assert state[key][1] == start[key][1]
    np.testing.assert_allclose(state[key][[0, 2]], alone[key], rtol=1e-5)


@pytest.mark.parametrize('absent', [0, 1, 2])
def test_after_with_an_absent_task(absent):
  others = np.delete(np.arange(3), absent)
  start = moved(steps.start('famo', 3), [1.0, 1.0, 1.0], [0.9, 0.8, 0.5])
  before, after = np.array([1.0, 2.0, 3.0]), np.array([0.9, 1.0, 3.1])
  counts = np.ones(3)
  before[absent] = after[absent] = counts[absent] = 0
  state = moved(start, before, after, counts)
  alone = moved(jax.tree.map(lambda x: x[others], start), before[others],
                after[others])
  for key in state:
    assert state[key][absent] == start[key][absent]
    np.testing.assert_allclose(state[key][others], alone[key], rtol=1e-5)


def test_after_with_none():
  start = steps.start('famo', 2)
  state = moved(start, [0.0, 0.0], [0.0, 0.0], [0, 0])
  for key in state:
    np.testing.assert_array_equal(state[key], start[key])
