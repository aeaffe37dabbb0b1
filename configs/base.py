"""BASE of the ESMM paper: a CVR network trained on clicked impressions.

Beside it, sharing nothing, the CTR network of the same structure that the paper
multiplies every method's pCVR with. Ma et al., SIGIR 2018, section 3.1.

  python -m experiments.train --config=configs/base.py --workdir=runs/base
"""

from esmm_jax.configs import common, single_task


def get_config(variant: str = '') -> common.ConfigDict:
  return single_task.get_config(variant)
