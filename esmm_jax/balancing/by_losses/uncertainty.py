"""UW: weights learned as variances of the tasks."""

from collections.abc import Mapping
from typing import Annotated

from esmm_jax.balancing.by_losses import per_task
from esmm_jax.options import POSITIVE
from esmm_jax.types import Array
import jax.numpy as jnp

# Bounds of log weights, and of the gradients of s.
MOST, STEEPEST = 15.0, 5.0


def init(num_tasks: int) -> dict[str, Array]:
  """Returns s = 0 for each task, and the state of its Adam."""
  return dict(scales=jnp.zeros(num_tasks), **per_task.no_moments(num_tasks))


def uncertainty(
    gram: Array,
    losses: Array,
    counts: Array,
    state: Mapping[str, Array],
    key: Array,
    *,
    rate: Annotated[float | Array, POSITIVE] = 0.025,
) -> tuple[Array, dict[str, Array]]:
  """Computes w_i = exp(-s_i) / 2, in which s_i learns to be log L_i.

  The loss of a step is the sum over tasks of

      exp(-s_i) L_i / 2 + s_i / 2,

  which is least in s_i where exp(s_i) = L_i: the weights end at 1 / (2 L_i),
  so that all weighted losses are alike. It is a static weight of 1 / L_i that
  follows the losses, late by as much as s has to learn. A constant weight in
  `loss_weights` is a factor of L_i: it is in s in the end, and without effect.

  s starts at 0 (all weights 1/2) and has an Adam with a rate of its own. In the
  paper and in both libraries s is a parameter of the network and has its rate.
  At 1e-3 Adam moves s by at most 1 in 1000 steps: in one epoch the weights of a
  CTR loss of .2 and a CTCVR loss of .002 would hardly leave 1 : 1 on their way
  to 1 : 100. At .025 s is there after 300 steps.

  The weights are those of the state before the step. The factor 1/2 and a
  factor common to all weights are removed where the networks have Adam, and so
  is the weight of a single task's tower.

  Deviations. A task does not move s where its loss is 0 or less: its variance
  has no sense, and s would have no minimum. exp(-s) is at most exp(15), for
  losses that vanish. The gradient in s, (1 - L exp(-s)) / 2, is cut at -5:
  Adam would remember the square of a first L of 1e6 for thousands of steps and
  stand still, 6.3 away from log L after 4000 steps, where it is at 0.0 so.

  Args:
    gram: Float [T, T]; not read, but for its type.
    losses: Float [T]; moves the state, the weights do not depend on it.
    counts: Float [T]; a task is present where its count is not 0.
    state: As of `init`.
    key: Not read.
    rate: Of the Adam of s.

  Returns:
    The weights, float [T], and the state.

  References:
    Kendall, Gal and Cipolla, Multi-task learning using uncertainty to weigh
    losses for scene geometry and semantics, CVPR 2018: the form with
    s = log sigma^2. For cross entropy the paper has exp(-s) L + s / 2; TorchJD
    (`UW`) and LibMTL take the form above for all losses, as here. TorchJD's s
    starts at 0, LibMTL's at -.5.
  """
  present = counts > 0
  scales = state['scales']
  weights = jnp.where(present, jnp.exp(-scales) / 2, 0.0)
  slopes = (1 - jnp.exp(-scales) * losses) / 2
  return weights.astype(gram.dtype), learn(
      slopes, state, present & (losses > 0), rate, (-MOST, jnp.inf)
  )


def learn(
    slopes: Array,
    state: Mapping[str, Array],
    moves: Array,
    rate: float | Array,
    bounds: tuple[float, float],
) -> dict[str, Array]:
  """Returns the state after a step of Adam on the scales.

  Args:
    slopes: Float [T], the gradient in the scales.
    state: As of `init`.
    moves: Bool [T].
    rate: Of Adam.
    bounds: Of the scales.
  """
  slopes = jnp.clip(slopes, -STEEPEST, STEEPEST)
  step, moments = per_task.adam(slopes, state, moves)
  scales = jnp.clip(state['scales'] - rate * step, *bounds)
  return dict(scales=scales, **moments)
