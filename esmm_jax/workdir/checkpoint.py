"""Saving and restoring a run: state, the best parameters, the position.

The data order is a pure function of the step, so a position is one number.
The tables and their moments are written without a copy (`table_checkpoint`),
the rest as Orbax does it. Orbax writes a checkpoint to a temporary folder and
renames it when complete, so a run killed while saving finds the one before.
Each has a seal (`checksums`): one that is cut off or damaged is found, and the
one before is used. The seal is written when all that it lists is on the disk
and was found complete (`read_back`), and only then is an older one removed.
"""

from collections.abc import Mapping
import logging
import os
from typing import Any

from esmm_jax import checksums, late_callbacks, system_errors, whole_files
from esmm_jax.parallel import axes, processes
from esmm_jax.types import InputError
from esmm_jax.workdir import examine, read_back, trees, without_wildcards
from esmm_jax.workdir.table_checkpoint import TableRestore, TableSave
import jax
import numpy as np
import orbax.checkpoint as ocp

_KEPT = 2


class Checkpoints:
  """The checkpoints of a working directory.

  Attributes:
    messages: What was found wrong when it was opened, for people.
  """

  def __init__(
      self, workdir: str, num_rows: int | None = None, read_only: bool = False
  ):
    """Opens them; those that are damaged are set aside (`examine`).

    Args:
      workdir: The run's folder.
      num_rows: Rows of the tables; a mesh may make them longer
        (`Layout.padded`), which no checkpoint shows. None: all.
      read_only: Nothing is written or moved.

    Raises:
      InputError: The disk cannot be read; nothing is moved.
    """
    # Orbax logs each save, and the traceback of an error that it raises too.
    logging.getLogger('absl').setLevel(logging.CRITICAL)
    late_callbacks.silence()
    self._num_rows = num_rows
    self._folder = os.path.join(os.path.abspath(workdir), 'checkpoints')
    self._read_only, self._sound = read_only, None
    self.messages = []
    if read_only or processes.is_first():
      try:
        self._sound, bad = examine.examine(self._folder)
      except OSError as e:  # Says nothing about what was written.
        raise _unreadable(self._folder, e) from e
      self.messages = [why for _, why in bad]
      if not read_only:
        names = [name for name, _ in bad]
        moved = examine.set_aside(self._folder, names)
        self.messages = [
            f'{why} It is moved to {path}.'
            for why, path in zip(self.messages, moved)
        ]
    processes.wait_for_all('damaged checkpoints are set aside')
    if not read_only:
      whole_files.make_folders(self._folder)
    exists = os.path.isdir(self._folder)
    self._alias = without_wildcards.Folder(self._folder) if exists else None
    self._manager = ocp.CheckpointManager(
        self._alias.path if self._alias else self._folder,
        options=ocp.CheckpointManagerOptions(
            max_to_keep=None,  # See `_seal`.
            enable_async_checkpointing=False,
            cleanup_tmp_directories=not read_only,
            create=not read_only,
        ),
    )

  @property
  def latest_step(self) -> int | None:
    """Step of the last sound checkpoint; None when there is none."""
    return self._sound if self._read_only else self._manager.latest_step()

  def save(
      self, step: int, arrays: Any, position: Mapping[str, Any]
  ) -> None:
    """Writes a checkpoint; returns when it is complete.

    Args:
      step: Its number.
      arrays: A tree of arrays.
      position: What else is needed to go on, as JSON.

    Raises:
      InputError: The disk refuses it; those before are as they were.
    """
    small, large = trees.divided(arrays)
    try:
      self._manager.save(
          step,
          args=ocp.args.Composite(
              arrays=ocp.args.StandardSave(trees.nested(small)),
              tables=TableSave(large, self._num_rows),
              position=ocp.args.JsonSave(dict(position)),
          ),
      )
      self._manager.wait_until_finished()
      if processes.is_first():
        self._require_complete(step, small, large, position)
        _seal(os.path.join(self._folder, str(step)))
      processes.wait_for_all(f'checkpoint {step} is sealed')
    except (OSError, ValueError) as e:
      if not _of_disk(e):
        raise
      raise InputError(
          f'The checkpoint of step {step} cannot be written to {self._folder}:'
          f' {system_errors.told(e)} Then repeat the command, which resumes'
          ' from the previous checkpoint.'
      ) from e

  def _require_complete(self, step: int, small: Any, *more: Any) -> None:
    """Refuses a checkpoint that could not be read; it is not sealed then."""
    path = os.path.join(self._folder, str(step))
    names = {trees.JOIN.join(p): a for p, a in small.items()}
    try:
      read_back.require(path, names, *more, self._num_rows)
    except ValueError as e:
      raise InputError(
          f'The checkpoint of step {step} was written incorrectly: {e}. It is'
          ' not used; the same command resumes from the previous checkpoint.'
      ) from e

  def restore(self, like: Any) -> tuple[Any, dict[str, Any]]:
    """Reads the last checkpoint.

    Args:
      like: A tree of the arrays to read, with their shapes and shardings.

    Returns:
      The arrays and the position.

    Raises:
      InputError: The checkpoint cannot be read or does not fit the run; it is
        left as it is.
    """
    step = self.latest_step
    small, large = trees.divided(jax.tree.map(trees.abstract, like))
    try:
      restored = self._manager.restore(
          step,
          args=ocp.args.Composite(
              arrays=ocp.args.StandardRestore(trees.nested(small)),
              tables=TableRestore(large, self._num_rows),
              position=ocp.args.JsonRestore(),
          ),
      )
    except (OSError, ValueError, KeyError) as e:
      path = os.path.join(self._folder, str(step))
      if _of_disk(e):
        raise _unreadable(path, e) from e
      raise InputError(
          f'{path} does not fit this run: {str(e).splitlines()[0]} Use another'
          ' --workdir.'
      ) from e
    leaves = trees.joined(restored)
    paths, tree = jax.tree.flatten_with_path(like)
    arrays = tree.unflatten(leaves[axes.names(path)] for path, _ in paths)
    return arrays, restored['position']

  def restore_as_saved(self) -> Any:
    """Reads the last checkpoint as nested dicts of arrays, on one device."""
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    restored = self._manager.restore(
        self.latest_step,
        args=ocp.args.Composite(
            arrays=ocp.args.StandardRestore(fallback_sharding=here),
            tables=TableRestore(),
        ),
    )
    arrays = jax.device_put(restored['arrays'], here)
    return trees.nested(
        trees.joined({'arrays': arrays, 'tables': restored['tables']})
    )

  def restore_small(self) -> dict[trees.Path, np.ndarray]:
    """Reads the last checkpoint without tables and keys: path -> array."""
    # Where other devices wrote it, each of today's reads all of it.
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()), ('all',))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    restored = self._manager.restore(
        self.latest_step,
        args=ocp.args.Composite(
            arrays=ocp.args.StandardRestore(fallback_sharding=everywhere)
        ),
    )
    return {
        path: np.asarray(array)
        for path, array in trees.flat(restored['arrays']).items()
        if not jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key)
    }

  @property
  def tables_folder(self) -> str:
    """Folder of the last checkpoint's tables, as `embeddings.files` has it."""
    return os.path.join(self._folder, str(self.latest_step), 'tables')

  def restore_params(self, best: bool) -> dict[str, Any]:
    """Reads `table`, `net` and `stats` of the last checkpoint, on one device.

    The moments, which are as large as the table, are not read.

    Args:
      best: Reads the parameters of the best evaluation, not the last ones.
    """
    part = 'best' if best else 'state'
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    restored = self._manager.restore(
        self.latest_step,
        args=ocp.args.Composite(
            arrays=ocp.args.StandardRestore(fallback_sharding=here),
            tables=TableRestore(only=(f'{part}{trees.JOIN}table',)),
        ),
    )
    (table,) = restored['tables'].values()
    # Orbax falls back only where the devices that wrote are not here.
    small = jax.device_put(restored['arrays'][part], here)
    return {'table': table, 'net': small['net']} | {
        'stats': small.get('stats') or {}}

  def close(self) -> None:
    self._manager.close()
    if self._alias:
      self._alias.close()


def _seal(path: str) -> None:
  """Seals a complete checkpoint, and only then removes older ones."""
  whole_files.synchronise_all(path)
  checksums.seal(path)
  examine.retire(os.path.dirname(path), _KEPT)


def _of_disk(error: Exception) -> bool:
  """Returns True if the operating system, not a library, refused a file."""
  if processes.is_connection_error(error):
    return False
  return isinstance(error, OSError) or system_errors.code_of(error) is not None


def _unreadable(path: str, error: Exception) -> InputError:
  return InputError(
      f'{path} cannot be read: {system_errors.told(error)} The checkpoint is'
      ' left as it is; then the same command resumes from it.'
  )
