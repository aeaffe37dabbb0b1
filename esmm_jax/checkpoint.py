"""Saving and restoring a run: state, the best parameters, the position.

The data order is a pure function of the step, so a position is one number.
Orbax writes a checkpoint to a temporary folder and renames it when complete, so
a run killed while saving finds the one before. Each has a list of checksums
(`seals`): one that is cut off or damaged is found, and the one before is used.
"""

from collections.abc import Mapping
import logging
import os
import shutil
from typing import Any

from esmm_jax import seals
from esmm_jax.types import InputError
import jax
import orbax.checkpoint as ocp

_KEPT = 2


class Checkpoints:
  """The checkpoints of a working directory.

  Attributes:
    messages: What was found wrong when it was opened, for people.
  """

  def __init__(self, workdir: str):
    """Opens them; those that are damaged are removed."""
    # Orbax logs every save at INFO.
    logging.getLogger('absl').setLevel(logging.WARNING)
    self._folder = os.path.join(os.path.abspath(workdir), 'checkpoints')
    self.messages = _remove_damaged(self._folder)
    self._manager = ocp.CheckpointManager(
        self._folder,
        options=ocp.CheckpointManagerOptions(
            max_to_keep=_KEPT,
            enable_async_checkpointing=False,
            cleanup_tmp_directories=True,
        ),
    )

  @property
  def latest_step(self) -> int | None:
    """Step of the last complete checkpoint; None when there is none."""
    return self._manager.latest_step()

  def save(
      self, step: int, arrays: Any, position: Mapping[str, Any]
  ) -> None:
    """Writes a checkpoint; returns when it is complete.

    Args:
      step: Its number.
      arrays: A tree of arrays.
      position: What else is needed to go on, as JSON.

    Raises:
      InputError: It cannot be written; those before are as they were.
    """
    try:
      self._manager.save(
          step,
          args=ocp.args.Composite(
              arrays=ocp.args.StandardSave(arrays),
              position=ocp.args.JsonSave(dict(position)),
          ),
      )
      self._manager.wait_until_finished()
      seals.seal(os.path.join(self._folder, str(step)))
      seals.remove_stray(self._folder)
    except (OSError, ValueError) as e:
      raise InputError(
          f'The checkpoint of step {step} cannot be written to {self._folder}:'
          f' {_reason(e)} Make room, or make it writable; the same command goes'
          ' on from the checkpoint before.'
      ) from e

  def restore(self, like: Any) -> tuple[Any, dict[str, Any]]:
    """Reads the last checkpoint.

    Args:
      like: A tree of the arrays to read, with their shapes and shardings.

    Returns:
      The arrays and the position.

    Raises:
      InputError: The checkpoint does not fit the run.
    """
    step = self.latest_step
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    try:
      restored = self._manager.restore(
          step,
          args=ocp.args.Composite(
              arrays=ocp.args.StandardRestore(abstract),
              position=ocp.args.JsonRestore(),
          ),
      )
    except (ValueError, KeyError) as e:
      raise InputError(
          f'{self._folder}/{step} does not fit this run:'
          f' {str(e).splitlines()[0]} Use another --workdir, or delete that'
          ' one.'
      ) from e
    return restored['arrays'], restored['position']

  def restore_as_saved(self) -> Any:
    """The arrays of the last checkpoint as nested dicts, on one device."""
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    restored = self._manager.restore(
        self.latest_step,
        args=ocp.args.Composite(
            arrays=ocp.args.StandardRestore(fallback_sharding=here)
        ),
    )
    return restored['arrays']

  def close(self) -> None:
    self._manager.close()


def _remove_damaged(folder: str) -> list[str]:
  """Removes the last checkpoints up to the first that is sound; says so."""
  messages: list[str] = []
  if not os.path.isdir(folder):
    return messages
  steps = sorted(int(n) for n in os.listdir(folder) if n.isdigit())
  while steps:
    step = steps.pop()
    path = os.path.join(folder, str(step))
    wrong = seals.damage(path)
    if not wrong:
      break
    before = f'of step {steps[-1]}' if steps else 'before: there is none'
    messages.append(
        f'The checkpoint {path} is damaged: {wrong}. It is removed, and the one'
        f' {before} is used.'
    )
    shutil.rmtree(path)
  seals.remove_stray(folder)
  return messages


def _reason(error: Exception) -> str:
  """An operating system's words, or the first line of a library's."""
  if isinstance(error, OSError) and error.strerror:
    return f'{error.strerror}.'
  return str(error).splitlines()[0]
