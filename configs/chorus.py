"""ChorusCVR: ESMM's network with P(no conversion | click) beside CVR.

Cheng et al., WSDM 2026. `--config.loss_weights.alignment=0` is without its soft
labels. With 0 on `cvr_clicked` and `no_conversion_clicked` too, what is left is
CTnoCVR's: ESMM and a joint loss of clicks without a conversion.

  python -m experiments.train --config=configs/chorus.py --workdir=runs/chorus
  python -m experiments.train --config=configs/chorus.py:smoke --workdir=runs/s
"""

from esmm_jax.configs import common, esmm


def get_config(variant: str = '') -> common.ConfigDict:
  config = esmm.get_config(variant)
  config.estimator = 'chorus'
  # A quarter of the click rate of the data.
  kuairand = variant.startswith('kuairand')
  config.estimator_options.propensity_floor = 0.1 if kuairand else 0.01
  # Variants of ESMM may have another one.
  config.loss_weights.cvr_clicked = 1.0
  return config
