"""The parts of what the first pass has stored: groups, and rows by bucket."""

from collections.abc import Sequence
import itertools
from typing import NamedTuple

from esmm_jax.data.ali_ccp.first_pass import INDEX
from esmm_jax.data.ali_ccp.pair import Pair
from esmm_jax.data.store.column_files import Pile
from esmm_jax.data.store.columns import concatenate_rows, take_rows
from esmm_jax.data.store.sessions import GroupIndex
from esmm_jax.types import Columns, Ragged
import numpy as np

SHARD_ROWS = 1 << 18  # Lower bound of all shards but the last one.
# Parts for each worker, so that a slow one is not waited for.
_FOR_EACH = 4


class GroupPart(NamedTuple):
  """A part of the group table of a split.

  Attributes:
    number: From 0.
    folder: Of its columns, with raw ids.
    first: The first row.
    stop: One past the last row.
  """

  number: int
  folder: str
  first: int
  stop: int


class RowPart(NamedTuple):
  """Rows of a split, in some buckets.

  Attributes:
    number: From 0.
    buckets: The piles of each.
  """

  number: int
  buckets: Sequence[list[Pile]]


def group_parts(pair: Pair, split: str) -> list[GroupPart]:
  """Returns the parts of the group table: those that were read."""
  ends = [0, *itertools.accumulate(n for _, n in pair.tables[split])]
  return [
      GroupPart(k, folder, *ends[k : k + 2])
      for k, (folder, _) in enumerate(pair.tables[split])
  ]


def shard_parts(pair: Pair, split: str) -> list[RowPart]:
  """Returns the rows of each shard; `SHARD_ROWS` are full with a bucket."""
  parts, buckets, num = [], [], 0
  for piles, rows in zip(pair.piles[split], pair.num_rows[split].tolist()):
    buckets.append(piles)
    num += rows
    if num >= SHARD_ROWS:
      parts.append(RowPart(len(parts), buckets))
      buckets, num = [], 0
  return parts + ([RowPart(len(parts), buckets)] if num else [])


def count_parts(pair: Pair, split: str, workers: int) -> list[RowPart]:
  """Returns all rows in as many parts as workers want to count them."""
  num = 1 if workers == 1 else _FOR_EACH * workers
  every = pair.piles[split]
  ends = [len(every) * k // num for k in range(num + 1)]
  return [
      RowPart(k, every[low:high])
      for k, (low, high) in enumerate(zip(ends, ends[1:]))
      if any(every[low:high])
  ]


def rows_of(
    piles: Sequence[Pile], groups: GroupIndex
) -> tuple[Columns, np.ndarray]:
  """Reads the rows of a bucket that have a group.

  Args:
    piles: Of the bucket, from all parts, in their order.
    groups: Of the split.

  Returns:
    Their columns, with raw ids; the group of each, int64 [n].
  """
  if not piles:
    return {}, np.zeros(0, np.int64)
  columns = concatenate_rows([pile.take() for pile in piles])
  group = groups.find(columns[INDEX])
  if groups.drops:
    index = np.flatnonzero(group >= 0)
    columns, group = take_rows(columns, index), group[index]
  return columns, group


def values(column: np.ndarray | Ragged) -> np.ndarray:
  """Returns the ids of a column."""
  return column.values if isinstance(column, Ragged) else column
