"""Adaptive information transfer between the towers of a funnel."""

from collections.abc import Sequence

from esmm_jax.models.architecture import Architecture
from esmm_jax.models.layers import MLP, Style
from esmm_jax.types import Array, Batch
import flax.linen as nn
import jax
import jax.numpy as jnp


class AITM(Architecture):
  """Each tower attends to itself and to what the tower before it hands on.

  With q_t the last hidden layer of tower t, and p_t = g(z_(t-1)) one hidden
  layer on what the tower before has,

      z_t = sum over u in {q_t, p_t} of softmax_u(<Q u, K u> / sqrt(k)) V u

  and y_t is linear in z_t. A first tower has z = q. "Before" is the parent in
  the funnel.

  The paper's outputs are end-to-end probabilities; train this with the
  estimator `end_to_end` and `loss_weights.calibrator` 0.6 for the paper's loss,
  or with any other, then outputs are conditional as everywhere.

  Attributes:
    tower_units: Hidden widths; the last one is k.
    stop_gradient: Whether a tower's loss stops short of the tower before
      (EasyRec's default; the paper and its code let it through).

  References:
    Xi et al., Modeling the Sequential Dependence among Audience Multi-step
    Conversions, KDD 2021, the AIT module. Q, K, V without bias, as in the
    authors' code (github.com/xidongbo/AITM, AITM.py).
  """

  tower_units: Sequence[int] = (128, 64, 32)
  stop_gradient: bool = False

  @nn.compact
  def __call__(
      self, table: Array, batch: Batch, *, train: bool = False
  ) -> dict[str, Array]:
    """Outputs of a batch; as `SharedEmbedding`."""
    x = self.shared_input(table, batch)
    hidden: dict[str, Array] = {}
    outputs: dict[str, Array] = {}
    for task in self.schema.tasks:  # Parents first.
      before = hidden.get(task.parent)
      if before is not None and self.stop_gradient:
        before = jax.lax.stop_gradient(before)
      tower = TransferTower(
          self.tower_units, self.style, name=f'tower_{task.name}'
      )
      hidden[task.name], outputs[task.name] = tower(
          x, before, batch.where, train
      )
    return outputs


class TransferTower(nn.Module):
  """Hidden layers, attention over them and the tower before, a logit.

  Attributes:
    units: Hidden widths.
    style: Options.
  """

  units: Sequence[int]
  style: Style

  @nn.compact
  def __call__(
      self, x: Array, before: Array | None, where: Array, train: bool
  ) -> tuple[Array, Array]:
    """Returns z_t [B, k] and the output float32 [B]."""
    own = MLP(self.units, self.style, name='hidden')(x, where, train)
    if before is None:
      return own, self.style.logit(own)
    width = own.shape[-1]
    handed = MLP((width,), self.style, name='transfer')(before, where, train)
    both = jnp.stack([own, handed], axis=1)  # [B, 2, k]
    query, key, value = (
        self.style.dense(width, name, use_bias=False)(both)
        for name in ('query', 'key', 'value')
    )
    scores = jnp.sum(query * key, axis=-1).astype(jnp.float32)
    weights = nn.softmax(scores / width**0.5, axis=-1)  # [B, 2]
    z = jnp.sum(weights[..., None].astype(value.dtype) * value, axis=1)
    return z, self.style.logit(z)
