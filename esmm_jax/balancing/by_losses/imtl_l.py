"""IMTL-L: learned scales that make the weighted losses alike."""

from collections.abc import Mapping
from typing import Annotated

from esmm_jax.balancing.by_losses import uncertainty as _uncertainty
from esmm_jax.options import POSITIVE
from esmm_jax.types import Array
import jax.numpy as jnp


def imtl_l(
    gram: Array,
    losses: Array,
    counts: Array,
    state: Mapping[str, Array],
    key: Array,
    *,
    rate: Annotated[float | Array, POSITIVE] = 0.025,
) -> tuple[Array, dict[str, Array]]:
  """Computes w_i = exp(s_i), in which s_i learns to be -log L_i.

  The loss of a step is the sum over tasks of

      exp(s_i) L_i - s_i,

  twice that of `uncertainty` at -s_i. With the Adam of s, which removes the
  factor, its weights are twice those of `uncertainty` in every step, up to
  Adam's epsilon; and a factor common to all weights is removed where the
  networks have Adam too. The two are one method there.

  What `uncertainty` says about `rate`, about losses of 0 or less and about
  bounds holds here; the gradient, L exp(s) - 1, is cut at 10.

  Args:
    gram: Float [T, T]; not read, but for its type.
    losses: Float [T]; moves the state, the weights do not depend on it.
    counts: Float [T]; a task is present where its count is not 0.
    state: As of `uncertainty.init`.
    key: Not read.
    rate: Of the Adam of s.

  Returns:
    The weights, float [T], and the state.

  References:
    Liu et al., Towards impartial multi-task learning, ICLR 2021: the loss
    balance. TorchJD's `IMTLL` is the same with s a parameter of the network;
    LibMTL has it only together with IMTL-G.
  """
  present = counts > 0
  scales = state['scales']
  weights = jnp.where(present, jnp.exp(scales), 0.0)
  # Half of it: cut where `uncertainty` cuts, and Adam removes the factor.
  slopes = (jnp.exp(scales) * losses - 1) / 2
  return weights.astype(gram.dtype), _uncertainty.learn(
      slopes,
      state,
      present & (losses > 0),
      rate,
      (-jnp.inf, _uncertainty.MOST),
  )
