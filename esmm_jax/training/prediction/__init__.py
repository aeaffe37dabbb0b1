"""Predictions of a batch."""

from esmm_jax.training.prediction.step import predict_step

__all__ = ['predict_step']
