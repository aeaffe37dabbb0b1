"""AdaTT: each task mixes the experts of all and adds its own.

Li et al., KDD 2023.

  python -m experiments.train --config=configs/adatt.py --workdir=runs/adatt
  python -m experiments.train --config=configs/adatt.py:smoke --workdir=runs/s
"""

from esmm_jax.configs import common


def get_config(variant: str = '') -> common.ConfigDict:
  config = common.base()
  config.model = common.model(
      'adatt',
      levels=2,
      num_task_experts=2,
      num_shared_experts=0,
      expert_units=(200,),
      tower_units=(80,),
      residual=True,
      gate_dropout=0.0,
  )
  sizes = dict(
      smoke=dict(expert_units=(8,), tower_units=(8,)),
      kuairand=dict(expert_units=(128,), tower_units=(64,)),
  )
  return common.variant(config, variant, sizes)
