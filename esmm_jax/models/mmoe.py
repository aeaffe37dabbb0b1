"""Multi-gate mixture of experts."""

from esmm_jax.models.architecture import MixtureArchitecture
from esmm_jax.models.experts import require_experts
from esmm_jax.types import Array, Batch
import flax.linen as nn


class MMoE(MixtureArchitecture):
  """Experts that all tasks share, and a gate for each task.

      g_k(x) = softmax(W_gk x)                    # [B, E]
      f_k(x) = sum_i g_k(x)_i f_i(x),  y_k = tower_k(f_k(x))

  Gates read the input vector and have neither bias nor hidden layer. They sow
  their weights into the collection `gates`, of which a run reports load and
  entropy.

  Attributes:
    num_experts: E.
    one_gate: Shares one gate among all tasks: OMoE.

  References:
    Ma et al., Modeling Task Relationships in Multi-task Learning with
    Multi-gate Mixture-of-Experts, KDD 2018, equations 6 to 8; equation 5 for
    one gate.
  """

  num_experts: int = 4
  one_gate: bool = False

  @nn.compact
  def __call__(
      self, table: Array, batch: Batch, *, train: bool = False
  ) -> dict[str, Array]:
    """Computes the outputs of a batch; see `SharedEmbedding`."""
    require_experts(num_experts=self.num_experts)
    embedded, where = self.inputs(table, batch), batch.where
    x = embedded.shared
    experts = self.experts(
        self.num_experts, 'shared_experts', x, where, train
    )  # E outputs [B, H]
    if self.one_gate:
      h = self.mixed('shared_gate', x, experts, where, train)
      inputs = dict.fromkeys(self.tasks, h)
    else:
      inputs = {
          t: self.mixed(f'gate_{t}', x, experts, where, train)
          for t in self.tasks
      }
    return embedded.added(self.run_towers(inputs, where, train))
