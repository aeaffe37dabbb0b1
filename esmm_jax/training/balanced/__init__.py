"""Balanced runs, beyond their steps (`training.gradients`).

  replayed   weights, towers and parts of the finished run that one replays
  idle       keys that have no effect on the model
"""
