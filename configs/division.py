"""DIVISION of the ESMM paper: pCVR = pCTCVR / pCTR of separate networks.

Both are trained over all impressions and share nothing.

  python -m experiments.train --config=configs/division.py \
    --workdir=runs/division
"""

from esmm_jax.configs import base, common


def get_config(variant: str = '') -> common.ConfigDict:
  config = base.get_config(variant)
  config.estimator = 'end_to_end'
  config.loss_weights.calibrator = 0.0
  return config
