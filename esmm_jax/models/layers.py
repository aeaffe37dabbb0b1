"""Layers that every architecture is made of, and the options they share."""

from collections.abc import Sequence
import dataclasses

from esmm_jax.types import Array, InputError, suggest
import flax.linen as nn
import jax.numpy as jnp

PLAIN_ACTIVATIONS = {
    'relu': nn.relu,
    'leaky_relu': nn.leaky_relu,
    'gelu': nn.gelu,
    'silu': nn.silu,
    'tanh': jnp.tanh,
}
ACTIVATIONS = (*PLAIN_ACTIVATIONS, 'prelu', 'dice')
NORMS = ('none', 'batch', 'layer')
INITIALIZERS = {
    'he_normal': nn.initializers.he_normal,
    'he_uniform': nn.initializers.he_uniform,
    'glorot_normal': nn.initializers.glorot_normal,
    'glorot_uniform': nn.initializers.glorot_uniform,
    'lecun_normal': nn.initializers.lecun_normal,
}
DTYPES = {'float32': jnp.float32, 'bfloat16': jnp.bfloat16}
_MOMENTUM = 0.9  # Of running statistics.


@dataclasses.dataclass(frozen=True)
class LayerOptions:
  """The options that all hidden layers of an architecture share.

  The order in a layer is product, norm, activation, dropout.

  Attributes:
    activation: One of `ACTIVATIONS`.
    dropout: Probability that a hidden unit is set to 0 in training.
    norm: `none`, `batch` (over the real examples of the batch; padding does not
      touch the statistics) or `layer` (over the units of one example).
    initializer: Of kernels, one of `INITIALIZERS`; biases start at 0.
    dtype: Type of products and activations, `float32` or `bfloat16`.
      Parameters, norms, softmaxes and logits are always float32.

  Raises:
    InputError: A name is unknown or dropout is not in [0, 1).
  """

  activation: str = 'relu'
  dropout: float = 0.0
  norm: str = 'none'
  initializer: str = 'he_normal'
  dtype: str = 'float32'

  def __post_init__(self):
    for option, allowed in (
        ('activation', ACTIVATIONS),
        ('norm', NORMS),
        ('initializer', INITIALIZERS),
        ('dtype', DTYPES),
    ):
      value = getattr(self, option)
      if value not in allowed:
        raise InputError(
            f'model.{option} is {value!r}. {suggest(str(value), allowed)}'
        )
    if not 0 <= self.dropout < 1:
      raise InputError(f'model.dropout is {self.dropout}, not in [0, 1).')

  @property
  def batch_statistics(self) -> bool:
    """True if an example's output in training depends on the others."""
    return self.norm == 'batch' or self.activation == 'dice'

  def dense(self, units: int, name: str, use_bias: bool = True) -> nn.Dense:
    """Makes a linear layer with this initialiser and dtype."""
    return nn.Dense(
        units,
        use_bias=use_bias,
        kernel_init=INITIALIZERS[self.initializer](),
        dtype=DTYPES[self.dtype],
        name=name,
    )

  def logit(self, x: Array) -> Array:
    """Applies the last layer of a task, `out`: [B, I] -> float32 [B]."""
    out = nn.Dense(
        1, kernel_init=INITIALIZERS[self.initializer](), name='out'
    )
    return out(x.astype(jnp.float32))[:, 0]


class Activation(nn.Module):
  """Applies an activation by its name; PReLU and Dice have parameters.

  PReLU: max(x, 0) + slope * min(x, 0), one slope a unit, 0.25 at the start.
  Dice: p x + (1 - p) slope x with p = sigmoid((x - mean) / sqrt(var + 1e-8)),
  mean and variance of the unit over the real examples of the batch, running
  ones in evaluation; the slopes start at 0.

  Attributes:
    options: Names the activation.

  References:
    He et al., Delving Deep into Rectifiers, ICCV 2015, equation 1; Zhou et al.,
    Deep Interest Network, KDD 2018, on the data adaptive activation function.
  """

  options: LayerOptions

  @nn.compact
  def __call__(self, x: Array, where: Array, train: bool) -> Array:
    """Applies it to x [B, H], where float32 [B]: [B, H]."""
    name = self.options.activation
    if name in PLAIN_ACTIVATIONS:
      return PLAIN_ACTIVATIONS[name](x)
    init = nn.initializers.constant(0.25 if name == 'prelu' else 0.0)
    slope = self.param('slope', init, (x.shape[-1],)).astype(x.dtype)
    if name == 'prelu':
      return jnp.maximum(x, 0) + slope * jnp.minimum(x, 0)
    # In float32, as all norms: bfloat16 cannot hold the running statistics.
    standardised = nn.BatchNorm(
        momentum=_MOMENTUM,
        epsilon=1e-8,
        use_fast_variance=False,
        use_bias=False,
        use_scale=False,
        name='norm',
    )(
        x.astype(jnp.float32),
        use_running_average=not train,
        mask=where[:, None] > 0,
    )
    p = nn.sigmoid(standardised).astype(x.dtype)
    return p * x + (1 - p) * slope * x


class MLP(nn.Module):
  """Hidden layers: product, norm, activation, dropout, one after the other.

  Attributes:
    units: Widths; () returns the input.
    options: Options of the layers.
  """

  units: Sequence[int]
  options: LayerOptions

  @nn.compact
  def __call__(self, x: Array, where: Array, train: bool) -> Array:
    """Applies the layers to x [B, I].

    Args:
      x: [B, I].
      where: float32 [B], 0 for padding, which batch statistics leave out.
      train: Acts as in training (dropout, norms).

    Returns:
      [B, units[-1]].

    Raises:
      InputError: A width is not positive.
    """
    options = self.options
    if any(units < 1 for units in self.units):
      raise InputError(
          f'A model has hidden widths {tuple(self.units)} (tower_units,'
          ' expert_units, ...); each must be at least 1.'
      )
    for k, units in enumerate(self.units):
      x = options.dense(units, f'dense_{k}')(x)  # [B, units]
      if options.norm == 'batch':
        x = nn.BatchNorm(
            momentum=_MOMENTUM,
            # The fast one, E[x^2] - E[x]^2, cancels where |mean| >> std.
            use_fast_variance=False,
            dtype=x.dtype,
            name=f'norm_{k}',
        )(x, use_running_average=not train, mask=where[:, None] > 0)
      elif options.norm == 'layer':
        x = nn.LayerNorm(dtype=x.dtype, name=f'norm_{k}')(x)
      x = Activation(options, name=f'activation_{k}')(x, where, train)
      x = nn.Dropout(options.dropout)(x, deterministic=not train)
    return x


class Tower(nn.Module):
  """A fully connected network from an input to one output.

  Attributes:
    units: Widths of the hidden layers; () makes it linear.
    options: Options of the hidden layers.
  """

  units: Sequence[int]
  options: LayerOptions

  @nn.compact
  def __call__(self, x: Array, where: Array, train: bool) -> Array:
    """Computes the output of x [B, I]: float32 [B]."""
    x = MLP(self.units, self.options, name='hidden')(x, where, train)
    return self.options.logit(x)
