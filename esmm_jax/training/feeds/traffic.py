"""The bytes that devices and processes exchange in a step."""

from typing import NamedTuple

from esmm_jax.models.embedding import neighbours
from esmm_jax.parallel import axes
from esmm_jax.parallel.layout import Layout
from esmm_jax.schema import Schema
from esmm_jax.training.state import TrainState
import jax
import numpy as np

# Of a number that is added up over devices: float32, int32, and uint16, which
# `embeddings.lookup` adds up as uint32.
_BYTES = 4


class Traffic(NamedTuple):
  """Bytes of the arrays that a device exchanges with others in a step.

  Those of sums over devices are what each gives into the sum; a ring of n
  devices sends 2 (n - 1) / n times as much from each to the next. Left out are
  a few numbers a term and what is exchanged for reports. A term with a gradient
  of its own, as most methods of balancing have, adds another `gradients`.

  Attributes:
    gradients: Of the network and of the touched rows, a sum over the devices
      that share a batch; those of the rows once for the fields of one id and
      once for each length of lists that stand side by side.
    rows: The touched rows and what their optimizer keeps of them, a sum over
      the devices that share the rows of the tables.
    lists: Which rows and groups each process touches, from all of them.
    examples: Those that devices gather, where they hold the training set.
  """

  gradients: int = 0
  rows: int = 0
  lists: int = 0
  examples: int = 0

  @property
  def total(self) -> int:
    """All of them."""
    return sum(self)

  def line(self, layout: Layout) -> str:
    """Returns a line for people."""
    num, who = layout.num_devices, 'devices'
    if layout.num_processes > 1:
      num, who = layout.num_processes, 'processes'
    parts = ', '.join(f'{k} {v:,}' for k, v in self._asdict().items() if v)
    return (
        f'Each of {num} {who} exchanges {self.total:,} bytes a step'
        f'{f": {parts}" if parts else ""}.'
    )


def of_step(
    state: TrainState,
    layout: Layout,
    schema: Schema,
    touched: int,
    groups: int = 0,
    listed: int = 0,
    numbers: int = 0,
) -> Traffic:
  """Computes the bytes from the shapes of what is exchanged.

  Args:
    state: Of all replicas.
    layout: Devices.
    schema: The fields.
    touched: U, the table rows that a batch has room for.
    groups: G, the groups that it has room for.
    listed: Numbers that each process sends of its part of a batch.
    numbers: Those of a batch that devices gather, all of its examples.
  """
  replicas = state.keys.shape[0] // layout.num_replicas
  by_row = [
      int(np.prod(leaf.shape[2:], dtype=np.int64))
      for path, leaf in jax.tree.leaves_with_path(state)
      if axes.axes_of(path, leaf) == axes.BY_ROW
  ]
  width = int(np.prod(state.table.shape[2:], dtype=np.int64))
  net = sum(leaf.size for leaf in jax.tree.leaves(state.net))
  net //= layout.num_replicas
  sums = touched * _takes(schema) + groups * len(schema.group_part.fields)
  gradients = net + replicas * width * sums
  rows = touched * replicas * sum(by_row)
  shared = layout.num_parts > 1
  devices = layout.num_devices // layout.num_processes
  listed += -listed % devices  # Each sends as many.
  return Traffic(
      _BYTES * gradients * shared,
      _BYTES * rows * (layout.num_rows > 1),
      _BYTES * listed * layout.num_processes * layout.shares_batches,
      _BYTES * numbers * shared,
  )


def _takes(schema: Schema) -> int:
  """Returns how often `FeatureEmbedding` takes touched rows for examples."""
  part = schema.row_part
  return bool(part.id_fields) + len(neighbours(part))
