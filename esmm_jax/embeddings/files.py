"""Writes and reads large sharded arrays without a copy in memory.

A library that saves a tree of arrays copies it first. For an embedding table
and its moments that is as much memory again. Here each shard is written in
parts by the process that has it, and read in parts into its buffer on the
device; the shards may then be others than when it was written. A folder holds a
file of raw values (C order) for each shard, and `index.json` with the shape,
the dtype and the regions of the files.
"""

from collections.abc import Iterator, Mapping
import functools
import os
from typing import Any, NamedTuple

from esmm_jax import system_errors
from esmm_jax.json_files import parse_json, write_json
from esmm_jax.types import Array
import jax
import jax.numpy as jnp
import numpy as np

INDEX = 'index.json'
# Bytes that are read or written at a time, and so held in memory.
_PART = 1 << 26

# A block of an array: for each axis the first index and the one after the last.
Region = tuple[tuple[int, int], ...]


class Saved(NamedTuple):
  """An array in a folder.

  Attributes:
    shape: Its shape.
    dtype: Its dtype.
    shards: File -> its region; together the regions cover the array.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  shards: dict[str, Region]


def write(
    folder: str,
    arrays: Mapping[str, jax.Array],
    num_rows: int | None = None,
    *,
    part_bytes: int = _PART,
) -> None:
  """Writes this process's shards of arrays, and the first process the index.

  Args:
    folder: An existing folder.
    arrays: Name -> array; a name is part of file names.
    num_rows: Rows of the arrays that are written; rows behind them are padding
      that makes all devices' parts of one size. None: all.
    part_bytes: Bytes that are copied at a time.

  Raises:
    OSError: A file cannot be written.
  """
  index = {}
  for name, array in arrays.items():
    shape = cut(array.shape, num_rows)
    regions = _regions(array.sharding, array.shape)
    files = {_file(name, r): r for r in _within(regions, shape[0])}
    index[name] = {
        'shape': shape,
        'dtype': str(array.dtype),
        'shards': files,
    }
    for shard in array.addressable_shards:
      if shard.replica_id == 0:
        for region in _within([_region(shard.index, array.shape)], shape[0]):
          path = os.path.join(folder, _file(name, region))
          first, last = region[0]
          _write_shard(path, shard.data, last - first, part_bytes)
  if jax.process_index() == 0:
    write_json(os.path.join(folder, INDEX), index)


def saved(folder: str) -> dict[str, Saved]:
  """Reads the index of a folder.

  Returns:
    Name -> shape, dtype and files of an array.
  """
  with open(os.path.join(folder, INDEX), encoding='utf-8') as f:
    index = parse_json(f.read())
  return {
      name: Saved(
          tuple(entry['shape']),
          np.dtype(jnp.dtype(entry['dtype'])),
          {
              file: tuple((first, last) for first, last in region)
              for file, region in entry['shards'].items()
          },
      )
      for name, entry in index.items()
  }


def cut(shape: tuple[int, ...], num_rows: int | None) -> tuple[int, ...]:
  """Returns the shape of an array's first `num_rows` rows; None: all."""
  return shape if num_rows is None else (min(shape[0], num_rows), *shape[1:])


def read(
    folder: str,
    entry: Saved,
    sharding: jax.sharding.Sharding,
    num_rows: int | None = None,
    *,
    part_bytes: int = _PART,
) -> Array:
  """Reads an array into the devices of a sharding, in parts.

  Args:
    folder: A folder that `write` filled.
    entry: The array's entry in `saved(folder)`.
    sharding: Its devices; they need not be those that wrote it.
    num_rows: Rows of the result; those that were not written are 0. None: as
      many as were written.
    part_bytes: Bytes that are copied at a time.

  Returns:
    The array.
  """
  shape = entry.shape if num_rows is None else (num_rows, *entry.shape[1:])
  indices = sharding.addressable_devices_indices_map(shape)
  shards = [
      _read_shard(folder, entry, _region(index, shape), device, part_bytes)
      for device, index in indices.items()
  ]
  return jax.make_array_from_single_device_arrays(shape, sharding, shards)


