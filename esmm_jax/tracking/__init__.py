"""Trackers: services that get the config, metrics and results of each run.

  tracker     what a tracker is
  on_mlflow   MLflow
  on_wandb    Weights & Biases
  choice      `TRACKERS`, to which plugins add; which ones follow the runs of a
              block of code
  recorder    one run and one tracker: what it has already, and its failures
  contents    config keys and results as trackers take them

A tracker works in a thread of its own. It may fail or hang: the run is trained
as without it.
"""

from esmm_jax.tracking.choice import TRACKERS, using
from esmm_jax.tracking.tracker import TrackedRun, Tracker

__all__ = ['TrackedRun', 'Tracker', 'TRACKERS', 'using']
