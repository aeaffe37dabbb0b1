"""FairGrad: the update of greatest alpha-fair utility of the tasks' gains."""

from typing import Annotated, Any

from esmm_jax.balancing.by_gradients import active_sets, newton
from esmm_jax.balancing.by_gradients.active_sets import Cosines
from esmm_jax.options import Range
from esmm_jax.types import Array
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

# Of Newton's method for two tasks. It needs 6 where norms differ by 1e16.
_STEPS = 12


def fairgrad(
    gram: Array,
    losses: Array,
    counts: Array,
    state: Any,
    key: Array,
    *,
    alpha: Annotated[float | Array, Range(0.01, 100)] = 1.0,
) -> tuple[Array, Any]:
  """Weighs the tasks so that (G w)_i = w_i^(-1/alpha).

  The update sum w_i g_i maximizes sum_i (g_i . d)^(1 - alpha) / (1 - alpha)
  among updates d of one norm. alpha = 1 is `nash`; above 1 tasks that gain
  little count more (to max-min), below 1 less (to the sum of the gains).

  Two tasks have one unknown, a root that is found in logarithms to the last
  digit for any norms; see `_two`. More: Newton's method on a convex function
  (`newton`). In float32 it gives up (nan) for 1 to 4 % of random problems of
  three tasks with alpha = 2 and norms of 1e-8 to 1e8, and for none where norms
  are e^N(0, 1).

  There is no solution where a convex combination of the gradients is 0, as of
  two opposite ones: the weights are nan. A gradient of 0 gains nothing from any
  update; its task has weight 1 and the others what they have without it.

  Args:
    gram: G [T, T], products of the tasks' gradients.
    losses: Not read.
    counts: [T], sizes of the tasks' sample spaces.
    state: Not read.
    key: Not read.
    alpha: Fairness, above 0.

  Returns:
    Weights [T] and the state.

  References:
    Ban and Ji, Fair Resource Allocation in Multi-Task Learning, ICML 2024,
    equation 4. TorchJD 0.18 and LibMTL have `scipy.least_squares` on the
    unscaled G from 1 / T, which agrees to 1e-4 with norms about 1. With norms
    of 1e-4 and 5e-4 it stops near its start, equal weights.
    LibMTL's alpha is 1; TorchJD's has no default, and 0 is the sum.
  """
  del losses, key
  tasks = active_sets.cosines(gram, counts)
  alpha = jnp.asarray(alpha, gram.dtype)
  solve = _two if len(gram) == 2 else newton.stationary
  weights = jnp.where(tasks.there, solve(tasks, alpha), 1)
  weights = jnp.where(counts > 0, weights, 0)
  return active_sets.checked(weights, gram), state


def _two(tasks: Cosines, alpha: Array) -> Array:
  """Solves the equation of two tasks.

  With r = (w_2 n_2) / (w_1 n_1), s = (r + c) / (1 + c r), the ratio of what the
  tasks gain per norm, and L = log(n_1 / n_2), the two equations divided are

      alpha log s + log r = (alpha - 1) L.

  For c >= 0, r is any positive number and log s = A(log r); for c < 0, s is and
  log r = A(log s), both with the odd function

      A(x) = log (e^x + |c|) / (1 + |c| e^x).

  So one has u x + v A(x) = (alpha - 1) L. A is concave for x > 0: Newton's
  method climbs from 0 to the root without a step too far.

  Args:
    tasks: The gradients of two tasks.
    alpha: Scalar.

  Returns:
    w [2].
  """
  cosine, room = tasks.matrix[0, 1], newton.room(tasks)
  size = jnp.abs(cosine)
  logs = jnp.log(tasks.norms)
  target = (alpha - 1) * (logs[0] - logs[1])
  conflict = cosine < 0
  # Factors of x and A: x is log r, or log s in a conflict.
  u = jnp.where(conflict, alpha, 1)
  v = jnp.where(conflict, 1, alpha)

  def newton_step(_: int, x: Array) -> Array:
    e = jnp.exp(-x)
    slope = e * (1 - size**2) / ((1 + size * e) * (e + size))
    return x + (jnp.abs(target) - u * x - v * _bent(x, size)) / (u + v * slope)

  first = jnp.abs(target) / (u + v * (1 - size) / (1 + size))
  x = lax.fori_loop(0, _STEPS, newton_step, first)
  bent = jnp.sign(target) * _bent(x, size)
  x = jnp.sign(target) * x
  log_r = jnp.where(conflict, bent, x)
  # 1 + c r, which is (1 - c^2) / (1 + |c| s) in a conflict.
  log_size = jnp.log(jnp.maximum(size, jnp.finfo(size.dtype).tiny))
  spread = jax.nn.softplus(log_size + x)
  gain = jnp.where(
      conflict, jnp.log(room) + jnp.log1p(size) - spread, spread)
  first = -(2 * logs[0] + gain) * alpha / (1 + alpha)
  second = first + logs[0] - logs[1] + log_r
  return jnp.exp(jnp.stack([first, second]))


def _bent(x: Array, size: Array) -> Array:
  """Computes A(x) of `_two` for x >= 0."""
  e = jnp.exp(-x)
  # Of |c| = 0 it is x, also where e is 0.
  floor = np.finfo(size.dtype).tiny
  inner = jnp.log1p((1 - size) * (1 - e) / jnp.maximum(e + size, floor))
  return jnp.where(size > 0, inner, x)
