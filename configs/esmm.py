"""ESMM: two towers on one embedding, trained over the entire space.

Ma et al., Entire Space Multi-Task Model, SIGIR 2018. pCTCVR = pCTR x pCVR,
loss = BCE(click, pCTR) + BCE(click and conversion, pCTCVR).

  python -m experiments.train --config=configs/esmm.py --workdir=runs/esmm
  python -m experiments.train --config=configs/esmm.py:smoke --workdir=runs/s
"""

from esmm_jax.configs import common


def get_config(variant: str = '') -> common.ConfigDict:
  config = common.base()
  config.model = common.model(
      'shared_embedding',
      tower_units=(360, 200, 80),
      share_embeddings=True,
      groups=(),
      group_units=(256, 128),
  )
  sizes = dict(
      smoke=dict(tower_units=(16, 8)),
      kuairand=dict(tower_units=(256, 128)),
  )
  return common.variant(config, variant, sizes)
