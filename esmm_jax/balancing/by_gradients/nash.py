"""Nash-MTL: the update that is a bargain between the tasks."""

from typing import Any

from esmm_jax.balancing.by_gradients import active_sets, newton
from esmm_jax.types import Array
import jax.numpy as jnp


def nash(
    gram: Array, losses: Array, counts: Array, state: Any, key: Array
) -> tuple[Array, Any]:
  """Weighs the tasks so that (G w)_i = 1 / w_i.

  The update d = sum w_i g_i maximizes the product of the gains g_i . d among
  updates of one norm. For two tasks, with norms n and the cosine
  c of the angle,

      w_i = 1 / (n_i sqrt(1 + c)),

  so its direction is that of `imtl_g`: both gradients with one norm. More
  tasks: Newton's method on the convex w G w / 2 - sum log w_i (`newton`).

  |d|^2 = w G w = T, whatever the gradients are: this is a method that removes
  the length of the gradient. Under Adam that is without effect; for SGD it is
  another learning rate. k times the gradient of a task does not change its part
  of the update.

  There is no solution where a convex combination of the gradients is 0, as of
  two opposite ones: the weights are nan. A gradient of 0 gains nothing from any
  update; its task has weight 1 and the others what they have without it.

  Args:
    gram: G [T, T], products of the tasks' gradients.
    losses: Not read.
    counts: [T], sizes of the tasks' sample spaces.
    state: Not read.
    key: Not read.

  Returns:
    Weights [T] and the state.

  References:
    Navon et al., Multi-Task Learning as a Bargaining Game, ICML 2022, claim
    3.1 and algorithm 1. TorchJD 0.18 and LibMTL have the authors' solver, up to
    20 convex programs from the last solution, at first weights of 1. Where it
    fails it returns its start: of 400 random pairs 7 % had a ratio of the
    weights that was off by more than 1 %, the worst 35 times. They divide G
    by its norm first and cut |d| at 1 (`max_norm`), and may keep weights for
    some steps. Here none of these: the root is exact, |d| is sqrt(T), and to
    solve costs less than to keep.
  """
  del losses, key
  tasks = active_sets.cosines(gram, counts)
  if len(gram) == 2:
    room = newton.room(tasks)
    weights = jnp.where(tasks.there, 1 / (tasks.norms * jnp.sqrt(room)), 1)
  else:
    weights = newton.stationary(tasks, 1.0)
  weights = jnp.where(counts > 0, weights, 0)
  return active_sets.checked(weights, gram), state
