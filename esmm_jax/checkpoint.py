"""Saving and restoring a run: state, the best parameters, the position.

The data order is a pure function of the step, so a position is one number.
Orbax writes a checkpoint to a temporary folder and renames it when complete, so
a run killed while saving finds the one before.
"""

from collections.abc import Mapping
import logging
import os
from typing import Any

from esmm_jax.types import InputError
import jax
import orbax.checkpoint as ocp

_KEPT = 2


class Checkpoints:
  """The checkpoints of a working directory."""

  def __init__(self, workdir: str):
    # Orbax logs every save at INFO.
    logging.getLogger('absl').setLevel(logging.WARNING)
    self._folder = os.path.join(os.path.abspath(workdir), 'checkpoints')
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
    """
    self._manager.save(
        step,
        args=ocp.args.Composite(
            arrays=ocp.args.StandardSave(arrays),
            position=ocp.args.JsonSave(dict(position)),
        ),
    )
    self._manager.wait_until_finished()

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
