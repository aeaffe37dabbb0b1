"""NISE: pCVR as the label of impressions without a click; a diagnostic.

Huang et al., RecSys 2024. `--config.estimator_options.stop_label=true` is
self-distillation, which teaches nothing there.

  python -m experiments.train --config=configs/nise.py --workdir=runs/nise
  python -m experiments.train --config=configs/nise.py:smoke --workdir=runs/s
"""

from esmm_jax.configs import common, esmm


def get_config(variant: str = '') -> common.ConfigDict:
  config = esmm.get_config(variant)
  config.estimator = 'nise'
  # Variants of ESMM have a weight of a term that is none here.
  config.loss_weights.cvr_clicked = None
  return config
