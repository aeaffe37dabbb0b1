"""DDPO: clicked rows and a teacher's labels, weighed by inverse propensities.

SIGIR 2024. ESMM's network with a head for the teacher, a CVR of clicked rows;
without the paper's attention between the towers. The teacher may be a finished
run, `--config.estimator_options.teacher=frozen` with
`--config.estimator_options.frozen_run=runs/esmm`.

  python -m experiments.train --config=configs/ddpo.py --workdir=runs/ddpo
  python -m experiments.train --config=configs/ddpo.py:smoke --workdir=runs/s
"""

from esmm_jax.configs import common, esmm


def get_config(variant: str = '') -> common.ConfigDict:
  config = esmm.get_config(variant)
  config.estimator = 'pseudo_label'
  config.estimator_options.teacher = 'click_head'
  config.estimator_options.unclicked_weight = 'inverse'
  config.estimator_options.propensity = 'own'
  # A quarter of the click rate of the data.
  kuairand = variant.startswith('kuairand')
  config.estimator_options.propensity_floor = 0.1 if kuairand else 0.01
  # Variants of ESMM have a weight of a term that is none here.
  config.loss_weights.cvr_clicked = None
  return config
