"""Large arrays in files: written from where they lie, read to where they go.

A library that saves a tree of arrays copies it first. For an embedding table
and its moments that is as much memory again. Here each shard is written in
parts by the process that has it, and read in parts into the buffer that it will
be, whatever the shards were when it was written. A folder holds a file of raw
values (C order) for each shard, and `index.json`, which says what each is.
"""

from collections.abc import Iterator, Mapping
import functools
import json
import os
from typing import Any, NamedTuple

from esmm_jax.json_files import write_json
from esmm_jax.types import Array
import jax
import jax.numpy as jnp
import numpy as np

INDEX = 'index.json'
# Bytes that are on their way at a time.
_PART = 1 << 26

# Of each axis, the first and the one after the last.
Region = tuple[tuple[int, int], ...]


class Saved(NamedTuple):
  """An array in a folder.

  Attributes:
    shape: Its shape.
    dtype: Its dtype.
    shards: File -> the region that it holds; together they are the array.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  shards: dict[str, Region]


def write(
    folder: str, arrays: Mapping[str, jax.Array], num_rows: int | None = None
) -> None:
  """Writes this process's shards of arrays, and the first process the index.

  Args:
    folder: An existing folder.
    arrays: Name -> array; a name is part of file names.
    num_rows: Rows of the arrays that are written; those behind them only make
      all devices' parts of one size.

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
          _write_shard(path, shard.data, last - first)
  if jax.process_index() == 0:
    write_json(os.path.join(folder, INDEX), index)


def saved(folder: str) -> dict[str, Saved]:
  """What a folder holds, by name."""
  with open(os.path.join(folder, INDEX), encoding='utf-8') as f:
    index = json.load(f)
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
  """The shape of an array's first `num_rows` rows; None: of all."""
  return shape if num_rows is None else (min(shape[0], num_rows), *shape[1:])


def read(
    folder: str,
    entry: Saved,
    sharding: jax.sharding.Sharding,
    num_rows: int | None = None,
) -> Array:
  """Reads an array to where a sharding says, in parts.

  Args:
    folder: Where it was written.
    entry: What `saved` says of it.
    sharding: Its devices; they need not be those that wrote it.
    num_rows: Rows of the result; those that were not written are 0. None: as
      many as were written.

  Returns:
    The array.
  """
  shape = entry.shape if num_rows is None else (num_rows, *entry.shape[1:])
  indices = sharding.addressable_devices_indices_map(shape)
  shards = [
      _read_shard(folder, entry, _region(index, shape), device)
      for device, index in indices.items()
  ]
  return jax.make_array_from_single_device_arrays(shape, sharding, shards)


def _write_shard(path: str, data: jax.Array, num_rows: int) -> None:
  """Writes the first rows of one device's shard."""
  on_host = data.device.platform == 'cpu'  # Then NumPy sees it, without a copy.
  data = np.asarray(data) if on_host else data
  with open(path, 'wb') as f:
    shape = (num_rows, *data.shape[1:])
    for first, last in _parts(shape, data.dtype.itemsize):
      part = np.ascontiguousarray(data[first:last])
      f.write(part.reshape(-1).view(np.uint8))


def _read_shard(
    folder: str, entry: Saved, region: Region, device: jax.Device
) -> Array:
  """Fills a buffer of one device from the files that hold its region."""
  shape = tuple(last - first for first, last in region)
  with jax.default_device(device):
    buffer = _zeros(shape, entry.dtype)
    for first, last in _parts(shape, entry.dtype.itemsize):
      rows = (region[0][0] + first, region[0][0] + last)
      part = np.zeros((last - first, *shape[1:]), entry.dtype)
      _read_part(folder, entry, (rows, *region[1:]), part)
      # Not the host's own memory, which is used again.
      part = jax.device_put(part, device, may_alias=False)
      buffer = _put(buffer, part, first)
      buffer.block_until_ready()
  return buffer


def _read_part(
    folder: str, entry: Saved, region: Region, out: np.ndarray
) -> None:
  """Copies a region of the array from all files that have some of it."""
  for file, held in entry.shards.items():
    common = [
        (max(a, c), min(b, d)) for (a, b), (c, d) in zip(region, held)
    ]
    if any(first >= last for first, last in common):
      continue
    (first, last), *rest = common
    widths = [d - c for c, d in held[1:]]
    row = int(np.prod(widths, dtype=np.int64))
    with open(os.path.join(folder, file), 'rb') as f:
      f.seek((first - held[0][0]) * row * entry.dtype.itemsize)
      found = np.fromfile(f, entry.dtype, (last - first) * row)
    found = found.reshape(last - first, *widths)
    source = [slice(a - c, b - c) for (a, b), (c, _) in zip(rest, held[1:])]
    target = [slice(a - c, b - c) for (a, b), (c, _) in zip(common, region)]
    out[tuple(target)] = found[(slice(None), *source)]


def _parts(shape: tuple[int, ...], itemsize: int) -> Iterator[tuple[int, int]]:
  """First and last row of parts of about `_PART` bytes."""
  row = max(1, int(np.prod(shape[1:], dtype=np.int64))) * itemsize
  step = max(1, _PART // row)
  for first in range(0, shape[0], step):
    yield first, min(shape[0], first + step)


def _regions(
    sharding: jax.sharding.Sharding, shape: tuple[int, ...]
) -> list[Region]:
  """The different shards of all devices, of other processes too."""
  indices = sharding.devices_indices_map(shape).values()
  return sorted({_region(index, shape) for index in indices})


def _within(regions: list[Region], num_rows: int) -> list[Region]:
  """What of regions is in the first `num_rows` rows."""
  return [
      ((first, min(last, num_rows)), *rest)
      for (first, last), *rest in regions
      if first < num_rows
  ]


def _region(index: tuple[slice, ...], shape: tuple[int, ...]) -> Region:
  """A shard's slices as numbers."""
  return tuple(s.indices(n)[:2] for s, n in zip(index, shape, strict=True))


def _file(name: str, region: Region) -> str:
  """Name of the file of a shard: the array and where the shard begins."""
  return '-'.join([name, *(str(first) for first, _ in region)]) + '.bin'


@functools.partial(jax.jit, static_argnums=(0, 1))
def _zeros(shape: tuple[int, ...], dtype: Any) -> Array:
  return jnp.zeros(shape, dtype)


@functools.partial(jax.jit, donate_argnums=0)
def _put(buffer: Array, part: Array, first: int) -> Array:
  start = (first, *(0,) * (buffer.ndim - 1))
  return jax.lax.dynamic_update_slice(buffer, part, start)
