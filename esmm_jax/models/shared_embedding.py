"""Two towers on one embedding: the network of ESMM."""

from collections.abc import Sequence

from esmm_jax.models.layers import FeatureEmbedding, run_towers, Tower
from esmm_jax.schema import Schema
from esmm_jax.types import Array, Batch
import flax.linen as nn


class SharedEmbedding(nn.Module):
  """A CTR tower and a CVR tower that share the embedding table only.

      x = [pool(field) for each field]            # [B, F * D + N]
      ctr = tower_ctr(x),  cvr = tower_cvr(x)     # [B] each

  Each tower owns its output bias: click and conversion have different rates.

  Attributes:
    schema: The fields.
    tower_units: Hidden widths of each tower. The paper says "360 x 200 x 80".
    activation: ReLU in the paper.
    dropout: Not in the paper.
    batch_norm: Not in the paper; EasyRec has it on.
    share_embeddings: False gives each tower an embedding of its own: ESMM-NS.

  References:
    Ma et al., Entire Space Multi-Task Model, SIGIR 2018, Figure 2, section 3.2
    for the widths. The paper's last layer has 2 units and a softmax; one logit
    is the same function.
  """

  schema: Schema
  tower_units: Sequence[int] = (360, 200, 80)
  activation: str = 'relu'
  dropout: float = 0.0
  batch_norm: bool = False
  share_embeddings: bool = True

  tasks = ('ctr', 'cvr')

  @property
  def num_tables(self) -> int:
    """Embeddings that an id needs."""
    return 1 if self.share_embeddings else len(self.tasks)

  @nn.compact
  def __call__(
      self, table: Array, batch: Batch, *, train: bool = False
  ) -> dict[str, Array]:
    """Logits of a batch.

    Args:
      table: float32 [U, num_tables * D], the rows that `batch.slots` index.
      batch: The examples.
      train: Whether dropout and batch norm are in training mode.

    Returns:
      `ctr` and `cvr`, log-odds, float32 [B].
    """
    embed = FeatureEmbedding(self.schema, self.num_tables)
    x = embed(table, batch.slots, batch.weights, batch.floats)
    inputs = {t: x[k % self.num_tables] for k, t in enumerate(self.tasks)}
    towers = {
        t: Tower(
            self.tower_units,
            self.activation,
            self.dropout,
            self.batch_norm,
            name=f'tower_{t}',
        )
        for t in self.tasks
    }
    return run_towers(towers, inputs, batch.where, train)
