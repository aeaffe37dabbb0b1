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
    x = self.shared_input(table, batch)
    h = self.mlp(self.shared_units, 'shared')(x, batch.where, train)
    return self.run_towers(dict.fromkeys(self.tasks, h), batch.where, train)
