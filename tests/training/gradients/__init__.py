"""Tests of `esmm_jax.training.gradients`."""
