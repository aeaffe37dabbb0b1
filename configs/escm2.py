"""ESCM2-IPS: MMoE trained as ESMM, with a weighed loss of clicks beside it.

Wang et al., SIGIR 2022. `--config.estimator_options.propensity=none` is ESMM
with the plain loss of clicks. lambda_c is `loss_weights.cvr_clicked`.

  python -m experiments.train --config=configs/escm2.py --workdir=runs/escm2
  python -m experiments.train --config=configs/escm2.py:smoke --workdir=runs/s
"""

from esmm_jax.configs import common, mmoe


def get_config(variant: str = '') -> common.ConfigDict:
  config = mmoe.get_config(variant)
  config.estimator = 'escm2'
  # Variants of ESMM may have another one.
  config.loss_weights.cvr_clicked = 0.1
  # A quarter of the click rate of the data. The paper's .1 would make one
  # weight of nearly all clicks at a click rate of 4 %.
  kuairand = variant.startswith('kuairand')
  config.estimator_options.propensity_floor = 0.1 if kuairand else 0.01
  return config
