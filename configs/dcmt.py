"""DCMT: ESMM's network with a counterfactual CVR beside the factual one.

Zhu et al., ICDE 2023. lambda is `loss_weights.counterfactual_prior`. The
propensity is the network's own pCTR, without gradient, or
`--config.estimator_options.propensity=true` the simulator's.

  python -m experiments.train --config=configs/dcmt.py --workdir=runs/dcmt
  python -m experiments.train --config=configs/dcmt.py:smoke --workdir=runs/s
"""

from esmm_jax.configs import common, esmm


def get_config(variant: str = '') -> common.ConfigDict:
  config = esmm.get_config(variant)
  config.estimator = 'dcmt'
  # A quarter of the click rate of the data.
  kuairand = variant.startswith('kuairand')
  config.estimator_options.propensity_floor = 0.1 if kuairand else 0.01
  # Variants of ESMM may have another one.
  config.loss_weights.cvr_clicked = 1.0
  return config
