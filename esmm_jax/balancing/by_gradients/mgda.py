"""MGDA: the shortest convex combination of the gradients."""

from typing import Any, Literal

from esmm_jax.balancing.by_gradients import active_sets
from esmm_jax.types import Array
import jax.numpy as jnp


def mgda(
    gram: Array,
    losses: Array,
    counts: Array,
    state: Any,
    key: Array,
    *,
    normalize: Literal['none', 'l2', 'loss', 'loss+'] = 'none',
) -> tuple[Array, Any]:
  """Weighs the tasks as the point of least norm of their gradients' hull does.

      w = argmin_a a G a   so that a >= 0, sum a = 1   (equation 3)

  For two tasks

      w_1 = clip((G_22 - G_12) / (G_11 + G_22 - 2 G_12), 0, 1),  w_2 = 1 - w_1

  and half each where the gradients are equal. More tasks: a is y / sum y of the
  least y G y / 2 - sum y over y >= 0 (`active_sets.nonnegative`). A ridge of 32
  spacings of numbers, relative to each norm, decides between equal gradients.

  It favours small gradients: the update is at most as long as the shortest.
  One that is 0 would stop all others, so it is left out (weight 0), as a task
  without rows is; where all are 0 the weights are equal.

  Args:
    gram: G [T, T], products of the tasks' gradients.
    losses: [T], read for `loss` and `loss+`.
    counts: [T], sizes of the tasks' sample spaces.
    state: Not read.
    key: Not read.
    normalize: Divisor of the gradients before: 1 (`none`), their norm, the
      loss, or both (`loss+`). The weights are those of the divided gradients,
      divided likewise.

  Returns:
    Weights [T] and the state. With `none` their sum is 1.

  References:
    Sener and Koltun, Multi-Task Learning as Multi-Objective Optimization,
    NeurIPS 2018. TorchJD 0.18 has up to 100 steps of Frank-Wolfe: of 3,000
    random cases of three and four tasks a third had |sum w g|^2 more than 1 %
    above the minimum, the worst 6.7 times it. LibMTL has 250 steps of another
    search, and .999 and .001 for the ends of two: with norms 1 and 300 the
    longer gradient is then a third of the update. LibMTL weighs the divided
    gradients themselves, so its update is that of ours.
  """
  del key
  divisor = jnp.ones_like(losses)
  if normalize in ('l2', 'loss+'):
    divisor = divisor * active_sets.cosines(gram, counts).norms
  if normalize in ('loss', 'loss+'):
    # A loss that is not positive has no scale: no solution.
    divisor = divisor * jnp.where(losses > 0, losses, jnp.nan)
  divisor = jnp.where(jnp.diagonal(gram) > 0, divisor, 1)
  weights = _least_norm(gram / divisor[:, None] / divisor, counts) / divisor
  return active_sets.checked(weights, gram), state


def _least_norm(gram: Array, counts: Array) -> Array:
  """Returns the weights [T] of the shortest convex combination."""
  cosines = active_sets.cosines(gram, counts)
  if len(gram) == 2:
    gap = gram[0, 0] + gram[1, 1] - 2 * gram[0, 1]
    # Each by itself: 1 - w loses a weight of 1e-10.
    rest = jnp.diagonal(gram)[::-1] - gram[0, 1]
    both = jnp.clip(rest / jnp.where(gap > 0, gap, 1), 0, 1)
    weights = jnp.where(gap > 0, both, 0.5)
    one = active_sets.share(cosines.there, gram.dtype)
    weights = jnp.where(cosines.there.all(), weights, one)
  else:
    # v = y / norms with C y >= 1 / norms; in units of the shortest.
    shortest = jnp.where(cosines.there, cosines.norms, jnp.inf).min()
    linear = jnp.where(cosines.there, shortest / cosines.norms, 0)
    y = active_sets.nonnegative(
        cosines.matrix, -linear[:, None], cosines.there)[:, 0]
    weights = y * linear
    total = weights.sum()
    weights = weights / jnp.where(total > 0, total, 1)
  nothing = active_sets.share(counts > 0, gram.dtype)
  return jnp.where(cosines.there.any(), weights, nothing)
