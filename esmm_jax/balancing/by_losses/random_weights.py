"""RLW: random weights in every step."""

from typing import Any

from esmm_jax.balancing.by_losses import per_task
from esmm_jax.types import Array
import jax
import jax.numpy as jnp


def random(
    gram: Array, losses: Array, counts: Array, state: Any, key: Array
) -> tuple[Array, Any]:
  """Draws w = softmax(z), z ~ N(0, I), anew in every step.

  The mean of the weights is 1/T each, so that this is the control for methods
  whose weights move: what is gained by the movement alone. The weights sum to
  1, those of `static` at 1 to T; Adam removes the factor, SGD and the first
  steps of Adagrad do not.

  TorchJD's `Random` and LibMTL's `RLW` with `dist='Normal'` are the same. For
  LibMTL's other distributions there is no option. A task that is absent is
  drawn for neither: the k-th task that is present gets the k-th number.

  Args:
    gram: Float [T, T]; not read, but for its type.
    losses: Float [T]; not read.
    counts: Float [T]; a task is present where its count is not 0.
    state: Is returned.
    key: Random key of the step.

  Returns:
    The weights, float [T], and the state.

  References:
    Lin et al., A closer look at loss weighting in multi-task learning, 2021
    (arXiv 2111.10603; as "Reasonable effectiveness of random weighting", TMLR
    2022: algorithm 2).
  """
  present = counts > 0
  # Numbers that do not depend on how many tasks there are.
  ranks = jnp.maximum(jnp.cumsum(present) - 1, 0)
  draw = lambda rank: jax.random.normal(
      jax.random.fold_in(key, rank), dtype=gram.dtype
  )
  return per_task.softmax(jax.vmap(draw)(ranks), 1.0, present), state
