"""GradNorm."""

from esmm_jax.balancing.by_losses import gradnorm
import jax.numpy as jnp
import numpy as np
import pytest

from tests.balancing.by_losses import steps


def grams(norms, num_steps):
  """Gram matrices of gradients at right angles with these norms."""
  return np.tile(np.diag(np.square(norms)), (num_steps, 1, 1))


def paper(weights, norms, paces, alpha, target=None):
  """The loss of equation 2, and its targets of equation 1; float64."""
  gaps = weights * norms
  target = np.mean(gaps) * paces**alpha if target is None else target
  return np.sum(np.abs(gaps - target)), target


@pytest.mark.parametrize('num_tasks', [2, 3, 5])
@pytest.mark.parametrize('alpha', [0.0, 0.5, 1.5])
def test_gradient_in_w_against_finite_differences(num_tasks, alpha):
  """The targets stand still; divided by the mean norm, which Adam removes."""
  rng = np.random.default_rng(num_tasks)
  for _ in range(20):
    weights, norms, paces = np.exp(rng.normal(size=(3, num_tasks)))
    weights *= num_tasks / weights.sum()
    paces /= paces.mean()
    _, target = paper(weights, norms, paces, alpha)
    slopes = []
    for i in range(num_tasks):
      ends = [paper(weights + e * np.eye(num_tasks)[i], norms, paces, alpha,
                    target)[0] for e in (1e-6, -1e-6)]
      slopes.append((ends[0] - ends[1]) / 2e-6)
    got = gradnorm.slope(
        jnp.float32(weights), jnp.float32(norms), jnp.float32(paces),
        jnp.ones(num_tasks, bool), alpha)
    np.testing.assert_allclose(
        got, np.array(slopes) / np.mean(weights * norms), rtol=1e-4)


def test_gradient_in_s_against_finite_differences():
  """Adam's first mean is a tenth of it; w = T softmax(s)."""
  rng = np.random.default_rng(0)
  share = lambda s: len(s) * np.exp(s) / np.exp(s).sum()
  for _ in range(10):
    s, norms, first, losses = rng.normal(size=(4, 3))
    norms, first, losses = np.exp([norms, first, losses])
    paces = losses / first / np.mean(losses / first)
    weights = share(s)
    _, target = paper(weights, norms, paces, 1.5)
    slopes = []
    for e in 1e-6 * np.eye(3):
      ends = [paper(share(x), norms, paces, 1.5, target)[0]
              for x in (s + e, s - e)]
      slopes.append((ends[0] - ends[1]) / 2e-6 / np.mean(weights * norms))
    state = dict(
        steps.start('gradnorm', 3), scales=np.float32(s),
        total=np.float32(first), added=np.ones(3, np.int32))
    _, state = steps.step(
        'gradnorm', losses, gram=grams(norms, 1)[0], state=state, window=1)
    np.testing.assert_allclose(
        state['mean'], np.array(slopes) / 10, rtol=1e-3, atol=1e-5)


def test_first_steps_by_hand():
  """No movement while L(0) is measured, then Adam on the softmax of s."""
  losses = np.array([[1., 4], [3, 4], [1, 4], [1, 4]])
  weights, state = steps.walk(
      'gradnorm', losses, grams=grams([1, 10], 4), window=2, rate=0.1, alpha=1)
  np.testing.assert_array_equal(weights[:3], 1)
  np.testing.assert_allclose(state['total'] / state['added'], [2, 4])
  # L / L(0) is 1/2 and 1, so r = 2/3 and 4/3, and the targets 5.5 r are 3.7 and
  # 7.3: the second norm, 10, is too large, and the first too small.
  shift = np.exp([0.1, -0.1])
  np.testing.assert_allclose(weights[3], 2 * shift / shift.sum(), rtol=1e-5)


@pytest.mark.parametrize('scale', [1e-8, 1.0, 1e8])
def test_alpha_0_ends_at_equal_norms(scale):
  norms = scale * np.array([1, 3, 10])
  weights, _ = steps.walk(
      'gradnorm', np.ones((1500, 3)), grams=grams(norms, 1500), window=1,
      alpha=0, rate=0.01)
  ends = weights[-1] * norms
  np.testing.assert_allclose(ends, ends.mean(), rtol=0.05)
  np.testing.assert_allclose(weights.sum(1), 3, rtol=1e-5)


def test_the_task_that_lags_behind_gets_the_larger_norm():
  """Losses at 1/2 and 1 of their first: norms as (1/2)^alpha."""
  losses = np.ones((1500, 2))
  losses[1:, 0] = 0.5
  weights, _ = steps.walk(
      'gradnorm', losses, grams=grams([5, 1], 1500), window=1, rate=0.01)
  # Where the gaps' sum is least in w: the one at its target, or the other.
  norms = weights[-1] * [5, 1]
  paces = np.array([2 / 3, 4 / 3])
  gaps = np.abs(norms / norms.mean() - paces**1.5)
  assert gaps.min() < 0.05 and norms[1] > 2 * norms[0]


@pytest.mark.parametrize('losses, ratio', [
    ([0.0, 0.0], [1, 1]), ([-1.0, -2.0], [1, 1]), ([1e30, 1.0], [2, 0]),
    ([0.0, 1.0], [0, 2]),
])
def test_losses_of_all_kinds(losses, ratio):
  """Steps after L(0) = 1e-10 and 1: the sign of the gaps tells r."""
  first = [1e-10, 1.0]
  weights, state = steps.walk(
      'gradnorm', np.array([first, losses]), grams=grams([1, 1], 2), window=1)
  gaps = 1 - np.array(ratio, float)**1.5
  np.testing.assert_allclose(
      state['scales'], -0.025 * np.sign(gaps - gaps.mean()), rtol=1e-4)
  assert np.isfinite(weights).all()


def test_first_losses_of_0():
  weights, state = steps.walk(
      'gradnorm', np.array([[0, 1.], [5, 1], [5, 1]]), grams=grams([1, 2], 3),
      window=1)
  # r is 1 for the first, whose first loss was 0, and 1 for the second.
  assert state['scales'][0] > 0 > state['scales'][1]
  assert np.isfinite(weights).all()


def test_a_gradient_of_0_takes_no_weight_from_the_others():
  weights, state = steps.walk(
      'gradnorm', np.ones((1500, 3)), grams=grams([1, 0, 4], 1500), window=1,
      alpha=0)
  two, _ = steps.walk(
      'gradnorm', np.ones((1500, 2)), grams=grams([1, 4], 1500), window=1,
      alpha=0)
  assert state['scales'][1] == 0 and weights.min() > 0.3
  np.testing.assert_allclose(
      weights[:, 0] / weights[:, 2], two[:, 0] / two[:, 1], rtol=1e-4)
  _, state = steps.walk(
      'gradnorm', np.ones((5, 2)), grams=np.zeros((5, 2, 2)), window=1)
  assert state['scales'].tolist() == [0, 0]


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_numbers_that_are_not_finite_do_not_move_the_state(value):
  _, before = steps.walk(
      'gradnorm', np.ones((5, 2)), grams=grams([1, 4], 5), window=2)
  for losses, norms in (([value, 1], [1, 4]), ([1, 1], [1, value])):
    weights, after = steps.step(
        'gradnorm', losses, gram=grams(norms, 1)[0], state=before, window=2)
    assert np.isfinite(weights).all()
    for key in before:
      np.testing.assert_array_equal(after[key], before[key])
