"""PLE: task-specific and shared experts in levels.

Tang et al., RecSys 2020. `--config.model.levels=1` is CGC.

  python -m experiments.train --config=configs/ple.py --workdir=runs/ple
  python -m experiments.train --config=configs/ple.py:smoke --workdir=runs/s
"""

from esmm_jax.configs import common


def get_config(variant: str = '') -> common.ConfigDict:
  config = common.base()
  config.model = common.model(
      'ple',
      levels=2,
      num_task_experts=1,
      num_shared_experts=2,
      expert_units=(200,),
      tower_units=(80,),
      gate_dropout=0.0,
  )
  sizes = dict(
      smoke=dict(num_shared_experts=1, expert_units=(8,), tower_units=(8,)),
      kuairand=dict(expert_units=(128,), tower_units=(64,)),
  )
  return common.variant(config, variant, sizes)
