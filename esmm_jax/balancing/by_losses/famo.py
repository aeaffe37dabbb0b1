"""FAMO: all losses shall fall at the same relative rate."""

from collections.abc import Mapping
from typing import Annotated

from esmm_jax.balancing.by_losses import per_task
from esmm_jax.options import NOT_NEGATIVE, POSITIVE
from esmm_jax.types import Array
import jax.numpy as jnp

_EPSILON = 1e-8


def init(num_tasks: int) -> dict[str, Array]:
  """Returns xi = 0 for each task, and the state of its Adam."""
  return dict(logits=jnp.zeros(num_tasks), **per_task.no_moments(num_tasks))


def famo(
    gram: Array,
    losses: Array,
    counts: Array,
    state: Mapping[str, Array],
    key: Array,
    *,
    rate: Annotated[float | Array, POSITIVE] = 0.025,
    weight_decay: Annotated[float | Array, NOT_NEGATIVE] = 1e-3,
) -> tuple[Array, Mapping[str, Array]]:
  """Computes w_i = c z_i / (L_i + 1e-8), z = softmax(xi).

  They are the gradient of c sum_i z_i log(L_i + 1e-8) in the losses, with the
  constant c that makes them sum to 1. So w = softmax(xi - log(L + 1e-8)): at
  the start each task has the weight 1 / L_i of `uncertainty` without learning
  it, from the batch at hand. `after` moves xi.

  The weights sum to 1, those of `static` at 1 to T; Adam removes the factor. c
  varies from step to step with the losses: that it removes but for its memory.

  The lower bound of each loss, b_i in the paper, is 0. A loss has a logarithm
  only above it: the weights are nan where a loss is less than 0. A loss of 0,
  which has no gradient, is left out; it would have all of the weight. A
  constant weight in `loss_weights` is a factor of L_i: it cancels in w_i L_i,
  and FAMO does not see it but for the 1e-8.

  Args:
    gram: Float [T, T]; not read, but for its type.
    losses: Float [T].
    counts: Float [T]; a task is present where its count is not 0.
    state: As of `init`; is returned.
    key: Not read.
    rate: Of Adam; for `after`.
    weight_decay: Of Adam; for `after`.

  Returns:
    The weights, float [T], and the state.

  References:
    Liu et al., FAMO: Fast adaptive multitask optimization, NeurIPS 2023:
    algorithm 2. The official code, LibMTL and TorchJD are the same, with b_i.
    The decay is 1e-3 in LibMTL and TorchJD; of the official code `famo.py` has
    1e-2 and `methods/weight_methods.py` 1e-5. The official code also clips the
    norm of the shared gradient at 1: here that is the optimizer's `clip_norm`.
  """
  del key, rate, weight_decay
  present = counts > 0
  is_above = present & (losses > 0)
  # Where all losses are 0, all tasks: they are alike.
  chosen = jnp.where(jnp.any(is_above), is_above, present)
  logs = jnp.log(jnp.maximum(losses, 0) + _EPSILON)
  weights = per_task.softmax(state['logits'] - logs, 1.0, chosen)
  is_defined = jnp.all(jnp.isfinite(logs) & (losses >= 0) | ~present)
  return jnp.where(is_defined, weights, jnp.nan).astype(gram.dtype), state


def after(
    before: Array,
    later: Array,
    counts: Array,
    state: Mapping[str, Array],
    *,
    rate: float | Array = 0.025,
    weight_decay: float | Array = 1e-3,
) -> dict[str, Array]:
  """Moves xi by what a step changed, so that all tasks gain alike.

  With d_i = log(L_i before + 1e-8) - log(L_i after + 1e-8) on the same batch,
  xi takes a step of Adam against

      (diag(z) - z z^T) d + weight_decay xi.

  A task whose loss fell by more than the mean of all, weighted by z, loses
  weight. The decay is part of the gradient, as in `torch.optim.Adam`; it does
  not act on its own, as in AdamW.

  Args:
    before: Float [T], the losses before the step.
    later: Float [T], those of the same batch after it.
    counts: Float [T]; a task is present where its count is not 0. One whose
      loss is not above 0 does not move.
    state: As of `init`.
    rate: Of Adam.
    weight_decay: Pulls xi towards 0.

  Returns:
    The state.
  """
  logs = lambda losses: jnp.log(jnp.maximum(losses, 0) + _EPSILON)
  falls = logs(before) - logs(later)
  moves = (counts > 0) & (before > 0) & (later >= 0) & jnp.isfinite(falls)
  falls = jnp.where(moves, falls, 0.0)
  z = per_task.softmax(state['logits'], 1.0, moves)
  slopes = z * (falls - jnp.sum(z * falls)) + weight_decay * state['logits']
  step, moments = per_task.adam(slopes, state, moves)
  return dict(logits=state['logits'] - rate * step, **moments)
