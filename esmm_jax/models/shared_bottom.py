"""A shared network, then a tower for each task."""

from collections.abc import Sequence

from esmm_jax.models.architecture import Architecture
from esmm_jax.types import Array, Batch
import flax.linen as nn


class SharedBottom(Architecture):
  """Feeds all towers from one shared hidden representation.

      h = shared(x),  y_k = tower_k(h)

  Attributes:
    shared_units: Hidden widths of the shared network.

  References:
    Caruana, Multitask Learning, Machine Learning 28, 1997; in the form of Ma et
    al., MMoE, KDD 2018, equation 1.
  """

  shared_units: Sequence[int] = (256, 128)

  @nn.compact
  def __call__(
      self, table: Array, batch: Batch, *, train: bool = False
  ) -> dict[str, Array]:
    """Computes the outputs of a batch; see `SharedEmbedding`."""
    embedded, where = self.inputs(table, batch), batch.where
    h = self.mlp(self.shared_units, 'shared')(embedded.shared, where, train)
    outputs = self.run_towers(dict.fromkeys(self.tasks, h), where, train)
    return embedded.added(outputs)
