"""AITM: the CVR tower attends to information from the CTR tower.

Xi et al., KDD 2021. Its loss is `end_to_end`: the second output is CTCVR
itself, with a calibrator of weight 0.6 (`--config.loss_weights.calibrator`).

  python -m experiments.train --config=configs/aitm.py --workdir=runs/aitm
  python -m experiments.train --config=configs/aitm.py:smoke --workdir=runs/s
"""

from esmm_jax.configs import common


def get_config(variant: str = '') -> common.ConfigDict:
  config = common.base()
  config.estimator = 'end_to_end'
  config.model = common.model(
      'aitm',
      tower_units=(360, 200, 80),
      stop_gradient=False,
  )
  sizes = dict(
      smoke=dict(tower_units=(16, 8)),
      kuairand=dict(tower_units=(256, 128, 64)),
  )
  return common.variant(config, variant, sizes)
