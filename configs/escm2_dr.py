"""ESCM2-DR: MMoE trained as ESMM, with a doubly robust loss of CVR beside it.

Wang et al., SIGIR 2022: the head guesses the loss itself, so for the CVR tower
this is ESCM2-IPS (`configs/escm2.py`; see `estimators/doubly_robust.py`).
lambda_c is `loss_weights.cvr_entire` and, of the guess, `imputation`.

  python -m experiments.train --config=configs/escm2_dr.py --workdir=runs/dr
  python -m experiments.train --config=configs/escm2_dr.py:smoke --workdir=r
"""

from esmm_jax.configs import common, mmoe


def get_config(variant: str = '') -> common.ConfigDict:
  config = mmoe.get_config(variant)
  config.estimator = 'doubly_robust'
  config.estimator_options.error_head = True
  config.estimator_options.imputation_normalization = 'impressions'
  config.loss_weights.ctcvr = 1.0
  config.loss_weights.cvr_entire = 0.1
  config.loss_weights.imputation = 0.1
  # A term of ESMM that its variants with histories have.
  config.loss_weights.cvr_clicked = None
  # A quarter of the click rate of the data.
  kuairand = variant.startswith('kuairand')
  config.estimator_options.propensity_floor = 0.1 if kuairand else 0.01
  return config
