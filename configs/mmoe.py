"""MMoE: shared experts, a gate for each task.

Ma et al., KDD 2018. `--config.model.one_gate=true` is OMoE.

  python -m experiments.train --config=configs/mmoe.py --workdir=runs/mmoe
  python -m experiments.train --config=configs/mmoe.py:smoke --workdir=runs/s
"""

from esmm_jax.configs import common


def get_config(variant: str = '') -> common.ConfigDict:
  config = common.base()
  config.model = common.model(
      'mmoe',
      num_experts=4,
      expert_units=(256, 128),
      tower_units=(64,),
      one_gate=False,
      gate_dropout=0.0,
  )
  sizes = dict(
      smoke=dict(num_experts=3, expert_units=(8,), tower_units=(8,)),
      kuairand=dict(expert_units=(128,), tower_units=(64,)),
  )
  return common.variant(config, variant, sizes)
