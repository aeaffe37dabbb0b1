"""ESMM: two towers on one embedding, trained over the entire space.

Ma et al., Entire Space Multi-Task Model, SIGIR 2018. pCTCVR = pCTR x pCVR,
loss = BCE(click, pCTR) + BCE(click and conversion, pCTCVR).

  python -m experiments.train --config=configs/esmm.py --workdir=runs/esmm
  python -m experiments.train --config=configs/esmm.py:smoke --workdir=runs/s
"""

from configs import common


def get_config(variant: str = '') -> common.ConfigDict:
  config = common.base()
  config.model = dict(
      name='shared_embedding',
      embed_dim=18,
      tower_units=(360, 200, 80),
      activation='relu',
      dropout=0.0,
      batch_norm=False,
      share_embeddings=True,
  )
  return common.variant(config, variant)
