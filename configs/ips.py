"""IPS: ESMM's network, clicks' CVR loss weighed by inverse propensities.

Zhang et al., WWW 2020 (Multi-IPW). The propensity is the network's own pCTR,
without gradient, or `--config.estimator_options.propensity=true` the
simulator's; `--config.estimator_options.normalization=self` is SNIPS.

  python -m experiments.train --config=configs/ips.py --workdir=runs/ips
  python -m experiments.train --config=configs/ips.py:smoke --workdir=runs/s
"""

from esmm_jax.configs import common, esmm


def get_config(variant: str = '') -> common.ConfigDict:
  config = esmm.get_config(variant)
  config.estimator = 'ips'
  # A quarter of the click rate of the data.
  kuairand = variant.startswith('kuairand')
  config.estimator_options.propensity_floor = 0.1 if kuairand else 0.01
  return config
