"""GradVac: the cosines of the gradients' angles kept at their usual values."""

from typing import Annotated

from esmm_jax.balancing.by_gradients import active_sets
from esmm_jax.options import BELOW_ONE
from esmm_jax.types import Array
import jax
import jax.numpy as jnp
import numpy as np

# Spacings of 1 below which 1 - target^2 is rounding of the target.
_LEAST = 32


def init(num_tasks: int) -> Array:
  """Returns the targets at the start, 0 for every pair: PCGrad's; [T, T]."""
  return jnp.zeros((num_tasks, num_tasks))


def gradvac(
    gram: Array,
    losses: Array,
    counts: Array,
    state: Array,
    key: Array,
    *,
    beta: Annotated[float | Array, BELOW_ONE] = 0.5,
) -> tuple[Array, Array]:
  """Weighs the tasks so that no cosine is below its mean of the past.

  Each gradient g_i is corrected against all others in a random order: where the
  cosine c of g'_i, as it is by then, and g_j is below the target t_ij,

      g'_i += g_j |g'_i| (t sqrt(1 - c^2) - c sqrt(1 - t^2))
                         / (|g_j| sqrt(1 - t^2))          (equation 2)

  makes it t. Then t_ij <- beta t_ij + (1 - beta) c (equation 3), c being that
  from before the correction. The update is the sum of the g'_i.

  With t = 0, as at the start, it is PCGrad. For two tasks there is no order and

      w_j = 1 + (n_i / n_j) (t sqrt(1 - c^2) / sqrt(1 - t^2) - c).

  The memory of a pair does not move in steps where either is absent or has a
  gradient of 0. t^2 counts as at most 1 - 32 spacings: with t = 1, which only
  gradients in one direction make, no finite g' exists.

  Args:
    gram: G [T, T], products of the tasks' gradients.
    losses: Not read.
    counts: [T], sizes of the tasks' sample spaces.
    state: t [T, T].
    key: Gives the orders; not read for two tasks.
    beta: Share of the old target that is kept.

  Returns:
    Weights [T] and the state.

  References:
    Wang et al., Gradient Vaccine, ICLR 2021, algorithm 1. There, and in both
    libraries, beta is the share of the new cosine, 1 minus ours; it is .5 in
    both libraries, and so in ours. TorchJD 0.18 adds 1e-8 to denominators.
    LibMTL moves a target only in steps that correct the pair, so that it can
    fall and never rise: not the method of the paper.
  """
  del losses
  num = len(gram)
  tasks = active_sets.cosines(gram, counts)
  pairs = tasks.there[:, None] & tasks.there
  order = _orders(key, num)
  old = jnp.asarray(state, gram.dtype)
  least = _LEAST * float(jnp.finfo(gram.dtype).eps)
  every = np.arange(num)
  # parts[i, k]: g'_i in units of |g_i| is sum_k parts[i, k] g_k / |g_k|.
  parts = jnp.eye(num, dtype=gram.dtype)
  seen = tasks.matrix
  for step in range(num - 1):
    at = every, order[:, step]
    along = parts @ tasks.matrix
    square = (parts * along).sum(1)
    # Corrected to nothing: opposite gradients.
    gone = square <= least
    length = jnp.sqrt(jnp.where(gone, 1, square))
    cosine = jnp.clip(along[at] / length, -1, 1)
    target = old[at]
    rest = jnp.sqrt(jnp.maximum(1 - target**2, least))
    more = target * jnp.sqrt((1 - cosine) * (1 + cosine)) / rest - cosine
    moves = pairs[at] & ~gone & (cosine < target)
    parts = parts.at[at].add(
        jnp.where(moves, length * more, 0), unique_indices=True
    )
    seen = seen.at[at].set(jnp.where(gone, target, cosine))
  weights = (parts * tasks.norms[:, None] / tasks.norms).sum(0)
  weights = jnp.where(counts > 0, weights, 0)
  new = beta * old + (1 - beta) * seen
  moves = pairs & ~np.eye(num, dtype=bool)
  state = jnp.where(moves, new, old).astype(jnp.asarray(state).dtype)
  return active_sets.checked(weights, gram), state


def _orders(key: Array, num: int) -> np.ndarray | Array:
  """Returns the other tasks in a random order for each task, [T, T - 1]."""
  others = np.array([[j for j in range(num) if j != i] for i in range(num)])
  if num <= 2:
    return others
  drawn = jax.random.uniform(key, others.shape)
  return jnp.take_along_axis(others, jnp.argsort(drawn, axis=1), axis=1)
