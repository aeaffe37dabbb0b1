"""Doubly robust: ESMM's network, with a second CVR model that guesses.

Wang et al., ICML 2019 (DR-JL). `--config.estimator_options.imputation=mrdr`, or
another loss of `esmm_jax/estimators/imputation.py`, trains that model.

  python -m experiments.train --config=configs/dr.py --workdir=runs/dr
  python -m experiments.train --config=configs/dr.py:smoke --workdir=runs/s
"""

from esmm_jax.configs import common, esmm


def get_config(variant: str = '') -> common.ConfigDict:
  config = esmm.get_config(variant)
  config.estimator = 'doubly_robust'
  # A term of ESMM that its variants with histories have.
  config.loss_weights.cvr_clicked = None
  # A quarter of the click rate of the data.
  kuairand = variant.startswith('kuairand')
  config.estimator_options.propensity_floor = 0.1 if kuairand else 0.01
  return config
