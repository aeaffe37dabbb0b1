"""RLW."""

import jax
import numpy as np
import pytest

from tests.balancing.by_losses import steps


@pytest.mark.parametrize('num_tasks', [1, 2, 4])
def test_distribution(num_tasks):
  """Softmax of normal numbers: the mean is 1/T, and so is the spread's."""
  weights, _ = steps.walk('random', np.ones((20_000, num_tasks)))
  assert weights.min() > 0
  np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)
  # Four standard errors of the means.
  np.testing.assert_allclose(weights.mean(0), 1 / num_tasks, atol=0.006)
  if num_tasks > 1:
    logs = np.log(weights[:, 1:] / weights[:, :1])
    np.testing.assert_allclose(logs.mean(0), 0, atol=0.04)
    # Differences of two numbers of variance 1.
    np.testing.assert_allclose(logs.var(0), 2, rtol=0.05)


def test_seeds():
  losses = np.ones((4, 3))
  weights = [steps.walk('random', losses, seed=s)[0] for s in (0, 0, 1)]
  np.testing.assert_array_equal(weights[0], weights[1])
  assert (np.abs(weights[0] - weights[2]) > 1e-4).all()
  assert (np.abs(np.diff(weights[0], axis=0)) > 1e-4).all()


def test_is_softmax_of_normal_numbers():
  key = jax.random.fold_in(jax.random.key(5), 0)  # Of the first step.
  draws = [jax.random.normal(jax.random.fold_in(key, k)) for k in range(3)]
  weights, _ = steps.step('random', [1, 2, 3], seed=5)
  np.testing.assert_allclose(
      weights, np.exp(draws) / np.sum(np.exp(draws)), rtol=1e-5)


def test_present_tasks_get_what_they_get_alone():
  alone, _ = steps.step('random', [1, 1])
  for absent in range(3):
    counts = np.ones(3)
    counts[absent] = 0
    weights, _ = steps.step('random', [1, 1, 1], counts)
    assert weights[absent] == 0
    np.testing.assert_allclose(np.delete(weights, absent), alone, rtol=1e-6)
