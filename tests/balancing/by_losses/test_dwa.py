"""DWA over windows of steps."""

import numpy as np
import pytest

from tests.balancing.by_losses import steps


def typed(older, newer, temperature):
  """T exp(r / temperature) / sum, r = newer / older: equation 7."""
  exps = np.exp(np.array(newer) / np.array(older) / temperature)
  return len(exps) * exps / exps.sum()


def test_uniform_for_two_windows_and_then_the_formula():
  rng = np.random.default_rng(0)
  losses = rng.uniform(0.1, 1, size=(20, 3))
  weights, _ = steps.walk('dwa', losses, window=4, temperature=0.5)
  means = losses.reshape(5, 4, 3).mean(1)
  np.testing.assert_array_equal(weights[:8], 1)
  for k in range(2, 5):
    expected = typed(means[k - 2], means[k - 1], 0.5)
    for t in range(4 * k, 4 * k + 4):
      np.testing.assert_allclose(weights[t], expected, rtol=1e-5)
  assert np.ptp(weights[8:]) > 0.5


def test_defaults():
  """A fall of 10 % against none; windows of 100 steps, temperature 2."""
  losses = np.ones((201, 2))
  losses[100:, 0] = 0.9
  weights, _ = steps.walk('dwa', losses)
  np.testing.assert_array_equal(weights[199], 1)
  np.testing.assert_allclose(weights[200], [0.975, 1.025], atol=5e-4)


@pytest.mark.parametrize('scale', [1e-30, 1e-3, 1e4, 1e20])
def test_scale_of_a_loss_is_without_effect(scale):
  losses = np.array([[1, 1], [1, 0.5], [1, 1.0]])
  weights, _ = steps.walk('dwa', losses * [1, scale], window=1)
  np.testing.assert_allclose(
      weights[2], typed([1, 1], [1, 0.5], 2), rtol=1e-5)


@pytest.mark.parametrize('older, newer, ratio', [
    (0.0, 0.0, 1), (0.0, 1.0, 1), (-1.0, -2.0, 1), (-1.0, 2.0, 1),
    (1.0, -2.0, 0), (1.0, 0.0, 0), (1e-37, 1e38, np.inf), (2.0, 1.0, 0.5),
])
def test_losses_of_all_kinds(older, newer, ratio):
  losses = np.array([[1, older], [1, newer], [1, 1.0]])
  weights, _ = steps.walk('dwa', losses, window=1)
  expected = [0, 2] if ratio == np.inf else typed([1, 1], [1, ratio], 2)
  np.testing.assert_allclose(weights[2], expected, rtol=1e-5)


@pytest.mark.parametrize('temperature, expected', [
    (1e-45, [0, 2]), (1e-3, [0, 2]), (1e38, [1, 1])])
def test_extreme_temperatures(temperature, expected):
  losses = np.array([[1, 1], [9, 10], [1, 1.0]])
  weights, _ = steps.walk('dwa', losses, window=1, temperature=temperature)
  np.testing.assert_allclose(weights[2], expected)


def test_windows_are_those_of_the_task():
  """Two windows of two steps in which it is present."""
  losses = np.array([[9., 1], [7, 0], [5, 3], [3, 4], [9, 0], [9, 6], [9, 1]])
  counts = np.array([[5., 5], [5, 0], [5, 5], [5, 5], [5, 0], [5, 5], [5, 5]])
  weights, state = steps.walk('dwa', losses, counts, window=2)
  np.testing.assert_array_equal(
      weights[:6], [[1, 1], [1, 0], [1, 1], [1, 1], [1, 0], [1, 1]])
  np.testing.assert_allclose(weights[6], typed([4, 2], [9, 5], 2), rtol=1e-5)
  assert state['added'].tolist() == [1, 1]
