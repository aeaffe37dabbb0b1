"""PCGrad: projects each gradient on the normal planes of those it conflicts."""

import itertools
from typing import Any, Literal

from esmm_jax.balancing.by_gradients import active_sets
from esmm_jax.types import Array
import jax
import jax.numpy as jnp
import numpy as np


def pcgrad(
    gram: Array,
    losses: Array,
    counts: Array,
    state: Any,
    key: Array,
    *,
    order: Literal['random', 'all'] = 'random',
) -> tuple[Array, Any]:
  """Weighs the tasks as the sum of their projected gradients does.

  Each task i starts with v = g_i. For each other task j, in a random order, v
  loses its part along g_j where the two conflict (Algorithm 1):

      v <- v - (v g_j / |g_j|^2) g_j   if v g_j < 0

  The update is the sum of these v. It is a sum of the g_j, so only the Gram
  matrix is needed. For two tasks, with m = min(G_12, 0),

      w = (1 - m / G_11, 1 - m / G_22)

  Without conflict all weights are 1. A gradient of 0 conflicts with none.

  Args:
    gram: G [T, T], products of the tasks' gradients.
    losses: Not read.
    counts: [T], sizes of the tasks' sample spaces.
    state: Not read.
    key: Of the order, for three tasks or more.
    order: `random`, or the mean over `all` orders, which depends on no key. It
      costs (T - 1)! times as much.

  Returns:
    Weights [T], at least 1 for tasks that are there, and the state.

  References:
    Yu et al., Gradient Surgery for Multi-Task Learning, NeurIPS 2020. TorchJD
    0.18 does the same. LibMTL has i itself among the j, which changes nothing
    for two tasks; for more v may lose a part along g_i.
  """
  del losses
  num = len(gram)
  if num == 2:
    weights = 1 - _ratio(jnp.minimum(gram[0, 1], 0), jnp.diagonal(gram))
  elif order == 'all' or num == 1:
    weights = _project(gram, _orders(num)).mean(1).sum(0)
  else:
    keys = jax.random.split(key, num)
    drawn = jax.vmap(jax.random.permutation)(keys, _others(num))
    weights = _project(gram, drawn[:, None])[:, 0].sum(0)
  weights = jnp.where(counts > 0, weights, 0)
  return active_sets.checked(weights, gram), state


def _ratio(product: Array, square: Array) -> Array:
  """Returns product / square, 0 for a gradient of 0."""
  return jnp.where(square > 0, product / jnp.where(square > 0, square, 1), 0)


def _others(num: int) -> np.ndarray:
  """Returns the other tasks of each, int32 [T, T - 1]."""
  others = [[j for j in range(num) if j != i] for i in range(num)]
  return np.array(others, np.int32)


def _orders(num: int) -> np.ndarray:
  """Returns all orders of the other tasks of each, int32 [T, N, T - 1]."""
  orders = [list(itertools.permutations(others)) for others in _others(num)]
  return np.array(orders, np.int32)


def _project(gram: Array, orders: Array) -> Array:
  """Projects each gradient in turn on the planes of the others.

  Args:
    gram: [T, T].
    orders: int32 [T, N, T - 1], N orders of the others for each task.

  Returns:
    [T, N, T], each projected gradient as a sum of the gradients.
  """
  num = len(gram)
  ones = np.eye(num, dtype=gram.dtype)
  v = jnp.broadcast_to(ones[:, None], (*orders.shape[:2], num))
  for k in range(num - 1):
    j = orders[:, :, k]
    product = (gram[j] * v).sum(-1)
    step = _ratio(jnp.minimum(product, 0), jnp.diagonal(gram)[j])
    v = v - step[..., None] * jax.nn.one_hot(j, num, dtype=gram.dtype)
  return v
