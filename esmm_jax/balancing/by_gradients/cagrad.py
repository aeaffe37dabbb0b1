"""CAGrad: the best update for the worst task, near the mean gradient."""

from typing import Annotated, Any, Literal

from esmm_jax.balancing.by_gradients import active_sets
from esmm_jax.options import NOT_NEGATIVE
from esmm_jax.types import Array
import jax.numpy as jnp
import numpy as np


def cagrad(
    gram: Array,
    losses: Array,
    counts: Array,
    state: Any,
    key: Array,
    *,
    c: Annotated[float | Array, NOT_NEGATIVE] = 0.5,
    rescale: Literal['none', 'square', 'sum'] = 'none',
) -> tuple[Array, Any]:
  """Weighs the tasks as the update that helps the worst of them most does.

  The update d lies in a ball around the mean g0 of the n gradients, and the
  dual problem is over the simplex (section 3 and Algorithm 1 of the paper):

      max_d min_i g_i d   so that |d - g0| <= c |g0|
      min_a g_a g0 + c |g0| |g_a|,  g_a = sum a_i g_i
      w = 1 / n + c |g0| / |g_a| a

  For two tasks, with A = |g1 + g2|^2 / 4, H = |g1 - g2|^2 / 4,
  B = (G_11 - G_22) / 4, D = det G / 4 and k = c^2 A H - B^2,

      a = ((1 + x) / 2, (1 - x) / 2)
      x = -sign B                                    if k <= 0
      x = clip(-B / H (1 + sqrt(D / k)), -1, 1)      otherwise
      |g_a| = sqrt(A + 2 x B + x^2 H)

  More tasks: `_largest`, exact as well. The papers' programs iterate.

  With c = 0 it is the mean. A gradient of 0 would leave the update no way that
  helps all, so it is left out (weight 0), as a task without rows is. Where g0
  is 0 all weights are 1 / n. Where the shortest g_a is 0 although g0 is not,
  as with opposite gradients and a large c, there is no solution: nan.

  Args:
    gram: G [T, T], products of the tasks' gradients.
    losses: Not read.
    counts: [T], sizes of the tasks' sample spaces.
    state: Not read.
    key: Not read.
    c: Radius of the ball, relative to |g0|. It converges to a minimum of the
      mean loss below 1.
    rescale: Divisor of the weights: 1 (`none`), 1 + c^2 (`square`) or 1 + c
      (`sum`).

  Returns:
    Weights [T], at least 1 / n over the divisor for tasks that are weighed, and
    the state.

  References:
    Liu et al., Conflict-Averse Gradient Descent for Multi-task Learning,
    NeurIPS 2021. TorchJD 0.18 has no rescale, no default of c, and weights of 0
    where |g_a| < 1e-4 sqrt(tr G) or tr G < 1e-4: a task without gradient stops
    the model, and so do small gradients. LibMTL has `square` as default, a c
    of .5, and adds 1e-8 to squares, more than those of small gradients are.
  """
  del losses, key
  cosines = active_sets.cosines(gram, counts)
  mean = active_sets.share(cosines.there, gram.dtype)
  if len(gram) == 2:
    more = jnp.where(cosines.there.all(), _two(gram, cosines, c), c * mean)
  else:
    more = _largest(cosines, mean, c)
  weights = jnp.where(cosines.there, mean + more, 0)
  divisor = {'none': 1, 'square': 1 + c**2, 'sum': 1 + c}[rescale]
  nothing = active_sets.share(counts > 0, gram.dtype)
  weights = jnp.where(cosines.there.any(), weights / divisor, nothing)
  return active_sets.checked(weights, gram), state


