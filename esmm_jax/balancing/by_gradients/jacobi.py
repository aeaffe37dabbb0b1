"""Eigenvalues of a Gram matrix whose norms differ by many orders of magnitude.

The routine of LAPACK has errors of 1e-7 times the greatest eigenvalue in
float32, and the gradient of a rare task is smaller than that. Jacobi's method
has errors relative to each eigenvalue (Demmel and Veselic, 1992).
"""

from esmm_jax.types import Array
from jax import lax
import jax.numpy as jnp
import numpy as np

# Three or four are usual.
_SWEEPS = 12


def eigen(matrix: Array) -> tuple[Array, Array]:
  """Computes eigenvalues and eigenvectors.

  Args:
    matrix: [T, T], symmetric, with eigenvalues >= 0 but for rounding.

  Returns:
    Eigenvalues [T] in no order, and the eigenvectors as columns [T, T].
  """
  num = len(matrix)
  vectors = jnp.eye(num, dtype=matrix.dtype)
  pairs = np.transpose(np.triu_indices(num, 1))
  eps = float(jnp.finfo(matrix.dtype).eps)

  def sweep(now: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
    turned, _ = lax.scan(
        lambda both, pair: (_rotate(*both, *pair), None), now[:2], pairs)
    return *turned, now[2] + 1

  def goes_on(now: tuple[Array, Array, Array]) -> Array:
    matrix, _, count = now
    size = jnp.sqrt(jnp.abs(jnp.diagonal(matrix)))
    rest = jnp.abs(matrix) * (1 - jnp.eye(num, dtype=matrix.dtype))
    return (rest > eps * size[:, None] * size).any() & (count < _SWEEPS)

  matrix, vectors, _ = lax.while_loop(
      goes_on, sweep, (matrix, vectors, np.int32(0)))
  return jnp.diagonal(matrix), vectors


def _rotate(
    matrix: Array, vectors: Array, p: Array, q: Array
) -> tuple[Array, Array]:
  """Turns the plane of two axes so that entry p, q is 0."""
  product = matrix[p, q]
  zero = jnp.abs(product) <= jnp.finfo(matrix.dtype).tiny
  half = (matrix[q, q] - matrix[p, p]) / (2 * jnp.where(zero, 1, product))
  # Its square is not a number of float32 where the axes are very unequal.
  length = jnp.maximum(jnp.abs(half), 1)
  root = length * jnp.sqrt((half / length) ** 2 + (1 / length) ** 2)
  tangent = jnp.where(half < 0, -1, 1) / (jnp.abs(half) + root)
  tangent = jnp.where(zero, 0, tangent)
  cosine = 1 / jnp.sqrt(1 + tangent**2)
  sine = tangent * cosine
  turn = jnp.eye(len(matrix), dtype=matrix.dtype)
  turn = turn.at[p, p].set(cosine).at[q, q].set(cosine)
  turn = turn.at[p, q].set(sine).at[q, p].set(-sine)
  turned = _dot(_dot(turn.T, matrix), turn)
  # As the formula has them: the products above have cancellation.
  first = matrix[p, p] - tangent * product
  second = matrix[q, q] + tangent * product
  turned = turned.at[p, p].set(first).at[q, q].set(second)
  turned = turned.at[p, q].set(0).at[q, p].set(0)
  return turned, _dot(vectors, turn)


def _dot(a: Array, b: Array) -> Array:
  """Multiplies small matrices, on an accelerator too with all digits."""
  return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
