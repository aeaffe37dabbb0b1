"""OVERSAMPLING of the ESMM paper: conversions copied in CVR's training set.

BASE with `sampling.conversion_copies` of every conversion. The paper tries 2,
3, 5 and 10.

  python -m experiments.train --config=configs/oversampling.py \
    --config.sampling.conversion_copies=5 --workdir=runs/oversampling
"""

from esmm_jax.configs import base, common

COPIES = (2.0, 3.0, 5.0, 10.0)


def get_config(variant: str = '') -> common.ConfigDict:
  config = base.get_config(variant)
  config.sampling.conversion_copies = COPIES[0]
  return config
