"""Experts and the gates that mix them."""

from collections.abc import Sequence

from esmm_jax.models.layers import MLP, LayerOptions
from esmm_jax.types import Array, InputError
import flax.linen as nn
import jax
import jax.numpy as jnp

# Linen collection into which gates sow their weights; only where a caller makes
# it mutable, so that training does not store them.
GATES = 'gates'


class Experts(nn.Module):
  """Networks of one shape that read the same input.

  Attributes:
    num: Number of experts.
    units: Hidden widths of each.
    options: Options of the hidden layers.
  """

  num: int
  units: Sequence[int]
  options: LayerOptions

  @nn.compact
  def __call__(self, x: Array, where: Array, train: bool) -> list[Array]:
    """Runs the experts on x [B, I]; returns `num` outputs [B, units[-1]]."""
    # One product for each expert: on a CPU that was faster than one batched
    # product over the experts.
    return [
        MLP(self.units, self.options, name=f'expert_{k}')(x, where, train)
        for k in range(self.num)
    ]


class Gate(nn.Module):
  """Computes the weights of experts for each example: softmax(W x).

  With gate dropout some experts of an example get no weight in training, and
  the others share it. If all would be dropped, none is.

  Attributes:
    num: Number of experts.
    options: Options of the hidden layers.
    units: Widths of hidden layers before W; () in most papers.
    use_bias: Adds a bias to W x.
    dropout: Probability that an expert is dropped, Zhao et al. 2019.

  References:
    Ma et al., MMoE, KDD 2018, equation 8; Zhao et al., Recommending What Video
    to Watch Next, RecSys 2019 (gate dropout, 10 % of the experts).
  """

  num: int
  options: LayerOptions
  units: Sequence[int] = ()
  use_bias: bool = False
  dropout: float = 0.0

  @nn.compact
  def __call__(self, x: Array, where: Array, train: bool) -> Array:
    """Computes weights from x [B, I]: float32 [B, num], rows sum to 1.

    Raises:
      InputError: `dropout` is not in [0, 1).
    """
    if not 0 <= self.dropout < 1:
      raise InputError(f'model.gate_dropout is {self.dropout}, not in [0, 1).')
    x = MLP(self.units, self.options, name='hidden')(x, where, train)
    scores = self.options.dense(self.num, 'out', use_bias=self.use_bias)(x)
    scores = scores.astype(jnp.float32)
    mask = None
    if train and self.dropout:
      key = self.make_rng('dropout')
      mask = jax.random.bernoulli(key, 1 - self.dropout, scores.shape)
      mask |= ~jnp.any(mask, axis=-1, keepdims=True)
    # The softmax masks before it takes the maximum, so that the gradient stays
    # finite even where a dropped expert has by far the highest score.
    weights = nn.softmax(scores, axis=-1, where=mask)
    if not self.is_initializing():
      self.sow(GATES, 'weights', weights)
    return weights


def mix(weights: Array, experts: Sequence[Array]) -> Array:
  """Computes the weighted sum of experts, sum_e weights[:, e] experts[e].

  Args:
    weights: float32 [B, E].
    experts: E outputs, [B, H] each.

  Returns:
    [B, H].
  """
  return sum(
      weights[:, e, None].astype(expert.dtype) * expert
      for e, expert in enumerate(experts)
  )


def require_experts(least: int = 1, **counts: int) -> None:
  """Checks counts of experts or levels.

  Args:
    least: Smallest count allowed.
    **counts: Option -> its value.

  Raises:
    InputError: A count is below `least`.
  """
  for option, count in counts.items():
    if count < least:
      raise InputError(
          f'model.{option} is {count}; it must be at least {least}.'
      )
