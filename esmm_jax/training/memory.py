"""Estimates the memory of a run and refuses one that cannot fit."""

from collections.abc import Sequence
import dataclasses
import math
import os
from typing import Any, NamedTuple

from esmm_jax.optim import tables
from esmm_jax.optim.network import OptimizerOptions
from esmm_jax.optim.tables import TableOptions
from esmm_jax.parallel.layout import MeshOptions
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


class MemoryItem(NamedTuple):
  """A part of the memory.

  Attributes:
    name: For the message.
    how: The arithmetic.
    bytes: Its size.
  """

  name: str
  how: str
  bytes: int


class Request(NamedTuple):
  """A table whose memory is to be estimated.

  Attributes:
    num_rows: V.
    num_tables: Embeddings side by side in a row.
    replicas: R.
    capacity: Rows that a batch touches.
    embed_dim: D.
    table: The table's options.
    optimizer: Settings of its optimizer.
    mesh: Devices that share rows and replicas.
    keeps_best: Whether the parameters of the best evaluation are kept too.
    first_order: L, first-order weights behind each embedding.
  """

  num_rows: int
  num_tables: int
  replicas: int
  capacity: int
  embed_dim: int
  table: TableOptions
  optimizer: OptimizerOptions
  mesh: MeshOptions
  keeps_best: bool
  first_order: int = 0


def check(request: Request, limit_gb: float = 0.0) -> None:
  """Refuses a run whose table cannot be held.

  Args:
    request: The table.
    limit_gb: Memory in GB; 0 asks the device and the system.

  Raises:
    InputError: It does not fit; with the sum, and what each option would take.
  """
  limit = limit_gb * _GB or available()
  parts = needed(request)
  total = sum(p.bytes for p in parts)
  if total <= limit:
    return
  sums = '; '.join(f'{p.name} {p.how} = {_gb(p.bytes)}' for p in parts)
  options = '; '.join(
      f'{text}: {_gb(sum(p.bytes for p in needed(changed)))}'
      for text, changed in _smaller(request)
  )
  each = ' on each device' if jax.device_count() > 1 else ''
  raise InputError(
      f'The embedding table does not fit: {sums}; together {_gb(total)}{each},'
      f' but only {_gb(limit)} are available. Memory with other options:'
      f' {options}. A larger dataset.min_count makes the table smaller. If more'
      ' memory is available, set memory_limit_gb.'
  )


def needed(request: Request) -> Sequence[MemoryItem]:
  """Lists the parts that grow with the table or the batch, of one device."""
  width = request.num_tables * (request.embed_dim + request.first_order)
  num_rows = -(-request.num_rows // request.mesh.rows)
  replicas = -(-request.replicas // request.mesh.replicas)
  table = jax.ShapeDtypeStruct((num_rows, replicas, width), jnp.float32)
  shape = f'{num_rows:,} rows x {width} x 4 B'
  if request.mesh.rows > 1:
    shape += f' on each of {request.mesh.rows} devices'
  if replicas > 1:
    shape += f' x {replicas} replicas'
  tx = tables.table_optimizer(
      request.table, request.optimizer, request.num_tables
  )
  moments = jax.eval_shape(tx.init, table)
  name = tables.optimizer_name(request.table, request.optimizer)
  parts = [
      MemoryItem('table', shape, _bytes(table)),
      MemoryItem(f'state of {name}', _shapes(moments), _bytes(moments)),
  ]
  if request.keeps_best:
    parts.append(MemoryItem('best table so far', shape, _bytes(table)))
  row = 4 * width * replicas
  parts.append(
      MemoryItem(
          'a step',
          f'{request.capacity:,} rows x {_COPIES_OF_ROWS} x {row} B',
          request.capacity * _COPIES_OF_ROWS * row,
      )
  )
  return parts


def available(limit_files: Sequence[str] = _CGROUPS) -> float:
  """Returns the bytes of the first device, or of the system if it is the CPU.

  Devices that are emulated on a CPU share its memory. Infinite if neither is
  known.

  Args:
    limit_files: Files that hold a limit of the system in bytes, or 'max'.
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
  for path in filter(os.path.exists, limit_files):
    try:
      with open(path, encoding='ascii') as f:
        limits.append(int(f.read()))
    except (OSError, ValueError):
      pass  # 'max': no limit.
  return min(limits) / jax.local_device_count()


def _smaller(request: Request) -> Sequence[tuple[str, Request]]:
  """Lists the options that take less: what to write, and the request."""
  table, last = request.table, request._replace(keeps_best=False)
  by_row = dataclasses.replace(
      table, table_optimizer=tables.ROWWISE, table_moments='float32'
  )
  options = []
  if table.table_optimizer != tables.ROWWISE:
    text = f"table_optimizer='{tables.ROWWISE}'"
    options.append((text, request._replace(table=by_row)))
  adam = tables.optimizer_name(table, request.optimizer) == 'adam'
  if adam and table.table_moments == 'float32':
    half = dataclasses.replace(table, table_moments='bfloat16')
    options.append(("table_moments='bfloat16'", request._replace(table=half)))
  if request.keeps_best:
    options.append(("selection.metric='' (the last parameters count)", last))
    text = f"selection.metric='' and table_optimizer='{tables.ROWWISE}'"
    options.append((text, last._replace(table=by_row)))
  rows = request.mesh.rows * 2
  mesh = dataclasses.replace(request.mesh, rows=rows)
  text = f'mesh.rows={rows} (on as many devices)'
  options.append((text, request._replace(mesh=mesh)))
  dim = max(1, request.embed_dim // 2)
  options.append((f'model.embed_dim={dim}', request._replace(embed_dim=dim)))
  return options


def _bytes(tree: Any) -> int:
  return sum(
      math.prod(leaf.shape) * leaf.dtype.itemsize
      for leaf in jax.tree.leaves(tree)
  )


def _shapes(tree: Any) -> str:
  """Formats the leaves as 'V x R x D x bytes', joined."""
  texts = [
      ' x '.join([*(f'{n:,}' for n in leaf.shape), f'{leaf.dtype.itemsize} B'])
      for leaf in jax.tree.leaves(tree)
      if leaf.ndim
  ]
  return ' + '.join(texts) or '0'


def _gb(number: float) -> str:
  return f'{number / _GB:.2f} GB'
