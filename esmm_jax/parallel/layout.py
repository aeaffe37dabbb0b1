"""The one mesh and where each array lives on it.

Axes: `replica` (the runs trained side by side), `data` (examples of a batch)
and `rows` (rows of the tables). Devices along `rows` hold a part of each table
and share the examples too; a batch is divided by `data` and `rows` together.
With one device nothing is placed.
"""

import contextlib
import dataclasses
from typing import Any

from esmm_jax.options import COUNT, COUNT_OR_NONE, number, Section
from esmm_jax.parallel import axes
from esmm_jax.types import Batch, Groups, InputError
import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.sharding import SingleDeviceSharding
import numpy as np

AXES = ('replica', 'data', 'rows')
# Devices along these share the examples of a batch.
SHARE_EXAMPLES = ('data', 'rows')
BY_EXAMPLE = PartitionSpec(SHARE_EXAMPLES)


@dataclasses.dataclass(frozen=True)
class MeshOptions(Section, prefix='run.mesh'):
  """Devices along each axis (docs/scale.md).

  Attributes:
    replicas: Devices that share the runs trained side by side.
    data: Devices that share the examples of a batch; 0 takes what is left.
    rows: Devices that share the rows of the tables.
  """

  replicas: int = number(1, COUNT)
  data: int = number(0, COUNT_OR_NONE)
  rows: int = number(1, COUNT)


