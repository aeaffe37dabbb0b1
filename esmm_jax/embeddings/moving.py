"""Reads rows of saved arrays into other rows of arrays on devices.

For a table that has grown: the rows of each of its vocabularies lie elsewhere.
As in `files`, no copy of an array is made, and each process fills its part.
"""

from collections.abc import Iterator, Sequence
import functools
from typing import NamedTuple

from esmm_jax.embeddings.files import read_region, Saved
from esmm_jax.types import Array
import jax
import numpy as np

# Bytes of rows that are read at a time.
_PART = 1 << 26


class Move(NamedTuple):
  """Consecutive rows that move together.

  Attributes:
    source: First row in the saved array.
    target: First row in the array that they are read into.
    num: Number of rows.
  """

  source: int
  target: int
  num: int


def read_rows(
    folder: str,
    entry: Saved,
    array: jax.Array,
    moves: Sequence[Move],
    *,
    part_bytes: int = _PART,
) -> Array:
  """Overwrites rows of an array with those of a saved one.

  Args:
    folder: A folder that `files.write` filled.
    entry: The saved array's entry in `files.saved(folder)`, [V', 1, ...].
    array: [V, R, ...], every replica gets the same rows; consumed.
    moves: Which rows, by ascending target, without overlap.
    part_bytes: Bytes that are read at a time.

  Returns:
    The array with the rows.
  """
  shards = []
  for shard in array.addressable_shards:
    low, high, _ = shard.index[0].indices(array.shape[0])
    inside = list(_within(moves, low, high))
    buffer = shard.data
    row = entry.dtype.itemsize * int(np.prod(buffer.shape[1:]))
    size = max(1, min(part_bytes // row, sum(m.num for m in inside)))
    for part in _parts(inside, size):
      buffer = _fill(folder, entry, buffer, part, low, size)
    shards.append(buffer)
  return jax.make_array_from_single_device_arrays(
      array.shape, array.sharding, shards
  )


def _within(moves: Sequence[Move], low: int, high: int) -> Iterator[Move]:
  """Yields the parts of moves whose targets are rows [low, high)."""
  for m in moves:
    first, last = max(m.target, low), min(m.target + m.num, high)
    if first < last:
      yield Move(m.source + first - m.target, first, last - first)


def _parts(moves: Sequence[Move], size: int) -> Iterator[list[Move]]:
  """Yields moves of `size` rows together; the last ones may have fewer."""
  part, room = [], size
  for m in moves:
    while m.num:
      num = min(m.num, room)
      part.append(Move(m.source, m.target, num))
      m = Move(m.source + num, m.target + num, m.num - num)
      room -= num
      if not room:
        yield part
        part, room = [], size
  if part:
    yield part


def _fill(
    folder: str,
    entry: Saved,
    buffer: jax.Array,
    moves: Sequence[Move],
    first: int,
    size: int,
) -> jax.Array:
  """Writes the rows of moves into a shard whose first row is `first`."""
  rest = entry.shape[1:]
  rows = np.zeros((size, *rest), entry.dtype)
  # Rows without a value lie behind the shard, where a scatter drops them.
  at = len(buffer) + np.arange(size, dtype=np.int32)
  begin = 0
  for m in moves:
    region = ((m.source, m.source + m.num), *((0, n) for n in rest))
    read_region(folder, entry, region, rows[begin : begin + m.num])
    at[begin : begin + m.num] = np.arange(m.num) + (m.target - first)
    begin += m.num
  rows = np.broadcast_to(rows, (size, *buffer.shape[1:]))
  with jax.default_device(next(iter(buffer.devices()))):
    return _write_rows(buffer, at, rows)


@functools.partial(jax.jit, donate_argnums=0)
def _write_rows(buffer: Array, at: Array, rows: Array) -> Array:
  return buffer.at[at].set(
      rows, mode='drop', unique_indices=True, indices_are_sorted=True
  )
