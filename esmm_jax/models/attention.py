"""Target attention over the entries of a list: Deep Interest Network."""

from collections.abc import Callable, Sequence
import dataclasses

from esmm_jax.models.layers import Activation, DTYPES, INITIALIZERS
from esmm_jax.models.layers import LayerOptions
from esmm_jax.types import Array
import flax.linen as nn
import jax.numpy as jnp


class ActivationUnit(nn.Module):
  """The weight a(e, t) of an entry e of a list, by its likeness to a target t.

      x = [e, t, e - t, e * t]                    # [B, L, 4 D]
      a = out(dense_k(... dense_0(x)))            # [B, L]

  Hidden layers have PReLU; the output is linear, without a softmax, so that the
  sum of the weights says how strong the interest is.

  Attributes:
    units: Widths of the hidden layers; () makes it linear in x.
    options: Initialiser and dtype of the products.

  References:
    Zhou et al., Deep Interest Network for Click-Through Rate Prediction, KDD
    2018, equation 3 and Figure 2. There x has an outer product where the
    authors' code (github.com/zhougr1993/DeepInterestNetwork) has e - t and
    e * t, as here. Two things are ours: the last bias is 1 at the start, so
    that training begins with the sum of the entries, and there is no Dice,
    whose statistics would be of padding too.
  """

  units: Sequence[int]
  options: LayerOptions

  @nn.compact
  def __call__(self, entries: Array, target: Array) -> Array:
    """Weighs entries float32 [B, L, D] by target [B, D]: float32 [B, L]."""
    options = self.options
    widths = [*self.units, 1]
    dtypes = [DTYPES[options.dtype]] * len(self.units) + [jnp.float32]
    rectified = dataclasses.replace(options, activation='prelu')
    x = entries
    for k, (width, dtype) in enumerate(zip(widths, dtypes)):
      is_last = k == len(self.units)
      bias = nn.initializers.constant(1.0 if is_last else 0.0)
      name = 'out' if is_last else f'dense_{k}'
      kernel_init = INITIALIZERS[options.initializer]()
      if k == 0:
        pairs = Pairs(width, kernel_init, bias, dtype, name=name)
        x = pairs(entries, target)  # [B, L, width]
      else:
        x = nn.Dense(
            width, kernel_init=kernel_init, bias_init=bias, dtype=dtype,
            name=name,
        )(x)
      if not is_last:
        # PReLU reads neither padding nor the mode.
        x = Activation(rectified, name=f'activation_{k}')(x, x[:, 0, 0], False)
    return x[..., 0]


class Pairs(nn.Module):
  """A linear layer on [e, t, e - t, e * t], which are not put side by side.

  With the kernel in four parts of D rows, W_1 to W_4, it is
  (W_1 + W_3) e + W_4 (e * t) + (W_2 - W_3) t, whose last term is computed once
  for a list: half the products, and no array [B, L, 4 D].

  Attributes:
    units: H.
    kernel_init: Of the kernel, [4 D, H].
    bias_init: Of the bias, [H].
    dtype: Of the products.
  """

  units: int
  kernel_init: Callable[..., Array]
  bias_init: Callable[..., Array]
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, entries: Array, target: Array) -> Array:
    """Applies it to entries [B, L, D] and target [B, D]: [B, L, H]."""
    width = 4 * entries.shape[-1]
    kernel = self.param('kernel', self.kernel_init, (width, self.units))
    bias = self.param('bias', self.bias_init, (self.units,))
    of_entry, of_target, of_difference, of_product = jnp.split(kernel, 4)
    pieces = (
        entries,
        entries * target[:, None],
        target,
        of_entry + of_difference,
        of_product,
        of_target - of_difference,
        bias,
    )
    e, both, t, by_entry, by_product, by_target, bias = (
        x.astype(self.dtype) for x in pieces
    )
    of_list = t @ by_target + bias  # [B, H]
    return e @ by_entry + both @ by_product + of_list[:, None]


def attend(
    units: Sequence[ActivationUnit],
    entries: Array,
    target: Array,
    weights: Array,
    first_order: int = 0,
) -> Array:
  """Combines the entries of lists: sum_l a(e_l, t) w_l e_l.

  Args:
    units: One for each embedding of an id, which looks at no other.
    entries: float32 [B, L, num_tables * (D + first_order)].
    target: float32 [B, num_tables * (D + first_order)].
    weights: float32 [B, L], 0 for padding.
    first_order: First-order weights behind each embedding. They are combined
      with it, and do not weigh.

  Returns:
    float32 [B, num_tables * (D + first_order)], 0 for an empty list.
  """
  parts = []
  for unit, e, t in zip(
      units,
      jnp.split(entries, len(units), axis=-1),
      jnp.split(target, len(units), axis=-1),
      strict=True,
  ):
    dim = t.shape[-1] - first_order
    a = unit(e[..., :dim], t[..., :dim]) * weights  # [B, L]
    # No product of a matrix: its factors would be rounded (TF32).
    parts.append(jnp.sum(a[..., None] * e, axis=1))
  return jnp.concatenate(parts, axis=-1)
