"""Adaptive task-to-task fusion."""

from esmm_jax.models.architecture import MixtureArchitecture
from esmm_jax.models.experts import require_experts
from esmm_jax.types import Array, Batch
import flax.linen as nn
import jax


class AdaTT(MixtureArchitecture):
  """Each task mixes the experts of all, and adds its own as a residual.

  At each level, with E all experts and E_k those of task k,

      x_k' = softmax(W_k x_k + b_k) E + v_k E_k

  `v_k` is learnt, one number an expert, uniform in +-1/sqrt(m) at the start
  with m experts of the task; 1 and not learnt where every unit has one expert.
  Shared experts form one more unit, which is mixed in the same way but for the
  last level.

  Attributes:
    levels: Levels.
    num_task_experts: Experts of each task at each level, m.
    num_shared_experts: Experts of the shared unit; 0 is AdaTT-sp.
    residual: Whether the own experts are added (for ablations).

  References:
    Li et al., AdaTT: Adaptive Task-to-Task Fusion Network for Multitask
    Learning in Recommendations, KDD 2023, section 3; the start of v_k and the
    biases of the gates as in the authors' code (github.com/facebookresearch/
    AdaTT, mtl_lib.py).
  """

  levels: int = 2
  num_task_experts: int = 2
  num_shared_experts: int = 0
  residual: bool = True

  @nn.compact
  def __call__(
      self, table: Array, batch: Batch, *, train: bool = False
  ) -> dict[str, Array]:
    """Outputs of a batch; as `SharedEmbedding`."""
    require_experts(levels=self.levels, num_task_experts=self.num_task_experts)
    require_experts(least=0, num_shared_experts=self.num_shared_experts)
    where = batch.where
    sizes = dict.fromkeys(self.tasks, self.num_task_experts)
    if self.num_shared_experts:
      sizes['shared'] = self.num_shared_experts
    learnt = self.residual and any(n != 1 for n in sizes.values())
    x = dict.fromkeys(sizes, self.shared_input(table, batch))
    for j in range(self.levels):
      last = j == self.levels - 1
      outputs = {}
      for unit, num in sizes.items():
        name = f'shared_experts_{j}' if unit == 'shared' else (
            f'expert_{unit}_{j}'
        )
        outputs[unit] = self.experts(num, name, x[unit], where, train)
      everyone = sum(outputs.values(), [])
      fused = {}
      for unit, num in sizes.items():
        if unit == 'shared' and last:
          continue
        name = f'shared_gate_{j}' if unit == 'shared' else f'gate_{unit}_{j}'
        fused[unit] = self.mixed(
            name, x[unit], everyone, where, train, use_bias=True
        )
        if learnt:
          own = NativeWeights(num, name=name.replace('gate', 'gate_native'))
          fused[unit] += own(outputs[unit])
        elif self.residual:
          fused[unit] += outputs[unit][0]
      x = fused
    return self.run_towers(x, where, train)


class NativeWeights(nn.Module):
  """A learnt combination of a unit's own experts.

  Attributes:
    num: Experts of the unit.
  """

  num: int

  @nn.compact
  def __call__(self, experts: list[Array]) -> Array:
    """`num` times [B, H] -> [B, H]."""
    scale = self.num**-0.5
    start = lambda key, shape: jax.random.uniform(
        key, shape, minval=-scale, maxval=scale
    )
    weights = self.param('weights', start, (self.num,))
    return sum(w.astype(e.dtype) * e for w, e in zip(weights, experts))
