"""IMTL-G: an update that has the same part along every task's gradient."""

from typing import Any

from esmm_jax.balancing.by_gradients import active_sets
from esmm_jax.types import Array
import jax.numpy as jnp

# Of an update along each gradient, relative to what it should be.
_ERROR = 0.1


def imtl_g(
    gram: Array, losses: Array, counts: Array, state: Any, key: Array
) -> tuple[Array, Any]:
  """Weighs the tasks so that the update has equal parts along all gradients.

  With unit vectors u_i = g_i / |g_i| the parts u_i d of the update
  d = sum w_i g_i are equal (section 3.1 of the paper):

      v = G^-1 sqrt(diag G),  w = v / sum v

  For two tasks, whatever their angle,

      w = (1 / |g1|, 1 / |g2|) / (1 / |g1| + 1 / |g2|)

  For three or more a weight may be less than 0; all tasks gain nonetheless.
  Where sum v is not more than 0 the division would turn the update around, and
  gradients of which no sum has equal parts, as opposite ones, leave none: nan.
  A gradient of 0 is left out (weight 0), as a task without rows is; where all
  are 0 the weights are equal.

  Args:
    gram: G [T, T], products of the tasks' gradients.
    losses: Not read.
    counts: [T], sizes of the tasks' sample spaces.
    state: Not read.
    key: Not read.

  Returns:
    Weights [T], whose sum is 1, and the state.

  References:
    Liu et al., Towards Impartial Multi-task Learning, ICLR 2021. TorchJD 0.18
    has the pseudo-inverse: gradients 2 and -1 get the weights 2 and -1, and a
    gradient of 0 among two gets all of the weight. LibMTL's `IMTL` is this
    together with the losses' scales, IMTL-L.
  """
  del losses, key
  cosines = active_sets.cosines(gram, counts)
  there, norms, matrix = cosines
  dtype, ridge = gram.dtype, active_sets.ridge(gram.dtype)
  shortest = jnp.where(there, norms, jnp.inf).min()
  ratios = jnp.where(there, shortest / norms, 0)
  if len(gram) == 2:
    # The case of no solution is that of more tasks, below.
    least = ridge * (1 / _ERROR - 1)
    fine = ~there.all() | (1 + matrix[0, 1] > least)
    weights = ratios
  else:
    sets, ones = there[None], jnp.ones((len(gram), 1), dtype)
    system = matrix + ridge * jnp.eye(len(gram), dtype=dtype)
    z = active_sets.solve(system, sets, ones)[0, :, 0]
    errors = jnp.where(there, jnp.abs(matrix @ z - 1), 0)
    weights = z * ratios
    fine = (errors.max() < _ERROR) & (weights.sum() > 0)
  weights = jnp.where(fine, weights / weights.sum(), jnp.nan)
  nothing = active_sets.share(counts > 0, dtype)
  weights = jnp.where(there.any(), weights, nothing)
  return active_sets.checked(weights, gram), state
