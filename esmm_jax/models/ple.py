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

  and y_k = tower_k(x_(k,L)). The shared gate mixes all experts, and the last
  level has none. The gate of a level reads the output of the level before, not
  the raw input (Merlin's does); the shared experts read the shared path, not
  the tasks' (LibMTL's do); FuxiCTR's shared gate mixes shared experts only.
  `tests/models/test_architectures.py` holds each of these.

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
    """Outputs of a batch; as `SharedEmbedding`."""
    require_experts(
        levels=self.levels,
        num_task_experts=self.num_task_experts,
        num_shared_experts=self.num_shared_experts,
    )
    where = batch.where
    shared = self.shared_input(table, batch)
    x = dict.fromkeys(self.tasks, shared)

    for j in range(self.levels):
      own = {
          t: self.experts(
              self.num_task_experts, f'expert_{t}_{j}', x[t], where, train
          )
          for t in self.tasks
      }
      common = self.experts(
          self.num_shared_experts, f'shared_experts_{j}', shared, where, train
      )
      x = {
          t: self.mixed(f'gate_{t}_{j}', x[t], own[t] + common, where, train)
          for t in self.tasks
      }  # [B, H] each
      if j < self.levels - 1:
        everyone = sum(own.values(), []) + common
        shared = self.mixed(
            f'shared_gate_{j}', shared, everyone, where, train
        )
    return self.run_towers(x, where, train)
