"""Tests of `esmm_jax.training.feeds`."""
