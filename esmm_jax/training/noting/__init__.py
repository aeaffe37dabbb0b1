"""Notes of the last step beside its losses: learning rate, gradient norm.

  rhythm  the steps at which there is a report or an evaluation
  notes   what such a step notes; no part of a checkpoint
"""
