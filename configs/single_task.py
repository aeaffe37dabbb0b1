"""One network for each task, nothing shared: the reference of gains.

Each task has its own embedding and tower; CTR is trained on all impressions,
CVR on the clicked ones. Twice the embedding parameters of ESMM.
`--config.model.match_params=N` scales the widths to N network parameters.

  python -m experiments.train --config=configs/single_task.py \
    --workdir=runs/single_task
  python -m experiments.train --config=configs/single_task.py:smoke \
    --workdir=runs/s
"""

from esmm_jax.configs import common


def get_config(variant: str = '') -> common.ConfigDict:
  config = common.base()
  config.estimator = 'click_space'
  config.model = common.model(
      'single_task',
      tower_units=(360, 200, 80),
      match_params=0,
  )
  sizes = dict(
      smoke=dict(tower_units=(16, 8)),
      kuairand=dict(tower_units=(256, 128)),
  )
  return common.variant(config, variant, sizes)
