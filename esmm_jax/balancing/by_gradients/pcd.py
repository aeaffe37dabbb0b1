"""PCD: the primary task's update that harms no other."""

from typing import Annotated

from esmm_jax.balancing.by_gradients import active_sets, memory
from esmm_jax.balancing.by_gradients.active_sets import Cosines
from esmm_jax.balancing.by_gradients.memory import Memory
from esmm_jax.options import BELOW_ONE, NOT_NEGATIVE, SHARE
from esmm_jax.types import Array
import jax.numpy as jnp

# What rounding leaves of sums that are 0, in spacings of 1.
_NOTHING = 32


def init(num_tasks: int) -> Memory:
  """Returns the memory of squared norms before the first step."""
  return memory.empty(num_tasks)


def pcd(
    gram: Array,
    losses: Array,
    counts: Array,
    state: Memory,
    key: Array,
    *,
    tau: Annotated[float | Array, SHARE] = 0.02,
    beta: Annotated[float | Array, BELOW_ONE] = 0.999,
    epsilon: Annotated[float | Array, NOT_NEGATIVE] = 1e-8,
    primary: str = '',
    terms: tuple[str, ...] = (),
) -> tuple[Array, Memory]:
  """Weighs the tasks as the update nearest to the primary one's gradient does.

  With gradients h_i = s_i g_i, s_i = 1 / sqrt(v_i + epsilon), v_i the moving
  average of |g_i|^2, this step's among them (definition 4.5), and p the primary
  task,

      d = argmin |d - h_p|^2 / 2   so that   h_j . d >= tau |h_j|^2

  for all others j (definition 4.1), and the update is d |g_p| / |d|. It is
  d = h_p + sum_j m_j h_j with m >= 0 (theorem 4.2); for two tasks, with
  N_ij = h_i . h_j,

      m = max(0, (tau N_jj - N_pj) / N_jj)                 (corollary 4.6).

  More tasks: all sets of active constraints are tried. A task that is not
  harmed has weight 0: its gradient enters only as far as it must. So towers of
  single tasks have their own gradient.

  Constraints that contradict each other (three tasks or more) are dropped: the
  update is g_p. There is no solution where d is 0, as with opposite gradients
  and tau = 0: the weights are nan. A task without rows has no constraint, and
  one with gradient 0 none that binds. Where the primary task has no rows or its
  gradient is 0 (the authors stop the model then) the last task that has some is
  primary in this step.

  Args:
    gram: G [T, T], products of the tasks' gradients.
    losses: Not read.
    counts: [T], sizes of the tasks' sample spaces.
    state: The averages of |g_i|^2.
    key: Not read.
    tau: Share of what a step along its own gradient gains that each other task
      must gain.
    beta: Share of the old average that is kept.
    epsilon: Added to the averages. Gradients much shorter than its root are
      not normalized.
    primary: Name of a task; unset: the last in the order of the terms.
    terms: Names of the tasks.

  Returns:
    Weights [T] and the state.

  Raises:
    InputError: `primary` is no task.

  References:
    Priority-Constrained Descent, TMLR 2026, arXiv 2606.29521, algorithm 1; the
    authors' code DaraVaram/priority-constrained-descent, whose averages have
    one count of steps for all tasks. TorchJD 0.18 has it too, the first task
    being the primary one, with the same answers; LibMTL has not.
  """
  del losses, key
  tasks = active_sets.cosines(gram, counts)
  there, norms = tasks.there, tasks.norms
  squares = jnp.where(counts > 0, jnp.diagonal(gram), 0)
  means, state = memory.remember(state, squares, counts > 0, beta)
  leads = memory.primary_task(primary, terms, there)
  scales = jnp.sqrt(jnp.where(there, means + epsilon, 1))
  # Of the h.
  sizes = jnp.where(there, norms / scales, 0)
  solve = _two if len(gram) == 2 else _more
  parts, length = solve(tasks, sizes, leads, tau)
  lead = jnp.where(leads, norms, 0).sum()
  weights = parts / norms * (lead / length)
  weights = jnp.where(there.any(), weights, jnp.where(counts > 0, 1, 0))
  return active_sets.checked(weights, gram), state


def _two(
    tasks: Cosines, sizes: Array, leads: Array, tau: float | Array
) -> tuple[Array, Array]:
  """Computes (m_i |h_i|) [2] and |d| for two tasks; see `_more`."""
  cosine = tasks.matrix[0, 1]
  lead = jnp.where(leads, sizes, 0).sum()
  other = jnp.where(leads, 0, sizes).sum()
  part = jnp.maximum(tau * other - cosine * lead, 0)
  # d along h_j and across: no difference of large numbers.
  square = (tau * other) ** 2 + lead**2 * (1 - cosine) * (1 + cosine)
  square = jnp.where(part > 0, square, lead**2)
  parts = jnp.where(leads, lead, part)
  return parts, _root(square, parts)


def _more(
    tasks: Cosines, sizes: Array, leads: Array, tau: float | Array
) -> tuple[Array, Array]:
  """Computes (m_i |h_i|) [T] and |d|.

  Args:
    tasks: The gradients.
    sizes: |h_i| [T], 0 where there is none.
    leads: bool [T], the primary task.
    tau: Scalar.
  """
  matrix = tasks.matrix
  eps = float(jnp.finfo(matrix.dtype).eps)
  first = jnp.where(leads, sizes, 0)
  others = tasks.there & ~leads
  # The dual problem, in which the primary task is none of the tasks.
  linear = jnp.where(others, matrix @ first - tau * sizes, 0)
  ones = jnp.eye(len(matrix), dtype=matrix.dtype)
  between = jnp.where(others[:, None] & others, matrix, ones)
  parts = active_sets.nonnegative(between, linear[:, None], others)[:, 0]
  parts = jnp.where(leads, sizes, parts)
  # It has no minimum where the constraints contradict each other: what its
  # ridge of 32 spacings then gives is far from meeting them.
  lack = tau * sizes - matrix @ parts
  error = tau * sizes / 2 + 2 * eps * parts.sum()
  contradict = (others & (lack > error)).any()
  parts = jnp.where(contradict, first, parts)
  return parts, _root(parts @ matrix @ parts, parts)


def _root(square: Array, parts: Array) -> Array:
  """Returns the length of d, nan where rounding alone makes it."""
  eps = float(jnp.finfo(square.dtype).eps)
  fine = square > _NOTHING * eps * parts.sum() ** 2
  return jnp.sqrt(jnp.where(fine, square, jnp.nan))
