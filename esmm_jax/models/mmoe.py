"""Multi-gate mixture of experts."""

from collections.abc import Sequence

from esmm_jax.models.architecture import Architecture
from esmm_jax.models.experts import Experts, Gate, mix, require_experts
from esmm_jax.types import Array, Batch
import flax.linen as nn


class MMoE(Architecture):
  """Experts that all tasks share, and a gate for each task.

      g_k(x) = softmax(W_gk x)                    # [B, E]
      f_k(x) = sum_i g_k(x)_i f_i(x),  y_k = tower_k(f_k(x))

  Gates read the input vector, have no bias and no hidden layer. Their weights
  are sown in the collection `gates` (`esmm_jax.predict` reports their entropy
  and load).

  Attributes:
    num_experts: E.
    expert_units: Hidden widths of each expert.
    one_gate: One gate for all tasks: OMoE.
    gate_dropout: See `Gate`.

  References:
    Ma et al., Modeling Task Relationships in Multi-task Learning with
    Multi-gate Mixture-of-Experts, KDD 2018, equations 6 to 8; equation 5 for
    one gate.
  """

  num_experts: int = 4
  expert_units: Sequence[int] = (128,)
  one_gate: bool = False
  gate_dropout: float = 0.0

  @nn.compact
  def __call__(
      self, table: Array, batch: Batch, *, train: bool = False
  ) -> dict[str, Array]:
    """Outputs of a batch; as `SharedEmbedding`."""
    require_experts(num_experts=self.num_experts)
    x, where = self.shared_input(table, batch), batch.where
    experts = Experts(
        self.num_experts, self.expert_units, self.style, name='shared_experts'
    )(x, where, train)  # E times [B, H]

    def mixed(name: str) -> Array:
      gate = Gate(
          len(experts), self.style, dropout=self.gate_dropout, name=name
      )
      return mix(gate(x, where, train), experts)  # [B, H]

    if self.one_gate:
      inputs = dict.fromkeys(self.tasks, mixed('shared_gate'))
    else:
      inputs = {t: mixed(f'gate_{t}') for t in self.tasks}
    return self.run_towers(inputs, where, train)
