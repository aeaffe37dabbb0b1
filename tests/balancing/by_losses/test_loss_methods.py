"""What methods that look at losses, or at nothing, have in common."""

from esmm_jax.balancing import BALANCERS, method as methods
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.balancing.by_losses import steps

# Weights before the first step, of losses .2 and .05.
FIRST = {
    'random': None,
    'uncertainty': [0.5, 0.5],
    'imtl_l': [1, 1],
    'dwa': [1, 1],
    'gradnorm': [1, 1],
    'famo': [0.2, 0.8],
    'stch': [5, 20],
}
NAMES = sorted(FIRST)
# The others' weights are those of the state.
BY_LOSSES = ['famo', 'stch']
SHORT = dict(dwa=dict(window=3), gradnorm=dict(window=3), stch=dict(window=3))


def losses_and_grams(num_steps, num_tasks=3):
  rng = np.random.default_rng(3)
  roots = rng.normal(size=(num_steps, num_tasks, 5))
  return np.exp(rng.normal(size=(num_steps, num_tasks)) - 1), (
      roots @ roots.swapaxes(1, 2))


def walked(name):
  losses, grams = losses_and_grams(12)
  return steps.walk(name, losses, grams=grams, **SHORT.get(name, {}))[1]


@pytest.mark.parametrize('name', NAMES)
def test_first_weights(name):
  weights, _ = steps.step(name, [0.2, 0.05])
  if FIRST[name]:
    np.testing.assert_allclose(weights, FIRST[name], rtol=1e-5)
  assert BALANCERS[name].towers == 'weighted'


@pytest.mark.parametrize('name', NAMES)
def test_weights_depend_on_losses_or_not(name):
  """Those that do not are there before the gradient is taken."""
  state = walked(name)
  losses, grams = losses_and_grams(2)
  one, _ = steps.step(name, losses[0], gram=grams[0], state=state,
                      **SHORT.get(name, {}))
  two, _ = steps.step(name, [np.nan] * 3, gram=np.full((3, 3), np.nan),
                      state=state, **SHORT.get(name, {}))
  if name in BY_LOSSES:
    assert np.isnan(two).all() and np.isfinite(one).all()
  else:
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize('name', NAMES)
def test_replicas_are_what_they_are_alone(name):
  """Each with its own state, key, losses and numbers among the options."""
  method = BALANCERS[name]
  losses, grams = (x.reshape(3, 8, *x.shape[1:]).astype(np.float32)
                   for x in losses_and_grams(24))
  counts = np.ones((3, 8, 3), np.float32)
  counts[1, ::2, 0] = 0
  keys = jax.random.split(jax.random.key(1), (3, 8))
  factors = np.float32([0.5, 1, 2])
  numbers = {
      key: factors * np.float32(SHORT.get(name, {}).get(key, option.default))
      for key, option in methods.options(method).items() if option.traced}

  def walk(losses, grams, counts, keys, numbers):
    def body(state, xs):
      weights, state = method.weights(*xs[:3], state, xs[3], **numbers)
      return state, weights
    return jax.lax.scan(
        body, steps.start(name, 3), (grams, losses, counts, keys))

  alls = losses, grams, counts, keys, numbers
  together = jax.jit(jax.vmap(walk))(*alls)
  walk = jax.jit(walk)
  for k in range(3):
    alone = walk(*jax.tree.map(lambda x, k=k: x[k], alls))
    jax.tree.map(
        lambda a, b, k=k: np.testing.assert_allclose(
            a[k], b, rtol=1e-5, atol=1e-7),
        together, alone)
  if numbers and name != 'famo':  # FAMO's are those of `after`.
    same = jax.tree.map(lambda x: jnp.stack([x[0]] * 3), alls[:4])
    _, weights = jax.jit(jax.vmap(walk))(*same, numbers)
    assert (np.abs(np.diff(weights[:, -1], axis=0)).max(1) > 1e-4).all()
