"""The one mesh and where each array lives on it.

Axes: `replica` (the runs trained side by side), `data` (examples of a batch)
and `rows` (rows of the table). Today all devices are on `data`: examples are
spread over them, and the state is on each. With one device nothing is placed.
"""

from typing import Any

from esmm_jax.types import Batch, Groups, InputError
import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jax.sharding import SingleDeviceSharding
import numpy as np

AXES = ('replica', 'data', 'rows')


class Layout:
  """Places batches and state on the devices.

  Attributes:
    mesh: The mesh, axes `AXES`, of type `Auto`.
    num_data: Devices that share the examples of a batch.
  """

  def __init__(self, devices: list[jax.Device] | None = None):
    devices = jax.devices() if devices is None else devices
    self.mesh = Mesh(
        np.asarray(devices).reshape(1, -1, 1),
        AXES,
        axis_types=(AxisType.Auto,) * len(AXES),
    )
    self.num_data = len(devices)
    self._everywhere = NamedSharding(self.mesh, PartitionSpec())
    self._by_example = NamedSharding(self.mesh, PartitionSpec('data'))

  def check_batch_size(self, batch_size: int, name: str) -> None:
    """Raises InputError unless the devices can share a batch evenly."""
    if batch_size % self.num_data:
      raise InputError(
          f'{name} is {batch_size}; it must be divisible by the'
          f' {self.num_data} devices.'
      )

  def put_batch(self, batch: Batch) -> Batch:
    """Moves a batch to the devices: examples spread, the rest to each."""
    if self.num_data == 1:
      return jax.device_put(batch, self.mesh.devices.flat[0])
    shardings = jax.tree.map(lambda _: self._by_example, batch)
    shardings = shardings._replace(rows=self._everywhere)
    if batch.groups is not None:
      everywhere = self._everywhere
      of = self._by_example
      shardings = shardings._replace(groups=Groups(everywhere, everywhere, of))
    return jax.device_put(batch, shardings)

  def put_state(self, state: Any) -> Any:
    """Moves the state to the devices: all of it to each."""
    if self.num_data == 1:
      return jax.device_put(state, self.mesh.devices.flat[0])
    return jax.device_put(state, self._everywhere)

  def abstract(self, state: Any) -> Any:
    """Shapes of a state -> the same with where `put_state` would put them."""
    where = self.state_sharding or SingleDeviceSharding(
        self.mesh.devices.flat[0]
    )
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=where
        ),
        state,
    )

  @property
  def state_sharding(self) -> NamedSharding | None:
    """What the step's outputs are pinned to; None with one device."""
    return None if self.num_data == 1 else self._everywhere
