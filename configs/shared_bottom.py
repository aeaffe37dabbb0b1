"""A shared network, then a tower for each task.

Caruana, Multitask Learning, 1997. Trained over the entire space here.

  python -m experiments.train --config=configs/shared_bottom.py \
    --workdir=runs/shared_bottom
  python -m experiments.train --config=configs/shared_bottom.py:smoke \
    --workdir=runs/s
"""

from esmm_jax.configs import common


def get_config(variant: str = '') -> common.ConfigDict:
  config = common.base()
  config.model = common.model(
      'shared_bottom',
      shared_units=(512, 256),
      tower_units=(80,),
  )
  sizes = dict(
      smoke=dict(shared_units=(16,), tower_units=(8,)),
      kuairand=dict(shared_units=(384,), tower_units=(128,)),
  )
  return common.variant(config, variant, sizes)