def _write_shard(
    path: str, data: jax.Array, num_rows: int, part_bytes: int
) -> None:
  """Writes the first rows of one device's shard."""
  on_host = data.device.platform == 'cpu'  # NumPy then has a view, not a copy.
  data = np.asarray(data) if on_host else data
  with system_errors.naming(path), open(path, 'wb') as f:
    shape = (num_rows, *data.shape[1:])
    for first, last in _parts(shape, data.dtype.itemsize, part_bytes):
      part = np.ascontiguousarray(data[first:last])
      f.write(part.reshape(-1).view(np.uint8))
    f.flush()
    os.fsync(f.fileno())  # No other process can do it for this machine.


def _read_shard(
    folder: str,
    entry: Saved,
    region: Region,
    device: jax.Device,
    part_bytes: int,
) -> Array:
  """Fills a buffer of one device from the files that overlap its region."""
  shape = tuple(last - first for first, last in region)
  with jax.default_device(device):
    buffer = _zeros(shape, entry.dtype)
    for first, last in _parts(shape, entry.dtype.itemsize, part_bytes):
      rows = (region[0][0] + first, region[0][0] + last)
      part = np.zeros((last - first, *shape[1:]), entry.dtype)
      read_region(folder, entry, (rows, *region[1:]), part)
      # No alias of the host's memory, which the next part uses again.
      part = jax.device_put(part, device, may_alias=False)
      buffer = _write_part(buffer, part, first)
      buffer.block_until_ready()
  return buffer


def read_region(
    folder: str, entry: Saved, region: Region, out: np.ndarray
) -> None:
  """Copies a region of an array from all files that overlap it.

  Args:
    folder: A folder that `write` filled.
    entry: The array's entry in `saved(folder)`.
    region: The block to read.
    out: Gets the values, in the shape of the region; elements that no file has
      do not change.
  """
  for file, stored in entry.shards.items():
    common = [
        (max(a, c), min(b, d)) for (a, b), (c, d) in zip(region, stored)
    ]
    if any(first >= last for first, last in common):
      continue
    (first, last), *rest = common
    widths = [d - c for c, d in stored[1:]]
    row = int(np.prod(widths, dtype=np.int64))
    # Whole rows are read: they are contiguous in the file.
    with open(os.path.join(folder, file), 'rb') as f:
      f.seek((first - stored[0][0]) * row * entry.dtype.itemsize)
      values = np.fromfile(f, entry.dtype, (last - first) * row)
    values = values.reshape(last - first, *widths)
    source = [slice(a - c, b - c) for (a, b), (c, _) in zip(rest, stored[1:])]
    target = [slice(a - c, b - c) for (a, b), (c, _) in zip(common, region)]
    out[tuple(target)] = values[(slice(None), *source)]


def _parts(
    shape: tuple[int, ...], itemsize: int, part_bytes: int
) -> Iterator[tuple[int, int]]:
  """Yields the first row and the one after the last of parts of that size."""
  row = max(1, int(np.prod(shape[1:], dtype=np.int64))) * itemsize
  step = max(1, part_bytes // row)
  for first in range(0, shape[0], step):
    yield first, min(shape[0], first + step)


def _regions(
    sharding: jax.sharding.Sharding, shape: tuple[int, ...]
) -> list[Region]:
  """Returns the distinct shards of all devices, other processes' included."""
  indices = sharding.devices_indices_map(shape).values()
  return sorted({_region(index, shape) for index in indices})


def _within(regions: list[Region], num_rows: int) -> list[Region]:
  """Cuts regions to the first `num_rows` rows."""
  return [
      ((first, min(last, num_rows)), *rest)
      for (first, last), *rest in regions
      if first < num_rows
  ]


def _region(index: tuple[slice, ...], shape: tuple[int, ...]) -> Region:
  """Converts a shard's slices to numbers."""
  return tuple(s.indices(n)[:2] for s, n in zip(index, shape, strict=True))


def _file(name: str, region: Region) -> str:
  """Names the file of a shard by the array and the shard's first indices."""
  return '-'.join([name, *(str(first) for first, _ in region)]) + '.bin'


@functools.partial(jax.jit, static_argnums=(0, 1))
def _zeros(shape: tuple[int, ...], dtype: Any) -> Array:
  return jnp.zeros(shape, dtype)


@functools.partial(jax.jit, donate_argnums=0)
def _write_part(buffer: Array, part: Array, first: int) -> Array:
  start = (first, *(0,) * (buffer.ndim - 1))
  return jax.lax.dynamic_update_slice(buffer, part, start)
