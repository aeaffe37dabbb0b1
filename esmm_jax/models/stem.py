"""Shared and task-specific embeddings."""

from collections.abc import Sequence

from esmm_jax.models.architecture import MixtureArchitecture
from esmm_jax.models.experts import require_experts
from esmm_jax.types import Array, Batch
import flax.linen as nn
import jax


class STEM(MixtureArchitecture):
  """Experts on an embedding of each task's own, and on a shared one.

  An id has one embedding for each task and a shared one. Task k reads its own
  experts, the shared ones and, without handing gradients back, the other tasks'
  ("all forward task-specific backward"), so that only its own loss and nothing
  of the others' moves its embedding:

      x_k' = softmax(gate_k(x_k + x_s)) [e_1 ...; sg(e_j), j != k; shared]

  Float fields stand in every block, so x_k + x_s has them twice.

  With several levels the shared path goes on as softmax(gate_s(x_s)) over all
  experts, through which gradients do flow; the last level has none.

  Attributes:
    levels: Levels; the paper's network has 1.
    num_task_experts: Experts of each task at each level.
    num_shared_experts: Shared experts at each level.
    gate_units: Hidden widths of the gates, which have biases.

  References:
    Su et al., STEM: Unleashing the Power of Embeddings for Multi-task
    Recommendation, AAAI 2024; gates and levels as in the authors' code
    (github.com/LiangcaiSu/STEM, models/STEM.py), whose last level also computes
    a shared output that nothing reads.
  """

  levels: int = 1
  num_task_experts: int = 1
  num_shared_experts: int = 1
  gate_units: Sequence[int] = (64,)

  @property
  def num_tables(self) -> int:
    """Embeddings that an id needs: one for each task, then the shared one."""
    return len(self.tasks) + 1

  @nn.compact
  def __call__(
      self, table: Array, batch: Batch, *, train: bool = False
  ) -> dict[str, Array]:
    """Outputs of a batch; as `SharedEmbedding`."""
    require_experts(
        levels=self.levels,
        num_task_experts=self.num_task_experts,
        num_shared_experts=self.num_shared_experts,
    )
    where = batch.where
    *own, shared = self.private_inputs(table, batch)
    x = dict(zip(self.tasks, own))

    def mixed(name: str, x: Array, outputs: list[Array]) -> Array:
      options = dict(units=self.gate_units, use_bias=True)
      return self.mixed(name, x, outputs, where, train, **options)  # [B, H]

    for j in range(self.levels):
      outputs = {
          t: self.experts(
              self.num_task_experts, f'expert_{t}_{j}', x[t], where, train
          )
          for t in self.tasks
      }
      common = self.experts(
          self.num_shared_experts, f'shared_experts_{j}', shared, where, train
      )
      stopped = jax.lax.stop_gradient(outputs)

      def seen_by(task: str, outputs=outputs, stopped=stopped) -> list[Array]:
        return sum(
            (outputs[t] if t == task else stopped[t] for t in self.tasks), []
        )

      x = {
          t: mixed(f'gate_{t}_{j}', x[t] + shared, seen_by(t) + common)
          for t in self.tasks
      }
      if j < self.levels - 1:
        everyone = sum(outputs.values(), []) + common
        shared = mixed(f'shared_gate_{j}', shared, everyone)
    return self.run_towers(x, where, train)
