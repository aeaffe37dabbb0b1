"""Steps of a method of balancing, on losses and Gram matrices that are told."""

import functools

from esmm_jax.balancing import BALANCERS, method as methods
import jax
import jax.numpy as jnp
import numpy as np


_keys = jax.jit(jax.vmap(jax.random.fold_in, (None, 0)))


def start(name, num_tasks):
  """The state of a method before the first step."""
  method = BALANCERS[name]
  return method.init(num_tasks) if method.init else ()


@functools.cache
def _programs(name, choices):
  """Programs of one and of many steps; numbers among options are traced."""
  method = BALANCERS[name]

  def step(state, inputs, numbers):
    weights, state = method.weights(
        *inputs[:3], state, inputs[3], **numbers, **dict(choices))
    return state, weights

  def walk(state, inputs, numbers):
    return jax.lax.scan(lambda *a: step(*a, numbers), state, inputs)

  return jax.jit(step), jax.jit(walk)


def walk(name, losses, counts=None, grams=None, state=None, seed=0, **options):
  """Weights [N, T] of N steps, and the state after them.

  Args:
    name: The method.
    losses: [N, T].
    counts: [N, T]; 1 without it.
    grams: [N, T, T]; the identity without it.
    state: Before the first step; None is that of `start`.
    seed: Of the keys.
    **options: Of the method.
  """
  losses = np.asarray(losses, np.float32)
  num_steps, num = losses.shape
  counts = np.ones((num_steps, num)) if counts is None else counts
  grams = np.tile(np.eye(num), (num_steps, 1, 1)) if grams is None else grams
  keys = _keys(jax.random.key(seed), jnp.arange(num_steps))
  inputs = (np.asarray(grams, np.float32), losses,
            np.asarray(counts, np.float32))
  numbers, choices = {}, {}
  for key, option in methods.options(BALANCERS[name]).items():
    value = options.pop(key, option.default)
    if option.traced:
      numbers[key] = np.float32(value)
    else:
      choices[key] = value
  assert not options
  one, many = _programs(name, tuple(choices.items()))
  state = start(name, num) if state is None else state
  if num_steps > 30:  # One more program to compile.
    state, weights = many(state, (*inputs, keys), numbers)
  else:
    weights = []
    for *values, key in zip(*inputs, keys):
      state, new = one(state, (*values, key), numbers)
      weights.append(new)
  return np.asarray(weights), jax.tree.map(np.asarray, state)


def step(name, losses, counts=None, gram=None, state=None, seed=0, **options):
  """Weights [T] of one step, and the state after it; see `walk`."""
  weights, state = walk(
      name, np.array(losses)[None],
      None if counts is None else np.array(counts)[None],
      None if gram is None else np.array(gram)[None], state, seed, **options)
  return weights[0], state
