"""Small convex problems on a Gram matrix, solved by trying all active sets.

With T tasks there are 2^T sets of tasks whose multiplier is not 0. Each gives a
linear system, and the one that meets the conditions of the optimum is chosen.
That is exact, has no iterations and no branches, so it runs under jit and vmap,
where solvers of quadratic programs do not.

All is done on cosines: gradients of norm 1e-8 beside some of 1e8 do not fit
into float32 otherwise.
"""

import itertools
from typing import NamedTuple

from esmm_jax.types import Array
import jax.numpy as jnp
import numpy as np

# A matrix of cosines gets RIDGE times the spacing of its numbers on its
# diagonal, so that equal gradients have one solution, which treats them alike.
RIDGE = 32
# Two directions are opposite where what is left of their sum is less than so
# many ridges: rounding made it.
OPPOSITE = 8


class Cosines(NamedTuple):
  """The gradients of the tasks that can be weighed.

  Attributes:
    there: bool [T], the task has rows in the batch and its gradient is not 0.
    norms: [T], 1 where the task is not there.
    matrix: [T, T], cosines of angles; 1 on the diagonal, 0 where either task is
      not there.
  """

  there: Array
  norms: Array
  matrix: Array


def cosines(gram: Array, counts: Array) -> Cosines:
  """Divides a Gram matrix by the norms."""
  squares = jnp.diagonal(gram)
  there = (counts > 0) & (squares > 0)
  norms = jnp.sqrt(jnp.where(there, squares, 1))
  matrix = gram / norms[:, None] / norms
  matrix = jnp.where(there[:, None] & there, jnp.clip(matrix, -1, 1), 0)
  ones = jnp.eye(len(gram), dtype=bool)
  return Cosines(there, norms, jnp.where(ones, 1, matrix))


def ridge(dtype: np.dtype) -> float:
  """Returns what is added to the diagonal of a matrix of cosines."""
  return RIDGE * float(jnp.finfo(dtype).eps)


def share(members: Array, dtype: np.dtype) -> Array:
  """Returns 1 / their number for the members, 0 for others; [T]."""
  members = members.astype(dtype)
  return members / jnp.maximum(members.sum(), 1)


def checked(weights: Array, gram: Array) -> Array:
  """Returns the weights, or nan for all tasks where one is not finite."""
  fine = jnp.isfinite(weights).all() & jnp.isfinite(gram).all()
  return jnp.where(fine, weights, jnp.nan)


def subsets(num: int) -> np.ndarray:
  """Returns all sets of tasks, bool [2^T, T]; the empty one first."""
  return np.array(list(itertools.product((False, True), repeat=num)))


def solve(matrix: Array, sets: np.ndarray, right: Array) -> Array:
  """Solves the equations of each set of tasks.

  Args:
    matrix: [T, T], symmetric and positive definite.
    sets: bool [N, T].
    right: [T, K], K right sides.

  Returns:
    [N, T, K], x with matrix[S, S] x[S] = right[S], 0 outside S.
  """
  num = len(matrix)
  inside = sets[:, :, None] & sets[:, None]
  system = jnp.where(inside, matrix, np.eye(num, dtype=matrix.dtype))
  both = jnp.concatenate(
      [system, jnp.where(sets[:, :, None], right, 0)], axis=-1)
  # Elimination without pivots, which such a matrix does not need: the same
  # sums in the same order, whatever a batch of them is.
  for k in range(num):
    pivot = both[:, k, None, :] / both[:, k, k, None, None]
    factors = both[:, :, k, None] - np.eye(num, dtype=matrix.dtype)[k][:, None]
    both = both - factors * pivot
  return both[..., num:]


def nonnegative(matrix: Array, linear: Array, there: Array) -> Array:
  """Minimizes y C y / 2 + q y over y >= 0.

  The optimum is where y >= 0, s = C y + q >= 0 and y s = 0. The set of tasks
  with y > 0 is chosen for which max_i |min(y_i, s_i)| is least.

  Args:
    matrix: C [T, T], cosines.
    linear: q [T, K], K problems.
    there: bool [T]; y is 0 for other tasks.

  Returns:
    y [T, K].
  """
  num = len(matrix)
  sets = subsets(num)
  matrix = matrix + ridge(matrix.dtype) * np.eye(num, dtype=matrix.dtype)
  y = solve(matrix, sets, -linear)
  slack = jnp.einsum('ij,njk->nik', matrix, y) + linear
  gaps = jnp.where(there[:, None], jnp.abs(jnp.minimum(y, slack)), 0).max(1)
  # A task that is left out may have cosines: PCD's primary one.
  allowed = (there | ~sets).all(1)
  best = jnp.argmin(jnp.where(allowed[:, None], gaps, jnp.inf), axis=0)
  y = jnp.take_along_axis(y, best[None, None], axis=0)[0]
  return jnp.where(there[:, None], jnp.maximum(y, 0), 0)
