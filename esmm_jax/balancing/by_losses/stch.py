"""STCH: a smooth form of the largest loss."""

from collections.abc import Mapping
from typing import Annotated, Literal

from esmm_jax.balancing.by_losses import per_task
from esmm_jax.options import POSITIVE
from esmm_jax.types import Array
import jax.numpy as jnp

# Least loss that weights are divided by.
_SMALLEST = 1e-8


def init(num_tasks: int) -> dict[str, Array]:
  """Returns no first losses."""
  return per_task.no_sums(num_tasks)


def stch(
    gram: Array,
    losses: Array,
    counts: Array,
    state: Mapping[str, Array],
    key: Array,
    *,
    mu: Annotated[float | Array, POSITIVE] = 0.5,
    form: Literal['log', 'plain'] = 'log',
    nadir: bool = True,
    window: Annotated[float | Array, per_task.STEPS] = 100,
) -> tuple[Array, dict[str, Array]]:
  """Computes the gradient of a smooth largest loss in the losses.

  The loss of a step is, with N_i the mean loss of the first `window` steps,

      plain:  mu log sum_i exp(L_i / (T N_i mu))
      log:    T mu log sum_i exp(log(L_i / N_i) / mu)

  and the weights are its gradient,

      plain:  w = softmax(L / (T N mu)) / (T N)
      log:    w = T softmax(log(L / N) / mu) / L.

  As mu goes to 0 only the task with the largest L_i / N_i is trained. The plain
  form is that of the paper with the preferences 1 / (T N_i), 1 / T without
  `nadir`, and the ideal point 0. The log form is that of the official code and
  of LibMTL; its weights are in the ratio

      w_2 / w_1 = (N_1 / N_2) (R_2 / R_1)^(1 / mu - 1),  R_i = L_i / N_i.

  At mu = 1, LibMTL's default, that is a static weight of 1 / N_i, but for a
  factor common to all, which Adam removes. So the default is .5 here, one of
  the four values of the paper. Below it the noise of the batches' losses is in
  the weights with the power 1 / mu - 1.

  Until all tasks that are present have N_i, N_i is L_i itself: the log form
  weighs with 1 / L_i, as in the warm-up of LibMTL, whose epochs are steps here,
  and whose mean is that of its last epoch.

  A loss of 0, which has no gradient, gets no weight where it would have to be
  divided by. The weights are nan where N_i is 0, and where a loss or N_i is
  less than 0 and is divided by. Those below 1e-8 are divided by as 1e-8.

  Args:
    gram: Float [T, T]; not read, but for its type.
    losses: Float [T].
    counts: Float [T]; a task is present where its count is not 0.
    state: As of `init`.
    key: Not read.
    mu: The smaller, the nearer to the largest loss.
    form: `log` or `plain`.
    nadir: Divides the losses by N_i; without it they are taken as they are.
    window: Steps whose mean loss is N_i.

  Returns:
    The weights, float [T], and the state.

  References:
    Lin et al., Smooth Tchebycheff scalarization for multi-objective
    optimization, ICML 2024 (arXiv 2402.19078). TorchJD's `STCH` of losses is
    the plain form without `nadir`; its aggregator of the same name has norms of
    gradients in place of losses, which is another method.
  """
  present = counts > 0
  base, is_ready = _base(losses, present, state, nadir, window)
  is_plain = form == 'plain'
  chosen = present & ((losses > 0) | (is_plain & is_ready))
  # Where all losses are 0, all tasks: they are alike.
  chosen = jnp.where(jnp.any(chosen), chosen, present)
  num_tasks = jnp.maximum(jnp.sum(chosen), 1)
  divisors = jnp.maximum(base, _SMALLEST)
  is_defined = (base > 0) | ((base == 0) & ~jnp.asarray(is_ready))
  if is_plain:
    scales = 1 / (num_tasks * divisors)
    weights = scales * per_task.softmax(scales * losses, mu, chosen)
    is_defined &= jnp.isfinite(losses)
  else:
    floored = jnp.maximum(losses, _SMALLEST)
    logs = jnp.log(floored) - jnp.log(divisors)
    weights = num_tasks * per_task.softmax(logs, mu, chosen) / floored
    is_defined &= (losses >= 0) & jnp.isfinite(losses)
  if nadir:
    moves = present & jnp.isfinite(losses)
    state = per_task.add_first(state, losses, moves, window)
  weights = jnp.where(jnp.all(is_defined | ~present), weights, jnp.nan)
  return weights.astype(gram.dtype), state


def _base(
    losses: Array,
    present: Array,
    state: Mapping[str, Array],
    nadir: bool,
    window: float | Array,
) -> tuple[Array, bool | Array]:
  """Returns N [T], and whether it is that of first steps."""
  if not nadir:
    return jnp.ones_like(losses), True
  means, have = per_task.first_means(state, window)
  is_ready = jnp.all(have | ~present)
  return jnp.where(is_ready, means, losses), is_ready
