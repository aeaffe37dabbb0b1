"""DualProj: projects the mean gradient so that it harms no task."""

from typing import Annotated, Any

from esmm_jax.balancing.by_gradients import active_sets, upgrad
from esmm_jax.options import NOT_NEGATIVE
from esmm_jax.types import Array
import jax.numpy as jnp


def dual_projection(
    gram: Array,
    losses: Array,
    counts: Array,
    state: Any,
    key: Array,
    *,
    delta: Annotated[float | Array, NOT_NEGATIVE] = 1e-4,
) -> tuple[Array, Any]:
  """Weighs the tasks as the projection of their mean on the dual cone does.

  With n tasks and u = 1 / n (equation 11 of the paper, in its dual form),

      w = argmin_v v H v   so that v >= u,   H = G / tr G + delta I

  For two tasks w is 1/2, except that

      w_1 = -H_12 / (2 H_11)   if H_11 + H_12 < 0
      w_2 = -H_12 / (2 H_22)   if H_22 + H_12 < 0

  at most one of which holds: the update has then no part along the gradient
  that the mean would harm. Where the mean harms none it is the mean.

  Args:
    gram: G [T, T], products of the tasks' gradients.
    losses: Not read.
    counts: [T], sizes of the tasks' sample spaces.
    state: Not read.
    key: Not read.
    delta: Part of the trace that is added to the diagonal, as in `upgrad`.

  Returns:
    Weights [T], at least 1 / n for tasks that are there, and the state.

  References:
    Lopez-Paz and Ranzato, Gradient Episodic Memory for Continual Learning,
    NeurIPS 2017. TorchJD 0.18 has this delta, and takes G for 0 where
    tr G < 1e-4; here G is divided by its trace. LibMTL has no such method.
  """
  del losses, key
  there = counts > 0
  scaled = upgrad.regularized(gram, counts, delta)
  mean = active_sets.share(there, gram.dtype)
  if len(gram) == 2:
    squares, product = jnp.diagonal(scaled), scaled[0, 1]
    needed = -product / jnp.where(squares > 0, squares, 1)
    weights = mean * jnp.where(squares + product < 0, needed, 1)
  else:
    weights = upgrad.above(scaled, mean[:, None], there)[:, 0]
  weights = jnp.where(there, weights, 0)
  return active_sets.checked(weights, gram), state
