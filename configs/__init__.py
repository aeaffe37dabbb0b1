"""Configs: one file per model; `common.py` holds what they share."""

from esmm_jax.entry import checkout

if __name__ == 'configs':  # In a checkout: see there.
  checkout.alias(__name__)
