"""What a run will take in memory, said before any of it is taken."""

from collections.abc import Sequence
import math
import os
from typing import Any, NamedTuple

from esmm_jax.optim import tables as table_optim
from esmm_jax.types import InputError
import jax
import jax.numpy as jnp

_GB = 1e9
# What a step takes for each row that its batch touches, in copies of the row:
# itself, its gradient, direction, moments and the new ones.
_COPIES_OF_ROWS = 8
_CGROUPS = (
    '/sys/fs/cgroup/memory.max',
    '/sys/fs/cgroup/memory/memory.limit_in_bytes',
)


class Part(NamedTuple):
  """A part of the memory.

  Attributes:
    name: What it is.
    how: The arithmetic.
    bytes: The result.
  """

  name: str
  how: str
  bytes: int


def check(
    config: Any, num_rows: int, num_tables: int, replicas: int, capacity: int
) -> None:
  """Refuses a run whose table cannot be held.

  Args:
    config: The run's; `memory_limit_gb` of it says how much there is, 0 asks
      the device and the system.
    num_rows: V.
    num_tables: Embeddings side by side in a row.
    replicas: R.
    capacity: Rows that a batch touches.

  Raises:
    InputError: It does not fit; with the sum, and what each option would take.
  """
  size = (num_rows, num_tables, replicas, capacity)
  limit = config.memory_limit_gb * _GB or available()
  devices = jax.device_count()
  parts = needed(config, *size)
  total = sum(p.bytes for p in parts)
  if total <= limit:
    return
  sums = '; '.join(
      f'{p.name} {p.how} = {_gb(p.bytes)}' for p in parts
  )
  options = []
  for text, changes in _options(config):
    changed = config.copy_and_resolve_references()
    changed.update_from_flattened_dict(changes)
    options.append((text, sum(p.bytes for p in needed(changed, *size))))
  shown = '; '.join(f'{text}: {_gb(n)}' for text, n in options)
  raise InputError(
      f'The embedding table does not fit: {sums}; together {_gb(total)}'
      f'{" on each device" if devices > 1 else ""}, and there are'
      f' {_gb(limit)}. It would be with {shown}. A larger'
      ' dataset.min_count makes it smaller. If this is not what there is,'
      ' set memory_limit_gb.'
  )


def needed(
    config: Any, num_rows: int, num_tables: int, replicas: int, capacity: int
) -> Sequence[Part]:
  """The parts that grow with the table or the batch, of one device."""
  width = config.model.embed_dim * num_tables
  num_rows = -(-num_rows // config.mesh.rows)
  replicas = -(-replicas // config.mesh.replicas)
  table = jax.ShapeDtypeStruct((num_rows, replicas, width), jnp.float32)
  shape = f'{num_rows:,} rows x {width} x 4 B'
  if config.mesh.rows > 1:
    shape += f' on each of {config.mesh.rows} devices'
  if replicas > 1:
    shape += f' x {replicas} replicas'
  moments = jax.eval_shape(
      table_optim.table_optimizer(config, num_tables).init, table
  )
  name = config.table_optimizer or config.optimizer.name
  parts = [
      Part('table', shape, _bytes(table)),
      Part(f'state of {name}', _shapes(moments), _bytes(moments)),
  ]
  if config.selection.metric:
    parts.append(Part('best table so far', shape, _bytes(table)))
  touched = num_rows if config.table_update == 'dense' else capacity
  row = 4 * width * replicas
  parts.append(
      Part(
          'a step',
          f'{touched:,} rows x {_COPIES_OF_ROWS} x {row} B',
          touched * _COPIES_OF_ROWS * row,
      )
  )
  return parts


def available() -> float:
  """Bytes of the first device, or of the system where that is the CPU.

  Devices that are emulated on a CPU share its memory. Infinite where neither
  says.
  """
  stats = jax.local_devices()[0].memory_stats() or {}
  if 'bytes_limit' in stats:
    return stats['bytes_limit']
  if jax.default_backend() != 'cpu':
    return math.inf
  limits = [math.inf]
  try:
    with open('/proc/meminfo', encoding='ascii') as f:
      lines = dict(line.split(':', 1) for line in f)
    limits.append(int(lines['MemAvailable'].split()[0]) * 1024)
  except (OSError, ValueError, KeyError):
    pass  # Not Linux.
  for path in filter(os.path.exists, _CGROUPS):
    try:
      with open(path, encoding='ascii') as f:
        limits.append(int(f.read()))
    except (OSError, ValueError):
      pass  # 'max': no limit.
  return min(limits) / jax.local_device_count()


def _options(config: Any) -> Sequence[tuple[str, dict[str, Any]]]:
  """What would take less: what to write, and the keys."""
  rowwise = {'table_optimizer': table_optim.ROWWISE, 'table_moments': 'float32'}
  found = []
  if config.table_optimizer != table_optim.ROWWISE:
    found.append((f"table_optimizer='{table_optim.ROWWISE}'", rowwise))
  adam = (config.table_optimizer or config.optimizer.name) == 'adam'
  lazy = config.table_update == 'lazy'
  if adam and lazy and config.table_moments == 'float32':
    half = {'table_moments': 'bfloat16'}
    found.append(("table_moments='bfloat16'", half))
  last = {'selection.metric': ''}
  if config.selection.metric:
    found.append(("selection.metric='' (the last parameters count)", last))
    text = f"selection.metric='' and table_optimizer='{table_optim.ROWWISE}'"
    found.append((text, last | rowwise))
  if lazy:
    rows = config.mesh.rows * 2
    text = f'mesh.rows={rows} (on as many devices)'
    found.append((text, {'mesh.rows': rows}))
  dim = max(1, config.model.embed_dim // 2)
  found.append((f'model.embed_dim={dim}', {'model.embed_dim': dim}))
  return found


def _bytes(tree: Any) -> int:
  return sum(
      math.prod(leaf.shape) * leaf.dtype.itemsize
      for leaf in jax.tree.leaves(tree)
  )


def _shapes(tree: Any) -> str:
  """The leaves as 'V x R x D x bytes', joined."""
  texts = [
      ' x '.join([*(f'{n:,}' for n in leaf.shape), f'{leaf.dtype.itemsize} B'])
      for leaf in jax.tree.leaves(tree)
      if leaf.ndim
  ]
  return ' + '.join(texts) or '0'


def _gb(number: float) -> str:
  return f'{number / _GB:.2f} GB'
