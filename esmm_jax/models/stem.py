"""Shared and task-specific embeddings."""

from collections.abc import Sequence

from esmm_jax.models.architecture import MixtureArchitecture
from esmm_jax.models.experts import require_experts
from esmm_jax.types import Array, Batch
import flax.linen as nn
import jax


class STEM(MixtureArchitecture):
  """Experts on each task's own embedding, and on a shared one.

  An id has one embedding for each task and a shared one. Task k mixes its own
  experts, the shared ones and, behind a stop-gradient sg, those of the other
  tasks ("all forward task-specific backward"), so that no other task's loss
  moves its embedding:

      x_k' = softmax(gate_k(x_k + x_s)) [e_k; sg(e_j), j != k; e_s]

  Float fields are part of every embedding's vector, so x_k + x_s has them
  twice.

  With several levels the shared path continues as softmax(gate_s(x_s)) over all
  experts, without stop-gradient; the last level has no shared gate.

  Attributes:
    levels: Number of levels; the paper's network has 1.
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
    """The number of embeddings of an id: 1 for each task, then the shared."""
    return len(self.tasks) + 1

  @nn.compact
  def __call__(
      self, table: Array, batch: Batch, *, train: bool = False
  ) -> dict[str, Array]:
    """Computes the outputs of a batch; see `SharedEmbedding`."""
    require_experts(
        levels=self.levels,
        num_task_experts=self.num_task_experts,
        num_shared_experts=self.num_shared_experts,
    )
    where = batch.where
    embedded = self.inputs(table, batch)
    *task_inputs, shared = embedded.vectors
    x = dict(zip(self.tasks, task_inputs))

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
      shared_experts = self.experts(
          self.num_shared_experts, f'shared_experts_{j}', shared, where, train
      )
      stopped = jax.lax.stop_gradient(outputs)
      # In the order of the tasks, so that weight e of every gate is of one
      # expert.
      visible = {
          t: sum(({**stopped, t: outputs[t]}[u] for u in self.tasks), [])
          for t in self.tasks
      }
      x = {
          t: mixed(f'gate_{t}_{j}', x[t] + shared, visible[t] + shared_experts)
          for t in self.tasks
      }
      if j < self.levels - 1:
        all_experts = sum(outputs.values(), []) + shared_experts
        shared = mixed(f'shared_gate_{j}', shared, all_experts)
    return embedded.added(self.run_towers(x, where, train))
