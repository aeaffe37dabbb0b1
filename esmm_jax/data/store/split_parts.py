"""The shards that a split such as `train[:10%]` is made of."""

from collections.abc import Callable, Mapping, Sequence
import itertools
import os
import re

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
  parts: list[Part] = []
  for term in re.split(r'\s*\+\s*', split):  # As TFDS does.
    try:
      instructions = tfds_sources.file_instructions(info, term)
    except (ValueError, KeyError) as e:
      raise InputError(
          f'{name} has no split {split!r}; there are {sorted(info.splits)}, and'
          ' parts of them like "train[:10%]".'
      ) from e
    rows = 0
    for i in instructions:
      count = i.examples_in_shard
      take = count - i.skip if i.take in (None, -1) else i.take
      rows += take
      parts.append((os.path.join(os.fspath(i.filename), sub), i.skip, take))
    if rows <= 0:  # Below 0 where it ends before it begins.
      of_sum = '' if term == split else f': {term!r}'
      raise InputError(f'{name}: split {split!r} has no rows{of_sum}.')
  return parts


def num_shared(parts: Sequence[Part], others: Sequence[Part]) -> int:
  """Counts the rows that two splits have in common.

  Args:
    parts: Those of one.
    others: Those of another one of the same data set; (): the rows that the
      first one has twice.
  """
  if not others:
    pairs = itertools.combinations(parts, 2)
  else:
    pairs = itertools.product(parts, others)
  return sum(
      max(min(skip + take, skip_2 + take_2) - max(skip, skip_2), 0)
      for (shard, skip, take), (shard_2, skip_2, take_2) in pairs
      if shard == shard_2
  )


def shared_rows(
    splits: Mapping[str, str], count: Callable[[str, str], int]
) -> list[str]:
  """Warns of splits that have rows in common, or a row twice.

  Args:
    splits: `train`, `valid`, `test` -> `train[:10%]`, say.
    count: Counts the rows that two splits have in common, or, of '', that one
      has twice.
  """
  texts = []
  for (key, split), (other_key, other) in itertools.combinations(
      splits.items(), 2
  ):
    if num := count(split, other):
      texts.append(
          f'dataset.{key}_split {split!r} and dataset.{other_key}_split'
          f' {other!r} have {num:,} rows in common: metrics on them are too'
          ' optimistic.'
      )
  for key, split in splits.items():
    if num := count(split, ''):
      texts.append(
          f'dataset.{key}_split {split!r} contains {num:,} rows twice, and they'
          ' count twice.'
      )
  return texts
