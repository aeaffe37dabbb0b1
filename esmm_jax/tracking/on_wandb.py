"""Runs as those of Weights & Biases (https://docs.wandb.ai/ref/python)."""

from collections.abc import Mapping
import os
from typing import Any
import uuid

from esmm_jax.tracking import contents
from esmm_jax.tracking.tracker import TrackedRun, Tracker

_NO_LOGIN = ('offline', 'disabled', 'dryrun')


class WandB(Tracker):
  """A run of Weights & Biases, in the project WANDB_PROJECT or `esmm_jax`.

  The variables of the library count, WANDB_MODE=offline among them. Nobody is
  asked at the terminal: without a login it is an error.
  """

  package = 'wandb'

  def __init__(self, module: Any = None):
    """Makes a tracker.

    Args:
      module: Stands for the package `wandb`; None imports it at the start.
    """
    self._module = module
    self._run: Any = None

  def start(self, run: TrackedRun) -> str:
    module = self._module or self.library()
    if os.environ.get('WANDB_MODE', 'online') not in _NO_LOGIN:
      if not module.login(prompt=False):
        raise RuntimeError(
            'nobody is logged in; type `wandb login`, or set'
            ' WANDB_MODE=offline'
        )
    name = run.id or uuid.uuid4().hex[:12]
    self._run = module.init(
        project=os.environ.get('WANDB_PROJECT', 'esmm_jax'),
        id=name,
        resume='allow',
        name=run.name,
        group=run.group or None,
        config={
            **contents.values(run.config), 'workdir': run.workdir, **run.facts
        },
        reinit='create_new',  # Replicas have a run each, at the same time.
        settings=module.Settings(console='off', silent=True),
    )
    return name

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    self._run.log(dict(metrics), step=step)

  def close(self, results: Mapping[str, Any] | None) -> None:
    if results is not None:
      self._run.summary.update(contents.final(results))
    self._run.finish(exit_code=int(results is None))
