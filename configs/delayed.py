"""Late conversions: CVR from a log that was taken before all had come.

BASE on the simulated log in which 40 % of the conversions of clicks come later
than the log was taken (docs/delayed.md). The estimator is ES-DFM, AAAI 2021;
`--config.estimator=` takes `delayed_fnw`, `delayed_fnc`, `delayed_defuse`,
`delayed_dfm` and, as a baseline, `delayed_naive` with
`--config.estimator_options.stream=log`. Late conversions are known to the
simulator alone, so variants of other data sets are refused when they begin.

  python -m experiments.train --config=configs/delayed.py --workdir=runs/delayed
  python -m experiments.train --config=configs/delayed.py:smoke --workdir=runs/d
"""

from esmm_jax.configs import base, common


def get_config(variant: str = '') -> common.ConfigDict:
  config = base.get_config(variant)
  config.estimator = 'delayed_es_dfm'
  if config.dataset.name == 'synthetic_funnel':
    # Exponential, three days; a log of a week's clicks.
    config.dataset.delay_mean = 3.0
    config.dataset.delay_window = 6.7
  return config
