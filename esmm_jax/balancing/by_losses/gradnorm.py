"""GradNorm: norms of gradients alike, larger for tasks that lag behind."""

from collections.abc import Mapping
from typing import Annotated

from esmm_jax.balancing.by_losses import per_task
from esmm_jax.options import NOT_NEGATIVE, POSITIVE
from esmm_jax.types import Array
import jax.numpy as jnp

_LARGEST = 1e30


def init(num_tasks: int) -> dict[str, Array]:
  """Returns s = 0 for each task, its Adam, and no first losses."""
  return dict(
      scales=jnp.zeros(num_tasks),
      **per_task.no_moments(num_tasks),
      **per_task.no_sums(num_tasks),
  )


def gradnorm(
    gram: Array,
    losses: Array,
    counts: Array,
    state: Mapping[str, Array],
    key: Array,
    *,
    alpha: Annotated[float | Array, NOT_NEGATIVE] = 1.5,
    window: Annotated[float | Array, per_task.STEPS] = 100,
    rate: Annotated[float | Array, POSITIVE] = 0.025,
) -> tuple[Array, dict[str, Array]]:
  """Computes w = T softmax(s), in which s learns the norms of the tasks.

  With the norms n_i of the tasks' gradients, s is moved by an Adam of its own
  against the gradient of

      sum_i |w_i n_i - m r_i^alpha|,  m = mean_j w_j n_j,
      r_i = l_i / mean_j l_j,  l_i = L_i / L_i(0)

  (equations 1 and 2 of the paper), in which m r_i^alpha is a constant. r_i is
  large for a task that has learned little: it shall have a larger gradient. At
  alpha = 0 all norms shall be alike, and the weights end in the ratios 1 / n_i.

  L_i(0) is the mean loss of the first `window` steps in which the task is
  present; until all tasks that are present have it, the weights do not move.
  The paper takes the loss of the first step, or log C for a softmax of C
  classes; LibMTL the mean of the first epoch, which here is the only one.

  The weights are those of the state before the step, as in the paper, so a
  step needs no norms for its weights, but for its state. The norms are those of
  the Gram matrix: of all shared parameters, or of the part that it is of. The
  paper takes the last shared layer; so does LibMTL's `rep_grad`.

  Deviations. s is a logit, as in LibMTL, and not the weight: weights stay above
  0 and sum to T without the paper's division after each step. The norms are
  divided by m, which Adam removes but for its epsilon. r_i is 1 where no task
  has a loss above 0. A task whose gradient is 0 keeps its s, and the others are
  moved as if it were absent: no weight makes its norm larger, and the attempt
  takes all weight from the others. The gradient in s knows the sign of a gap
  and not its size, so w swings around its end by steps of `rate`.

  Args:
    gram: Float [T, T]; only its diagonal is read, for the state.
    losses: Float [T]; moves the state, the weights do not depend on it.
    counts: Float [T]; a task is present where its count is not 0.
    state: As of `init`.
    key: Not read.
    alpha: 0 makes all norms alike; the larger, the more the slow tasks get.
    window: Steps whose mean loss is L_i(0).
    rate: Of the Adam of s; the paper's, of w.

  Returns:
    The weights, float [T], and the state. They sum to the number of tasks that
    are present.

  References:
    Chen et al., GradNorm: Gradient normalization for adaptive loss balancing in
    deep multitask networks, ICML 2018. LibMTL (`GradNorm`) has s among the
    parameters of the network. TorchJD 0.18 has none.
  """
  present = counts > 0
  weights = _weights(state, present)
  norms = jnp.sqrt(jnp.maximum(jnp.diagonal(gram), 0))
  first, is_ready = per_task.first_means(state, window)
  is_finite = jnp.isfinite(losses) & jnp.isfinite(norms)
  moves = present & (norms > 0) & jnp.all((is_ready & is_finite) | ~present)
  among = _weights(state, moves)  # `weights`, where no gradient is 0.
  slopes = among * slope(
      among, norms, _paces(losses, first, moves), moves, alpha
  )
  # The derivative of T softmax.
  slopes -= among * jnp.sum(slopes) / _number(moves)
  step, moments = per_task.adam(slopes, state, moves)
  adds = present & jnp.isfinite(losses)
  return weights.astype(gram.dtype), dict(
      scales=state['scales'] - rate * step,
      **moments,
      **per_task.add_first(state, losses, adds, window),
  )


def _number(present: Array) -> Array:
  return jnp.maximum(jnp.sum(present), 1)


def _weights(state: Mapping[str, Array], present: Array) -> Array:
  shares = per_task.softmax(state['scales'], 1.0, present)
  return _number(present) * shares


def slope(
    weights: Array,
    norms: Array,
    paces: Array,
    present: Array,
    alpha: float | Array,
) -> Array:
  """Computes the gradient of GradNorm's loss in the weights, divided by m.

  Args:
    weights: Float [T].
    norms: Float [T], of the tasks' gradients.
    paces: Float [T], r.
    present: Bool [T].
    alpha: See `gradnorm`.

  Returns:
    sign(w_i n_i - m r_i^alpha) n_i / m, float [T]; 0 for absent tasks.
  """
  # Divided by the largest first: m may be too small to divide by.
  largest = jnp.max(norms, where=present, initial=0.0)
  norms = jnp.where(present, norms, 0.0) / jnp.where(largest > 0, largest, 1.0)
  gaps = weights * norms
  mean = jnp.sum(gaps) / _number(present)
  gaps -= mean * paces**alpha
  slopes = jnp.sign(gaps) * norms / jnp.where(mean > 0, mean, 1.0)
  return jnp.where(present, slopes, 0.0)


def _paces(losses: Array, first: Array, present: Array) -> Array:
  """Computes r [T]; 1 where it has no meaning."""
  left = jnp.where(first > 0, jnp.maximum(losses, 0) / first, 1.0)
  left = jnp.where(present, jnp.minimum(left, _LARGEST), 0.0)
  mean = jnp.sum(left) / _number(present)
  return jnp.where(mean > 0, left / jnp.where(mean > 0, mean, 1.0), 1.0)
