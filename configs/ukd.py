"""UKD: a teacher's labels on unclicked rows, less where two students differ.

Xu et al., WWW 2022, without the adversary of its teacher. Here the teacher is a
head that clicked rows train. In the paper it is trained before, and frozen:

  python -m experiments.train --config=configs/base.py --workdir=runs/base
  python -m experiments.train --config=configs/ukd.py --workdir=runs/ukd \
    --config.estimator_options.teacher=frozen \
    --config.estimator_options.frozen_run=runs/base

Self-training (CVR) is this teacher with
`--config.estimator_options.unclicked_weight=one`,
`--config.estimator_options.gamma=1` and weight 1 on `cvr_entire`.
"""

from esmm_jax.configs import common, esmm


def get_config(variant: str = '') -> common.ConfigDict:
  config = esmm.get_config(variant)
  config.estimator = 'pseudo_label'
  config.estimator_options.teacher = 'click_head'
  config.estimator_options.unclicked_weight = 'uncertainty'
  config.estimator_options.propensity = 'none'
  config.estimator_options.gamma = 0.5
  config.estimator_options.uncertainty_ratio = 100.0
  # Those of github.com/q1179897215/EVI at 3029e57, where no CTCVR is trained.
  config.loss_weights.ctr = 0.2
  config.loss_weights.ctcvr = 0.0
  config.loss_weights.cvr_entire = 0.2
  config.loss_weights.second_student = 0.2
  config.loss_weights.disagreement = 1.0
  config.loss_weights.teacher = 0.2
  # Variants of ESMM have a weight of a term that is none here.
  config.loss_weights.cvr_clicked = None
  return config
