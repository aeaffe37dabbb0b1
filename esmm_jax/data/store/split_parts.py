"""The shards that a split such as `train[:10%]` is made of."""

from collections.abc import Sequence
import os

from esmm_jax.types import InputError
import tensorflow_datasets as tfds
from tensorflow_datasets.core.data_sources import base as tfds_sources

# Folder of a shard, rows skipped at its beginning, rows taken.
Part = tuple[str, int, int]


def find(
    info: tfds.core.DatasetInfo, name: str, split: str, sub: str
) -> list[Part]:
  """Finds the shards of a split.

  Args:
    info: Of the prepared data.
    name: Of the data set, for messages.
    split: `train`, `train[:10%]`, `train+valid`.
    sub: Folder inside each shard, or ''.

  Raises:
    InputError: There is no such split, or it has no rows.
  """
  try:
    instructions = tfds_sources.file_instructions(info, split)
  except (ValueError, KeyError) as e:
    raise InputError(
        f'{name} has no split {split!r}; there are {sorted(info.splits)}, and'
        ' parts of them like "train[:10%]".'
    ) from e
  parts = []
  for i in instructions:
    count = i.examples_in_shard
    take = count - i.skip if i.take in (None, -1) else i.take
    if take < 0:
      raise InputError(
          f'{name}: split {split!r} has a part that ends before it begins.'
      )
    parts.append((os.path.join(os.fspath(i.filename), sub), i.skip, take))
  if not sum(p[2] for p in parts):
    raise InputError(f'{name}: split {split!r} has no rows.')
  return parts


def num_shared(parts: Sequence[Part], others: Sequence[Part]) -> int:
  """Counts the rows that two splits of one data set have in common."""
  return sum(
      max(min(skip + take, skip_2 + take_2) - max(skip, skip_2), 0)
      for shard, skip, take in parts
      for shard_2, skip_2, take_2 in others
      if shard == shard_2
  )
