"""ESMM-NS of the ESMM paper: ESMM whose towers share no embedding.

  python -m experiments.train --config=configs/esmm_ns.py \
    --workdir=runs/esmm_ns
"""

from esmm_jax.configs import common, esmm


def get_config(variant: str = '') -> common.ConfigDict:
  config = esmm.get_config(variant)
  config.model.share_embeddings = False
  return config
