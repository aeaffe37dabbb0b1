"""STEM: an embedding for each task beside a shared one.

Su et al., AAAI 2024. Three times the embedding parameters of ESMM.

  python -m experiments.train --config=configs/stem.py --workdir=runs/stem
  python -m experiments.train --config=configs/stem.py:smoke --workdir=runs/s
"""

from esmm_jax.configs import common


def get_config(variant: str = '') -> common.ConfigDict:
  config = common.base()
  config.model = common.model(
      'stem',
      levels=1,
      num_task_experts=1,
      num_shared_experts=1,
      expert_units=(256, 128),
      gate_units=(64,),
      tower_units=(64,),
      gate_dropout=0.0,
  )
  sizes = dict(
      smoke=dict(expert_units=(8,), gate_units=(4,), tower_units=(8,)),
      kuairand=dict(expert_units=(128,), tower_units=(64,)),
  )
  return common.variant(config, variant, sizes)