def _two(
    gram: Array, cosines: active_sets.Cosines, c: float | Array
) -> Array:
  """Returns c |g0| / |g_a| a, [2], of two gradients that are not 0."""
  gram = gram / jnp.trace(gram)
  (first, product), (_, second) = gram
  mean, apart = (first + second) / 4, (first + second) / 4 - product / 2
  mean = jnp.maximum(mean + product / 2, 0)
  slope = (first - second) / 4
  sides = jnp.sqrt(first * second)
  det = (sides - product) * (sides + product) / 4
  k = c**2 * mean * apart - slope**2
  inside = k > 0
  root = jnp.sqrt(jnp.maximum(det, 0) / jnp.where(inside, k, 1))
  # (1 + x) / 2 and (1 - x) / 2, without differences of near numbers: of
  # gradients that differ much the small weight counts.
  both = jnp.stack([
      (second - product) / 2 - slope * root,
      (first - product) / 2 + slope * root,
  ]) / jnp.where(inside, 2 * apart, 1)
  ends = jnp.stack([1 - jnp.sign(slope), 1 + jnp.sign(slope)]) / 2
  a = jnp.where(inside, jnp.clip(both, 0, 1), ends)
  return _lengthened(a, jnp.sqrt(jnp.diagonal(gram)), cosines, c, mean)


def _largest(
    cosines: active_sets.Cosines, share: Array, c: float | Array
) -> Array:
  """Returns c |g0| / |g_a| a, [T].

  With y = c |g0| / |g_a| a and b_i = g_i g0, the conditions of the optimum are
  y >= 0, y G y = c^2 |g0|^2 and (G y + b)_i >= s, with equality where y_i > 0.
  For a set of the latter y = s p - q is linear in s, with p = G^-1 1 and
  q = G^-1 b, and y G y quadratic: one root has sum y > 0.
  """
  there, norms, matrix = cosines
  num = len(matrix)
  longest = jnp.where(there, norms, 0).max()
  shortest = jnp.where(there, norms, jnp.inf).min()
  sizes = norms / longest
  ratios = jnp.where(there, shortest / norms, 0)
  means = jnp.where(there, share * sizes, 0)
  along = matrix @ means
  square = jnp.maximum(means @ along, 0)
  radius = c**2 * square
  # z = y |g_i|, in units of the longest; s in products with the shortest.
  sets = active_sets.subsets(num)[1:]
  ridge = active_sets.ridge(matrix.dtype) * np.eye(num, dtype=matrix.dtype)
  right = jnp.stack([ratios, along], axis=-1)
  solved = active_sets.solve(matrix + ridge, sets, right)
  p, q = solved[..., 0], solved[..., 1]
  bend = (ratios * p).sum(-1, keepdims=True)
  bend = jnp.where(bend > 0, bend, 1)
  level = (ratios * q).sum(-1, keepdims=True) / bend
  q = q - level * p
  rest = radius - (q * (along - level * ratios)).sum(-1, keepdims=True)
  more = jnp.sqrt(jnp.maximum(rest, 0) / bend)
  z = more * p - q
  worse = (more + level) * ratios - z @ matrix - along
  gaps = jnp.where(there, jnp.maximum(0, jnp.where(sets, -z, worse)), 0).max(-1)
  gaps = jnp.maximum(gaps, jnp.sqrt(jnp.maximum(-rest[:, 0], 0)))
  allowed = (there | ~sets).all(1)
  best = jnp.argmin(jnp.where(allowed, gaps, jnp.inf))
  a = jnp.where(there, jnp.maximum(z[best], 0) / sizes, 0)
  return _lengthened(a, sizes, cosines, c, square)


def _lengthened(
    a: Array,
    sizes: Array,
    cosines: active_sets.Cosines,
    c: float | Array,
    square: Array,
) -> Array:
  """Returns c |g0| / |g_a| a, nan where g_a is 0 and g0 is not.

  Args:
    a: [T], of any scale.
    sizes: [T], norms in some unit.
    cosines: Of the gradients.
    c: See `cagrad`.
    square: |g0|^2 in that unit.
  """
  z = a * sizes
  length = z @ cosines.matrix @ z
  most = z @ jnp.abs(cosines.matrix) @ z
  least = active_sets.OPPOSITE * active_sets.ridge(z.dtype)
  fine = length > least * most
  factor = jnp.sqrt(square / jnp.where(fine, length, 1))
  more = jnp.where(fine, c * factor * a, jnp.nan)
  return jnp.where(c**2 * square > 0, more, 0)
