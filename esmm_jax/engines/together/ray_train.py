"""Processes of a run on GPUs or TPUs, started by the JaxTrainer of Ray.

It takes whole slices of TPUs, and gives each worker its devices. It does not
call `jax.distributed` here, since `processes.join` does (JaxTrainer's would
listen on all interfaces, and give the first GPU of a machine to each worker on
it), and it does not start anything again, since `attempts.run` does.
"""

import os
import shutil
from typing import Any
import uuid

from esmm_jax.engines.together import ray_group
from esmm_jax.engines.together.process import Program
from esmm_jax.types import InputError

ACCELERATORS = ('GPU', 'TPU')
# Of slices of TPUs; texts among the resources.
TEXTS = ('topology', 'accelerator_type')


def check() -> None:
  """Raises InputError if ray.train lacks what it needs."""
  try:
    import ray.train.v2.jax  # noqa: F401
  except ImportError as e:
    reason = str(e).partition('\n')[0]
    raise InputError(
        '--resources names GPU or TPU, which needs ray.train, and that cannot'
        f" be imported ({reason}): pip install 'ray[train]'."
    ) from e


def _work(config: dict[str, Any]) -> None:
  """Runs the process of a worker of ray.train."""
  import ray.train

  k = ray.train.get_context().get_world_rank()
  ray_group.work(config['board'], k, config['program'])


class Trainer:
  """An actor in which JaxTrainer runs, so that what it prints goes to Ray."""

  def fit(
      self,
      board: Any,
      program: Program,
      resources: dict[str, Any],
      folder: str,
  ) -> list[int]:
    """Starts the workers and waits for their end.

    Args:
      board: The handle of a `Board`.
      program: What they run.
      resources: Of each; with `TEXTS`.
      folder: For files of ray.train, which all machines see.

    Returns:
      The numbers of those that were lost.
    """
    from ray import train
    from ray.train.v2.jax import JaxConfig, JaxTrainer

    texts = {k: v for k, v in resources.items() if k in TEXTS}
    trainer = JaxTrainer(
        _work,
        train_loop_config={'board': board, 'program': program},
        jax_config=JaxConfig(),
        scaling_config=train.ScalingConfig(
            num_workers=program.num,
            use_gpu='GPU' in resources,
            use_tpu='TPU' in resources,
            resources_per_worker={
                k: v for k, v in resources.items() if k not in TEXTS
            },
            **texts,
        ),
        run_config=train.RunConfig(
            name='processes',
            storage_path=folder,
            failure_config=train.FailureConfig(max_failures=0),
        ),
    )
    try:
      trainer.fit()
    except train.WorkerGroupError as e:
      return list(e.worker_failures)
    return []


class Trained(ray_group.RayGroup):
  """Processes in workers of JaxTrainer."""

  _trainer = None

  def __init__(
      self, program: Program, resources: dict[str, Any], folder: str
  ):
    """Starts the workers.

    Args:
      program: What the processes run.
      resources: Of each, as Ray names them; with `TEXTS`.
      folder: For files of ray.train until they end; all machines see it.
    """
    self._folder = os.path.join(folder, f'.ray-train-{uuid.uuid4().hex}')
    self._whole = resources
    super().__init__(
        program, {k: v for k, v in resources.items() if k not in TEXTS}
    )

  def begin(self, ray: Any, board: Any, program: Program) -> dict[Any, Any]:
    """See the base class."""
    self._trainer = self.here(Trainer)
    call = self._trainer.fit.remote(board, program, self._whole, self._folder)
    return {call: range(program.num)}

  def release(self) -> None:
    """See the base class."""
    if self._trainer is not None:
      self._ray.kill(self._trainer)
    shutil.rmtree(self._folder, ignore_errors=True)
