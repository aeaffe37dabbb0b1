"""Adaptive task-to-task fusion."""

from esmm_jax.models.architecture import MixtureArchitecture
from esmm_jax.models.experts import require_experts
from esmm_jax.types import Array, Batch
import flax.linen as nn
import jax


class AdaTT(MixtureArchitecture):
  """Fuses the experts of all tasks, a task's own ones also as a residual.

  At each level, with E all experts and E_k those of task k,

      x_k' = softmax(W_k x_k + b_k) E + v_k E_k

  `v_k` is learnt, one number for each expert, uniform in +-1/sqrt(m) at the
  start with m experts of the task; it is 1 and not learnt where every unit has
  one expert. Shared experts form one more unit, which is fused in the same way
  at every level but the last.

  Attributes:
    levels: Number of fusion levels.
    num_task_experts: m, experts of each task at each level.
    num_shared_experts: Experts of the shared unit; 0 is AdaTT-sp.
    residual: Adds v_k E_k; False is for ablations.

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
    """Computes the outputs of a batch; see `SharedEmbedding`."""
    require_experts(levels=self.levels, num_task_experts=self.num_task_experts)
    require_experts(least=0, num_shared_experts=self.num_shared_experts)
    where = batch.where
    sizes = dict.fromkeys(self.tasks, self.num_task_experts)
    if self.num_shared_experts:
      sizes['shared'] = self.num_shared_experts
    # As in the authors' code: with one expert a unit the residual is E_k.
    is_learnt = self.residual and any(n != 1 for n in sizes.values())
    embedded = self.inputs(table, batch)
    x = dict.fromkeys(sizes, embedded.shared)
    for j in range(self.levels):
      is_last = j == self.levels - 1
      outputs = {}
      for unit, num in sizes.items():
        name = f'shared_experts_{j}' if unit == 'shared' else (
            f'expert_{unit}_{j}'
        )
        outputs[unit] = self.experts(num, name, x[unit], where, train)
      all_experts = sum(outputs.values(), [])
      fused = {}
      for unit, num in sizes.items():
        if unit == 'shared' and is_last:
          continue  # Nothing reads its output.
        name = f'shared_gate_{j}' if unit == 'shared' else f'gate_{unit}_{j}'
        fused[unit] = self.mixed(
            name, x[unit], all_experts, where, train, use_bias=True
        )
        if is_learnt:
          native = NativeWeights(num, name=name.replace('gate', 'gate_native'))
          fused[unit] += native(outputs[unit])
        elif self.residual:
          fused[unit] += outputs[unit][0]
      x = fused
    return embedded.added(self.run_towers(x, where, train))


class NativeWeights(nn.Module):
  """Adds up a unit's own experts with learnt weights v_k.

  Attributes:
    num: m, experts of the unit.
  """

  num: int

  @nn.compact
  def __call__(self, experts: list[Array]) -> Array:
    """Combines `num` expert outputs [B, H] into one [B, H]."""
    scale = self.num**-0.5
    init = lambda key, shape: jax.random.uniform(
        key, shape, minval=-scale, maxval=scale
    )
    weights = self.param('weights', init, (self.num,))
    return sum(w.astype(e.dtype) * e for w, e in zip(weights, experts))
