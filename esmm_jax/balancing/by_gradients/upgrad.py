"""UPGrad: projects each gradient so that it harms no task, and adds them up."""

from typing import Annotated, Any

from esmm_jax.balancing.by_gradients import active_sets
from esmm_jax.options import NOT_NEGATIVE
from esmm_jax.types import Array
import jax.numpy as jnp


def upgrad(
    gram: Array,
    losses: Array,
    counts: Array,
    state: Any,
    key: Array,
    *,
    delta: Annotated[float | Array, NOT_NEGATIVE] = 1e-4,
) -> tuple[Array, Any]:
  """Weighs the tasks as the mean of gradients projected on the dual cone does.

  The dual cone has the updates that harm no task, to first order. With n tasks
  and u_i = e_i / n (equation 3 and proposition 1 of the paper),

      w = sum_i argmin_v v H v   so that v >= u_i
      H = G / tr G + delta I

  For two tasks, with m = min(H_12, 0), it is half of PCGrad on H:

      w = (1 - m / H_11, 1 - m / H_22) / 2

  More tasks: `active_sets.nonnegative` in y = v - u_i.

  delta takes weight from the smaller of two gradients that conflict: with a
  cosine of -.5 and a ratio of norms of 10, 100, 300 its weight is 2.97, 13.0
  and 8.0, without delta 3.0, 25.5 and 75.5, that of the larger 1/2 and a
  little. The CVR gradient is often that small. 0 is exact.

  Args:
    gram: G [T, T], products of the tasks' gradients.
    losses: Not read.
    counts: [T], sizes of the tasks' sample spaces.
    state: Not read.
    key: Not read.
    delta: Part of the trace that is added to the diagonal.

  Returns:
    Weights [T], at least 1 / n for tasks that are there, and the state.

  References:
    Quinton and Rey, Jacobian Descent for Multi-Objective Optimization, 2024.
    TorchJD 0.18 is the reference and has this delta. It takes G for 0 where
    tr G < 1e-4: small gradients, below a norm of .01, are averaged. LibMTL has
    that code. Here G is divided by its trace, however small.
  """
  del losses, key
  there = counts > 0
  scaled = regularized(gram, counts, delta)
  mean = active_sets.share(there, gram.dtype)
  if len(gram) == 2:
    conflict = jnp.minimum(scaled[0, 1], 0)
    squares = jnp.diagonal(scaled)
    weights = mean * (1 - conflict / jnp.where(squares > 0, squares, 1))
  else:
    weights = above(scaled, jnp.diag(mean), there).sum(1)
  weights = jnp.where(there, weights, 0)
  return active_sets.checked(weights, gram), state


def regularized(gram: Array, counts: Array, delta: float | Array) -> Array:
  """Returns G / tr G + delta I; rows of absent tasks are 0."""
  trace = jnp.trace(gram)
  scaled = gram / jnp.where(trace > 0, trace, 1)
  return scaled + jnp.diag(jnp.where(counts > 0, delta, 0).astype(gram.dtype))


def above(matrix: Array, least: Array, there: Array) -> Array:
  """Minimizes v H v over v >= u.

  Args:
    matrix: H [T, T].
    least: u [T, K], K problems.
    there: bool [T], the tasks that are weighed.

  Returns:
    v [T, K].
  """
  cosines = active_sets.cosines(matrix, there)
  bound = cosines.norms[:, None] * least
  y = active_sets.nonnegative(
      cosines.matrix, cosines.matrix @ bound, cosines.there)
  return least + y / cosines.norms[:, None]
