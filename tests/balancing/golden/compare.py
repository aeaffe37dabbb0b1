"""Our methods on the gradients of the golden files."""

from collections.abc import Iterable
import functools
import json
import pathlib
from typing import Any

from esmm_jax.balancing import BALANCERS
import jax
import jax.numpy as jnp
import numpy as np

FOLDER = pathlib.Path(__file__).parent


@functools.cache
def read(library: str) -> dict[str, Any]:
  """Returns the golden file of `torchjd` or `libmtl`."""
  return json.loads((FOLDER / f'{library}.json').read_text('utf-8'))


@functools.cache
def _compiled(name: str, chosen: tuple[tuple[str, Any], ...]):
  """A method under jit and vmap; its numbers are traced."""

  def weights(gram, losses, counts, state, key, numbers):
    return BALANCERS[name].weights(
        gram, losses, counts, state, key, **_named(chosen, len(gram)),
        **numbers)

  return jax.jit(jax.vmap(weights, in_axes=(0, 0, 0, None, 0, None)))


def _named(options: Iterable[tuple[str, Any]], num_tasks: int) -> dict:
  """Returns the options; if a task is primary, with names a, b, ... of all."""
  options = dict(options)
  if 'primary' in options:
    options['terms'] = tuple('abcdefgh'[:num_tasks])
  return options


def init(name: str, num_tasks: int) -> Any:
  """Returns a method's state at the start."""
  make = BALANCERS[name].init
  return () if make is None else make(num_tasks)


def step(
    name: str,
    grams: np.ndarray,
    losses: np.ndarray,
    state: Any,
    keys: jax.Array | None = None,
    counts: np.ndarray | None = None,
    dtype: str = 'float64',
    **options: Any,
) -> tuple[np.ndarray, Any]:
  """Returns weights [N, T] and states of N Gram matrices and losses.

  Numbers among the options are traced. float64 needs `jax.enable_x64`.
  """
  if keys is None:
    keys = jax.random.split(jax.random.key(0), len(grams))
  if counts is None:
    counts = np.ones_like(losses)
  traced = {k: jnp.asarray(v, dtype) for k, v in options.items()
            if isinstance(v, float)}
  chosen = tuple((k, v) for k, v in options.items() if k not in traced)
  arrays = (jnp.asarray(x, dtype) for x in (grams, losses, counts))
  got, state = _compiled(name, chosen)(*arrays, state, keys, traced)
  assert got.dtype == dtype
  return np.asarray(got, np.float64), state


def weigh(
    name: str,
    gradients: list,
    losses: list | None = None,
    dtype: str = 'float64',
    pad: bool = True,
    **options: Any,
) -> list[np.ndarray]:
  """Returns the weights of each case, of whatever number of tasks.

  Args:
    name: Of the method.
    gradients: Of each case [T, dim], T of 2 to 4.
    losses: Of each case [T]; 1 where there are none.
    dtype: Of all numbers.
    pad: Three tasks are given as four of which one is absent, which spares a
      program to compile.
    **options: Of the method.
  """
  results: list = [None] * len(gradients)
  losses = losses or [np.ones(len(g)) for g in gradients]
  size = lambda i: 4 if pad and len(gradients[i]) == 3 else len(gradients[i])
  with jax.enable_x64(dtype == 'float64'):
    for num in sorted({size(i) for i in range(len(gradients))}):
      chosen = [i for i in range(len(gradients)) if size(i) == num]
      grams = np.zeros((len(chosen), num, num))
      values, counts = np.zeros((2, len(chosen), num))
      for row, i in enumerate(chosen):
        present = len(gradients[i])
        grams[row, :present, :present] = gram(gradients[i])
        values[row, :present] = losses[i]
        counts[row, :present] = 1
      got, _ = step(name, grams, values, init(name, num), None, counts, dtype,
                    **options)
      for i, weights in zip(chosen, got):
        present = len(gradients[i])
        assert (weights[present:] == 0).all() or np.isnan(weights).all()
        results[i] = weights[:present]
  return results


def follow(
    name: str,
    losses: np.ndarray,
    grams: np.ndarray | None = None,
    after: np.ndarray | None = None,
    **options: Any,
) -> np.ndarray:
  """Returns the weights [S, T] of S steps, one after the other, in float64.

  Args:
    name: Of the method.
    losses: [S, T].
    grams: [S, T, T], or [T, T] for all steps.
    after: Losses of the same batches after the steps, [S, T].
    **options: Of the method; numbers are traced.
  """
  losses = np.asarray(losses, float)
  num = losses.shape[1]
  grams = np.eye(num) if grams is None else grams
  grams = np.broadcast_to(grams, (len(losses), num, num))
  later = losses if after is None else np.asarray(after, float)
  method, counts, key = BALANCERS[name], np.ones(num), jax.random.key(0)
  options = _named(options.items(), num)

  def one(state, inputs):
    gram, before, then = inputs
    weights, state = method.weights(gram, before, counts, state, key, **options)
    if method.after is not None:
      state = method.after(before, then, counts, state)
    return state, weights

  with jax.enable_x64(True):
    arrays = jax.tree.map(jnp.asarray, (grams, losses, later))
    run = jax.jit(lambda state, x: jax.lax.scan(one, state, x)[1])
    return np.asarray(run(init(name, num), arrays))


def gram(gradients: list) -> np.ndarray:
  """Returns the products of gradients [T, dim], float64."""
  gradients = np.asarray(gradients, float)
  return gradients @ gradients.T


def numbers(values: list) -> np.ndarray:
  """Returns float64 values, nan for null."""
  return np.array(values, dtype=float)


def difference(weights: np.ndarray, other: np.ndarray) -> float:
  """Largest relative difference of a weight; of zeros to the largest weight."""
  scale = np.maximum(np.abs(other), 1e-3 * np.abs(other).max())
  return float(np.max(np.abs(weights - other) / scale))
