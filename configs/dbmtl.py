"""DBMTL: the CVR tower reads the CTR tower through a relation network.

Wang et al., arXiv 1902.09154, in the form of EasyRec.
`--config.model.relations="('ctr -> cvr',)"` names other edges,
`--config.model.num_experts=4` puts MMoE below the towers.

  python -m experiments.train --config=configs/dbmtl.py --workdir=runs/dbmtl
  python -m experiments.train --config=configs/dbmtl.py:smoke --workdir=runs/s
"""

from esmm_jax.configs import common


def get_config(variant: str = '') -> common.ConfigDict:
  config = common.base()
  config.model = common.model(
      'dbmtl',
      shared_units=(360,),
      tower_units=(200, 80),
      relations=('funnel',),
      relation_units=(32,),
      num_experts=0,
      expert_units=(128,),
      gate_dropout=0.0,
  )
  sizes = dict(
      smoke=dict(shared_units=(16,), tower_units=(8,), relation_units=(4,)),
      kuairand=dict(shared_units=(256,), tower_units=(128, 64)),
  )
  return common.variant(config, variant, sizes)
