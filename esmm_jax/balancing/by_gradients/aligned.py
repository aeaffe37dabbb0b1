"""Aligned-MTL: gradients turned so that they are orthogonal and of one norm."""

from typing import Any, Literal

from esmm_jax.balancing.by_gradients import active_sets, jacobi
from esmm_jax.balancing.by_gradients.active_sets import Cosines
from esmm_jax.types import Array
import jax.numpy as jnp

# Gradients are in one plane too few where rounding alone keeps them from it; in
# spacings of 1.
_SINGULAR = 4
_SCALES = Literal['min', 'median', 'rmse']


def aligned(
    gram: Array,
    losses: Array,
    counts: Array,
    state: Any,
    key: Array,
    *,
    scale: _SCALES = 'min',
) -> tuple[Array, Any]:
  """Weighs the tasks as the mean of their aligned gradients does.

  With G = V diag(l) V', the gradients nearest to the tasks' that are orthogonal
  and of norm sqrt(L) have the Gram matrix L I; their mean is sum w_i g_i with

      w = sqrt(L) V diag(l)^(-1/2) V' 1 / T.

  For two tasks, with s = sqrt(det G), t = sqrt(tr G + 2 s),

      w = sqrt(L) (G_22 + s - G_12, G_11 + s - G_12) / (2 s t).

  More tasks: Jacobi's method for the eigenvalues (`jacobi`). A weight may be
  negative, of a gradient that is much longer than another in nearly the same
  direction.

  If the gradients are linearly dependent, V has the eigenvectors with l > 0
  alone, as in both libraries. Then a task may have a negative weight and the
  update harm it, or all weights be 0, as those of opposite gradients are: the
  weights are nan. Dependent is judged by the cosines, so a gradient that is
  1e8 times as small as another is none that is 0; the libraries' limit for l is
  1e-7 T times the greatest, and they leave such a task out.

  Args:
    gram: G [T, T], products of the tasks' gradients.
    losses: Not read.
    counts: [T], sizes of the tasks' sample spaces.
    state: Not read.
    key: Not read.
    scale: L, of the eigenvalues l > 0: the least, the median (the lower one of
      two), or the mean (`rmse`).

  Returns:
    Weights [T] and the state. A task whose gradient is 0 has weight 0, and
    counts in T.

  References:
    Senushkin et al., Independent Component Alignment for Multi-Task Learning,
    CVPR 2023, algorithm 1. TorchJD 0.18 (`AlignedMTL`) has the mean, as here;
    LibMTL and the authors have the sum, T times the weights.
  """
  del losses, key
  tasks = active_sets.cosines(gram, counts)
  solve = _two if len(gram) == 2 else _more
  weights, independent = solve(tasks, scale)
  # Rounding around 0.
  tiny = 16 * float(jnp.finfo(gram.dtype).eps)
  wrong = (weights < -tiny).any() | (weights <= tiny).all()
  wrong &= ~independent & tasks.there.any()
  weights = jnp.where(independent, weights, jnp.maximum(weights, 0))
  present = active_sets.share(counts > 0, gram.dtype)
  weights *= present.max()
  weights = jnp.where(tasks.there.any(), weights, present)
  weights = jnp.where(wrong, jnp.nan, weights)
  return active_sets.checked(weights, gram), state


def _two(tasks: Cosines, scale: str) -> tuple[Array, Array]:
  """Computes T w for two tasks, and whether they are independent."""
  a, b = norms = _relative(tasks)
  cosine = tasks.matrix[0, 1]
  eps = float(jnp.finfo(cosine.dtype).eps)
  independent = tasks.there.all() & (
      1 - jnp.abs(cosine) > 2 * _SINGULAR * eps)
  trace, product = a**2 + b**2, a * b
  # s = sqrt(det G).
  s = product * jnp.sqrt((1 - cosine) * (1 + cosine))
  # 2 sqrt(L) / s: L is s^2 / l, with the greatest eigenvalue l, or tr / 2.
  greatest = jnp.sqrt(jnp.maximum(trace - 2 * s, 0) * (trace + 2 * s))
  greatest = (trace + greatest) / 2
  safe = jnp.where(independent, s, 1)
  root = jnp.sqrt(trace / 2) / safe if scale == 'rmse' else greatest**-0.5
  other = norms[::-1]
  weights = other**2 + s - product * cosine
  weights *= root / jnp.sqrt(trace + 2 * s)
  # One eigenvector, (a, b): the sign is that of the cosine.
  sign = jnp.where(cosine < 0, -1, 1)
  single = norms * (norms + sign * other) / trace
  return jnp.where(independent, weights, single), independent


def _relative(tasks: Cosines) -> Array:
  """Returns the norms as shares of the greatest, 0 where no gradient is."""
  norms = jnp.where(tasks.there, tasks.norms, 0)
  return norms / jnp.where(tasks.there.any(), norms.max(), 1)


def _more(tasks: Cosines, scale: str) -> tuple[Array, Array]:
  """Computes T w for any number of tasks; see `_two`."""
  norms = _relative(tasks)
  values, vectors = jacobi.eigen(tasks.matrix * norms[:, None] * norms)
  # What errors of one spacing in each cosine do to an eigenvalue.
  error = (jnp.abs(vectors) * norms[:, None]).sum(0) ** 2
  eps = float(jnp.finfo(values.dtype).eps)
  kept = values > _SINGULAR * eps * error
  in_order = jnp.sort(jnp.where(kept, values, jnp.inf))
  number = kept.sum()
  if scale == 'min':
    level = in_order[0]
  elif scale == 'median':
    level = in_order[(number - 1) // 2]
  else:
    level = jnp.where(kept, values, 0).sum() / number
  safe = jnp.where(kept, values, 1)
  factors = jnp.where(kept, jnp.sqrt(level) / jnp.sqrt(safe), 0)
  weights = (vectors * factors * vectors.sum(0)).sum(1)
  return weights, number >= tasks.there.sum()
