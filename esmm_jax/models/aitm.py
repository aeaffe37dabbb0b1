"""Adaptive information transfer between the towers of a funnel."""

from collections.abc import Sequence

from esmm_jax.models.architecture import Architecture
from esmm_jax.models.layers import MLP, LayerOptions
from esmm_jax.types import Array, Batch
import flax.linen as nn
import jax
import jax.numpy as jnp


class AITM(Architecture):
  """Lets each tower attend to itself and to a transfer from its parent's tower.

  With q_t the last hidden layer of tower t, and the transfer p_t = g(z_(t-1)),
  one hidden layer on the representation of the parent's tower,

      z_t = sum over u in {q_t, p_t} of softmax_u(<Q u, K u> / sqrt(k)) V u

  and y_t is linear in z_t. A task without a parent has z = q.

  The paper's outputs are end-to-end probabilities: the estimator `end_to_end`
  with `loss_weights.calibrator` 0.6 is the paper's loss. With any other
  estimator the outputs are conditional, as those of all models here.

  Attributes:
    tower_units: Hidden widths; the last one is k.
    stop_gradient: Keeps a tower's loss from training its parent's tower, the
      default of EasyRec; the paper and its code let the gradient through.

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
    """Computes the outputs of a batch; see `SharedEmbedding`."""
    embedded = self.inputs(table, batch)
    x = embedded.shared
    hidden: dict[str, Array] = {}
    outputs: dict[str, Array] = {}
    tasks = {t.name: t for t in self.schema.tasks}
    for name, like in self.outputs.items():  # Parents first.
      parent = hidden.get(tasks[like].parent)
      if parent is not None and self.stop_gradient:
        parent = jax.lax.stop_gradient(parent)
      tower = TransferTower(
          self.tower_units, self.layer_options, name=f'tower_{name}'
      )
      hidden[name], outputs[name] = tower(x, parent, batch.where, train)
    return embedded.added(outputs)


class TransferTower(nn.Module):
  """A tower with attention over its own and its parent's representation.

  Attributes:
    units: Hidden widths.
    options: Options of the hidden layers.
  """

  units: Sequence[int]
  options: LayerOptions

  @nn.compact
  def __call__(
      self, x: Array, parent: Array | None, where: Array, train: bool
  ) -> tuple[Array, Array]:
    """Computes a tower's representation and output.

    Args:
      x: [B, I].
      parent: z of the parent's tower, [B, k']; None for a task without one.
      where: float32 [B].
      train: Acts as in training (dropout, norms).

    Returns:
      z_t [B, k] and the output float32 [B].
    """
    q = MLP(self.units, self.options, name='hidden')(x, where, train)
    if parent is None:
      return q, self.options.logit(q)
    width = q.shape[-1]
    p = MLP((width,), self.options, name='transfer')(parent, where, train)
    both = jnp.stack([q, p], axis=1)  # [B, 2, k]
    query, key, value = (
        self.options.dense(width, name, use_bias=False)(both)
        for name in ('query', 'key', 'value')
    )
    # The softmax is float32 whatever the dtype of the products. Of two scores
    # it is a sigmoid, which cannot overflow: XLA may round a score twice, for
    # the maximum and for what that is taken from, at 1e10 by 1024.
    scores = jnp.sum(query * key, axis=-1).astype(jnp.float32) / width**0.5
    ahead = scores - scores[:, ::-1]
    weights = nn.sigmoid(ahead)  # [B, 2]
    z = jnp.sum(weights[..., None].astype(value.dtype) * value, axis=1)
    return z, self.options.logit(z)
