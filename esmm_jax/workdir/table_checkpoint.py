"""Large arrays in Orbax checkpoints, written and read without a copy.

Orbax's own handlers copy an array to write it, and a table may fill the memory.
"""

import dataclasses
import functools
import os
from typing import Any

from esmm_jax.embeddings import files as table_files
import jax
import orbax.checkpoint as ocp


class TableHandler(ocp.AsyncCheckpointHandler):
  """Lets Orbax write and read large arrays through `embeddings.files`."""

  async def async_save(
      self, directory: Any, args: 'TableSave'
  ) -> list[ocp.future.Future]:
    return [_Writing(os.fspath(directory), args)]

  def save(self, directory: Any, args: 'TableSave') -> None:
    table_files.write(os.fspath(directory), args.arrays, args.num_rows)

  def restore(
      self, directory: Any, args: 'TableRestore'
  ) -> dict[str, jax.Array]:
    folder = os.fspath(directory)
    entries = table_files.saved(folder)
    like = args.like
    if args.only:
      entries = {name: entries[name] for name in args.only}
    if like is None:
      like = {name: _on_one_device(entry) for name, entry in entries.items()}
    shapes = {name: (e.shape, e.dtype) for name, e in entries.items()}
    wanted = {
        name: (table_files.cut(a.shape, args.num_rows), a.dtype)
        for name, a in like.items()
    }
    if wanted != shapes:
      raise ValueError(f'it has the tables {shapes}, not {wanted}.')
    return {
        name: table_files.read(
            folder, entries[name], leaf.sharding, leaf.shape[0]
        )
        for name, leaf in like.items()
    }


class _Writing(ocp.future.Future):
  """Writes when it is waited for.

  So that an error comes when the other parts are also waited for; Orbax would
  drop coroutines that nobody awaited.
  """

  def __init__(self, folder: str, args: 'TableSave'):
    self._write = functools.partial(
        table_files.write, folder, args.arrays, args.num_rows
    )

  def result(self, timeout: float | None = None) -> None:
    del timeout
    self._write()
    self._write = lambda: None


@ocp.args.register_with_handler(TableHandler, for_save=True)
@dataclasses.dataclass
class TableSave(ocp.args.CheckpointArgs):
  """Large arrays by name, and how many of their rows count."""

  arrays: dict[str, jax.Array]
  num_rows: int | None = None


@ocp.args.register_with_handler(TableHandler, for_restore=True)
@dataclasses.dataclass
class TableRestore(ocp.args.CheckpointArgs):
  """Shapes and shardings by name; None: as they were, on one device.

  `only` names those to read; all where it names none.
  """

  like: dict[str, Any] | None = None
  num_rows: int | None = None
  only: tuple[str, ...] = ()


def _on_one_device(entry: table_files.Saved) -> jax.ShapeDtypeStruct:
  here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return jax.ShapeDtypeStruct(entry.shape, entry.dtype, sharding=here)
