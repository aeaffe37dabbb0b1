"""AMAN of the ESMM paper: un-clicked impressions as negatives for CVR.

BASE with a share of the un-clicked impressions in CVR's training set, with
label 0. The paper tries 10, 20, 50 and 100 %.

  python -m experiments.train --config=configs/aman.py \
    --config.sampling.unclicked_rate=0.1 --workdir=runs/aman
"""

from esmm_jax.configs import base, common

RATES = (0.1, 0.2, 0.5, 1.0)


def get_config(variant: str = '') -> common.ConfigDict:
  config = base.get_config(variant)
  config.sampling.unclicked_rate = RATES[0]
  return config