class Layout:
  """Places batches and state on the devices.

  Attributes:
    mesh: The mesh, axes `AXES`, of type `Auto`.
    num_devices: Devices of it, of all processes.
    num_parts: Devices that share the examples of a batch.
    num_rows: Devices that share the rows of a table.
    num_replicas: Devices that share the replicas.
    num_processes: Processes whose devices these are.
    shares_batches: Whether each process has its own part of a batch, as large
      as that of any other, the parts in the order of the processes.
  """

  def __init__(
      self,
      options: MeshOptions | None = None,
      devices: list[jax.Device] | None = None,
  ):
    """Arranges the devices.

    Args:
      options: Devices along each axis; default: all share the batch.
      devices: Default: all.

    Raises:
      InputError: There are more or fewer devices than that.
    """
    devices = jax.devices() if devices is None else devices
    options = options or MeshOptions()
    replicas, rows = options.replicas, options.rows
    data = options.data or max(1, len(devices) // (replicas * rows))
    if replicas * data * rows != len(devices):
      raise InputError(
          f'mesh.replicas={replicas}, mesh.data={data} and mesh.rows={rows} are'
          f' {replicas * data * rows} devices, but there are {len(devices)}.'
          ' Their product must be that; mesh.data=0 takes what is left.'
      )
    self.mesh = Mesh(
        np.asarray(devices).reshape(replicas, data, rows),
        AXES,
        axis_types=(AxisType.Auto,) * len(AXES),
    )
    self.num_devices, self.num_parts = len(devices), data * rows
    self.num_rows, self.num_replicas = rows, replicas
    owners = [d.process_index for d in self.mesh.devices.flat]
    self.num_processes = num = len(set(owners))
    each = np.repeat(np.arange(num), len(owners) // num)
    self.shares_batches = num > 1 and replicas == 1 and list(each) == owners
    self._everywhere = NamedSharding(self.mesh, PartitionSpec())
    self._by_example = NamedSharding(self.mesh, BY_EXAMPLE)
    self._by_row = NamedSharding(self.mesh, PartitionSpec('rows', 'replica'))
    self._by_replica = NamedSharding(self.mesh, PartitionSpec('replica'))
    self._gather = jax.jit(
        lambda x: x.reshape(num, -1), out_shardings=self._everywhere
    )

  def check_batch_size(self, batch_size: int, name: str) -> None:
    """Raises InputError unless the devices can share a batch evenly."""
    if batch_size % self.num_parts:
      raise InputError(
          f'{name} is {batch_size}; it must be divisible by the'
          f' {self.num_parts} devices that share a batch.'
      )

  def check_replicas(self, replicas: int) -> None:
    """Raises InputError unless the devices can share the replicas evenly."""
    if replicas % self.num_replicas:
      raise InputError(
          f'mesh.replicas is {self.num_replicas}; it must divide the number of'
          f' runs that are trained side by side, {replicas}.'
      )

  def padded(self, num_rows: int) -> int:
    """Returns the rows of a table after padding all parts to one size."""
    return -(-num_rows // self.num_rows) * self.num_rows

  def active(self) -> contextlib.AbstractContextManager[Any]:
    """Returns a context in which traced functions see the mesh.

    `embeddings.lookup` reads it there.
    """
    active = jax.sharding.get_abstract_mesh() == self.mesh.abstract_mesh
    if active or self.num_devices == 1:
      return contextlib.nullcontext()
    return jax.set_mesh(self.mesh)

  def put_batch(self, batch: Batch) -> Batch:
    """Moves a batch to the devices: examples spread, the rest to each."""
    if self.num_devices == 1:
      return jax.device_put(batch, self.mesh.devices.flat[0])
    return _put(batch, self._of_batch(batch))

  def put_part(self, part: Batch) -> Batch:
    """Moves this process's part of a batch; see `shares_batches`.

    Args:
      part: Its examples; `rows` and the groups are those of the whole batch.

    Returns:
      The whole batch.
    """
    return jax.tree.map(self._place_part, part, self._of_batch(part))

  def all_gather(self, numbers: np.ndarray) -> jax.Array:
    """Sends each process what all have; does not wait for it.

    Args:
      numbers: [n], of the same length and dtype in each process.

    Returns:
      [P, m] on each device, m >= n; what is behind n repeats the last number.
    """
    num = self.num_devices // self.num_processes
    pad = -len(numbers) % num
    numbers = np.append(numbers, np.repeat(numbers[-1:], pad))
    numbers = self._place_part(numbers, self._by_example)
    return self._gather(numbers)

  def _of_batch(self, batch: Batch) -> Batch:
    """Returns the sharding of each array of a batch."""
    shardings = jax.tree.map(lambda _: self._by_example, batch)
    shardings = shardings._replace(rows=self._everywhere)
    if batch.groups is not None:
      # The groups are on each device; their index has an axis of examples.
      groups = Groups(self._everywhere, self._everywhere, self._by_example)
      shardings = shardings._replace(groups=groups)
    return shardings

  def _place_part(self, part: Any, sharding: NamedSharding) -> jax.Array:
    """Places the examples of this process, or what each process has."""
    part = np.asarray(part)
    if sharding == self._everywhere:
      return _put(part, sharding)
    first = jax.process_index() * len(part)
    return jax.make_array_from_callback(
        (len(part) * self.num_processes, *part.shape[1:]),
        sharding,
        lambda at: part[at[0].start - first : at[0].stop - first],
    )

  def put_shares(self, arrays: Any) -> Any:
    """Moves arrays to the devices that share a batch, each its share.

    Args:
      arrays: Of a length that `num_parts` divides.
    """
    return _put(arrays, jax.tree.map(lambda _: self._by_example, arrays))

  def put_state(self, state: Any) -> Any:
    """Moves a state to the devices, or other arrays, which go to each."""
    if self.num_devices == 1:
      return jax.device_put(state, self.mesh.devices.flat[0])
    return _put(state, self.shardings(state))

  def placed(self, state: Any) -> Any:
    """Moves the result of `init_state` to the device, if there is only one."""
    return self.put_state(state) if self.num_devices == 1 else state

  def abstract(self, state: Any) -> Any:
    """Adds to the shapes of a state the shardings of `put_state`."""
    shardings = self.shardings(state)
    if self.num_devices == 1:
      here = SingleDeviceSharding(self.mesh.devices.flat[0])
      shardings = jax.tree.map(lambda _: here, state)
    return jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=where
        ),
        state,
        shardings,
    )

  def shardings(self, state: Any) -> Any:
    """Returns the sharding of each leaf of a state or of parameters."""
    divided = {axes.BY_ROW: self._by_row, axes.BY_REPLICA: self._by_replica}
    return jax.tree.map_with_path(
        lambda path, leaf: divided.get(
            axes.axes_of(path, leaf), self._everywhere
        ),
        state,
    )

  @property
  def everywhere(self) -> NamedSharding | None:
    """The sharding of arrays that each device holds; None with one device."""
    return None if self.num_devices == 1 else self._everywhere


def _put(tree: Any, shardings: Any) -> Any:
  """Moves host arrays to the devices; each process places its part.

  Between processes `jax.device_put` would compare what they have, and a
  thread that makes batches ahead must not wait for another process.
  """
  if jax.process_count() == 1:
    return jax.device_put(tree, shardings)

  def place(leaf: Any, sharding: NamedSharding) -> jax.Array:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
      return leaf  # There already.
    leaf = np.asarray(leaf)
    return jax.make_array_from_callback(leaf.shape, sharding, leaf.__getitem__)

  return jax.tree.map(place, tree, shardings)
