"""Experts and the gates that mix them."""

from collections.abc import Sequence

from esmm_jax.models.layers import MLP, Style
from esmm_jax.types import Array, InputError
import flax.linen as nn
import jax
import jax.numpy as jnp

# Collection that gates put their weights in, when a caller makes it mutable.
GATES = 'gates'


class Experts(nn.Module):
  """Networks of one shape that read the same input.

  Each is a product of its own, which on a CPU was faster than one batched
  product over the experts.

  Attributes:
    num: How many.
    units: Widths of each.
    style: Options.
  """

  num: int
  units: Sequence[int]
  style: Style

  @nn.compact
  def __call__(self, x: Array, where: Array, train: bool) -> list[Array]:
    """x [B, I] -> `num` times [B, units[-1]]."""
    return [
        MLP(self.units, self.style, name=f'expert_{k}')(x, where, train)
        for k in range(self.num)
    ]


class Gate(nn.Module):
  """Weights of experts for each example: softmax(W x).

  With gate dropout some experts of an example get no weight in training, and
  the others share it. If all would be dropped, none is.

  Attributes:
    num: Experts.
    style: Options of the hidden layers.
    units: Hidden layers before W; the papers have none unless said.
    use_bias: Whether W has a bias.
    dropout: Probability that an expert is dropped, Zhao et al. 2019.

  References:
    Ma et al., MMoE, KDD 2018, equation 8; Zhao et al., Recommending What Video
    to Watch Next, RecSys 2019 (gate dropout, 10 % of the experts).
  """

  num: int
  style: Style
  units: Sequence[int] = ()
  use_bias: bool = False
  dropout: float = 0.0

  @nn.compact
  def __call__(self, x: Array, where: Array, train: bool) -> Array:
    """x [B, I] -> float32 [B, num], rows sum to 1."""
    if not 0 <= self.dropout < 1:
      raise InputError(f'model.gate_dropout is {self.dropout}, not in [0, 1).')
    x = MLP(self.units, self.style, name='hidden')(x, where, train)
    scores = self.style.dense(self.num, 'out', use_bias=self.use_bias)(x)
    scores = scores.astype(jnp.float32)
    kept = None
    if train and self.dropout:
      key = self.make_rng('dropout')
      kept = jax.random.bernoulli(key, 1 - self.dropout, scores.shape)
      kept |= ~jnp.any(kept, axis=-1, keepdims=True)
    weights = nn.softmax(scores, axis=-1, where=kept)
    if not self.is_initializing():
      self.sow(GATES, 'weights', weights)
    return weights


def mix(weights: Array, experts: Sequence[Array]) -> Array:
  """sum_e weights[:, e] experts[e].

  Args:
    weights: float32 [B, E].
    experts: E times [B, H].

  Returns:
    [B, H].
  """
  return sum(
      weights[:, e, None].astype(expert.dtype) * expert
      for e, expert in enumerate(experts)
  )


def require_experts(least: int = 1, **counts: int) -> None:
  """Raises InputError unless each option is at least `least`."""
  for option, count in counts.items():
    if count < least:
      raise InputError(
          f'model.{option} is {count}; it must be at least {least}.'
      )
