"""Runs as those of MLflow (https://mlflow.org/docs/latest/python_api)."""

from collections.abc import Iterable, Iterator, Mapping
import itertools
import logging
import os
import re
import time
from typing import Any

from esmm_jax.tracking import contents
from esmm_jax.tracking.tracker import TrackedRun, Tracker

# What one request may hold (`MlflowClient.log_batch`).
_METRICS, _PARAMS = 1000, 100
_OTHERS = re.compile(r'[^\w\-. :/]')


class MLflow(Tracker):
  """A run of MLflow, where MLFLOW_TRACKING_URI says, or its default.

  It lies in the experiment MLFLOW_EXPERIMENT_NAME, else `esmm_jax`. Config keys
  are its parameters; its tags are seed, folder, sweep and versions.
  """

  package = 'mlflow'

  def __init__(self, module: Any = None):
    """Makes a tracker.

    Args:
      module: Stands for the package `mlflow`; None imports it at the start.
    """
    self._module, self._id = module, ''
    self._client: Any = None

  def start(self, run: TrackedRun) -> str:
    if self._module is None:
      self._module = self.library()
      for name in ('mlflow', 'alembic'):  # They log what they do.
        logging.getLogger(name).setLevel(logging.WARNING)
    self._client = self._module.MlflowClient()
    if run.id:
      self._id = run.id
      self._client.update_run(run.id, status='RUNNING')
      return run.id
    name = os.environ.get('MLFLOW_EXPERIMENT_NAME', 'esmm_jax')
    tags = {'workdir': run.workdir, **run.facts}
    if run.group:
      tags['group'] = run.group
    begun = self._client.create_run(
        self._experiment(name), run_name=run.name, tags=tags
    )
    self._id = begun.info.run_id
    param = self._module.entities.Param
    every = [param(_key(k), v) for k, v in contents.texts(run.config).items()]
    for some in _parts(every, _PARAMS):
      self._client.log_batch(self._id, params=some)
    return self._id

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    metric, now = self._module.entities.Metric, int(1000 * time.time())
    every = [metric(_key(k), v, now, step) for k, v in metrics.items()]
    for some in _parts(every, _METRICS):
      self._client.log_batch(self._id, metrics=some)

  def close(self, results: Mapping[str, Any] | None) -> None:
    if results is not None:
      self.write(int(results.get('steps', 0)), contents.final(results))
    status = 'FAILED' if results is None else 'FINISHED'
    self._client.set_terminated(self._id, status)

  def _experiment(self, name: str) -> str:
    """Returns the id of an experiment, which is made if it is not there."""
    there_is = self._client.get_experiment_by_name(name)
    if there_is is not None:
      return there_is.experiment_id
    return self._client.create_experiment(name)


def _key(name: str) -> str:
  """Returns a name without characters that MLflow refuses."""
  return _OTHERS.sub('_', name)


def _parts(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
  values = iter(values)
  while some := list(itertools.islice(values, size)):
    yield some
