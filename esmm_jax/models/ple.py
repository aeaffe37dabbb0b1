"""Progressive layered extraction; customized gate control is one level."""

from esmm_jax.models.architecture import MixtureArchitecture
from esmm_jax.models.experts import require_experts
from esmm_jax.types import Array, Batch
import flax.linen as nn


class PLE(MixtureArchitecture):
  """Experts of each task beside shared ones, in levels.

  At level j, with x_(k,0) = x_(s,0) = x,

      S_k = [experts of task k on x_(k,j-1); shared experts on x_(s,j-1)]
      x_(k,j) = softmax(W_(k,j) x_(k,j-1)) S_k
      x_(s,j) = softmax(W_(s,j) x_(s,j-1)) [experts of all tasks; shared ones]

  and y_k = tower_k(x_(k,L)). The shared gate mixes all experts; the last level
  has no shared gate. Public code differs in three places, and
  `tests/models/test_architectures.py` holds ours against each: the gate of a
  level reads the output of the level before, not the raw input (Merlin); the
  shared experts read the shared path, not the tasks' (LibMTL); the shared gate
  mixes the tasks' experts too, not the shared ones only (FuxiCTR).

  Attributes:
    levels: L; 1 is CGC.
    num_task_experts: Experts of each task at each level.
    num_shared_experts: Shared experts at each level.

  References:
    Tang et al., Progressive Layered Extraction, RecSys 2020, the sections on
    Customized Gate Control and on Progressive Layered Extraction.
  """

  levels: int = 2
  num_task_experts: int = 1
  num_shared_experts: int = 1

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
    shared = embedded.shared
    x = dict.fromkeys(self.tasks, shared)

    for j in range(self.levels):
      task_experts = {
          t: self.experts(
              self.num_task_experts, f'expert_{t}_{j}', x[t], where, train
          )
          for t in self.tasks
      }
      shared_experts = self.experts(
          self.num_shared_experts, f'shared_experts_{j}', shared, where, train
      )
      x = {
          t: self.mixed(
              f'gate_{t}_{j}',
              x[t],
              task_experts[t] + shared_experts,
              where,
              train,
          )
          for t in self.tasks
      }  # [B, H] each
      if j < self.levels - 1:
        all_experts = sum(task_experts.values(), []) + shared_experts
        shared = self.mixed(
            f'shared_gate_{j}', shared, all_experts, where, train
        )
    return embedded.added(self.run_towers(x, where, train))
