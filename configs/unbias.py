"""UNBIAS of the ESMM paper: clicks thinned by pCTR, towards all impressions.

BASE with rejection sampling; `--config.estimator_options.form=weighting` weighs
the clicks instead. pCTR is that of the CTR network beside it, without gradient.

  python -m experiments.train --config=configs/unbias.py --workdir=runs/unbias
"""

from esmm_jax.configs import base, common


def get_config(variant: str = '') -> common.ConfigDict:
  config = base.get_config(variant)
  config.estimator = 'unbias'
  config.estimator_options.form = 'rejection'
  # Half the click rate of the data.
  kuairand = variant.startswith('kuairand')
  config.estimator_options.propensity_floor = 0.2 if kuairand else 0.02
  return config
