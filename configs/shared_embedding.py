"""ESMM's network with the naive multi-task loss: CVR on clicked rows only.

CTR over all impressions, CVR over the clicked ones; with
`--config.loss_weights.ctr=0` it is the BASE model of the ESMM paper.

  python -m experiments.train --config=configs/shared_embedding.py \
    --workdir=runs/click_space
"""

from esmm_jax.configs import common, esmm


def get_config(variant: str = '') -> common.ConfigDict:
  config = esmm.get_config(variant)
  config.estimator = 'click_space'
  return config
