"""Writes the shards of a split: folders of columns, checked before."""

from collections.abc import Callable, Iterable, Mapping
import os
from typing import NamedTuple

from esmm_jax.data.store.checks import check_columns
from esmm_jax.data.store.columns import write_column
from esmm_jax.schema import Schema
from esmm_jax.types import Columns, InputError
import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import naming

TRUTH = 'truth'
_TEMPLATE = '{DATASET}-{SPLIT}.columns-{SHARD_X_OF_Y}'


class Written(NamedTuple):
  """A shard that `write_shard` has written, maybe in another process.

  Attributes:
    folder: On the file system of the data set; it is moved there.
    num_rows: Of the shard.
    num_bytes: Of its files.
  """

  folder: str
  num_rows: int
  num_bytes: int


Shard = Columns | Written


def described(
    builder: tfds.core.DatasetBuilder,
    schema: Schema,
    texts: Mapping[str, str],
) -> tfds.core.DatasetInfo:
  """Describes a data set to TFDS.

  Args:
    builder: Of the data set.
    schema: Its fields and labels.
    texts: Fields of the description.
  """
  features = {
      t.label: tfds.features.Scalar(
          np.int8 if t.kind == 'binary' else np.float32
      )
      for t in schema.tasks
  }
  for field in schema.fields:
    dtype = np.float32 if field.kind == 'float' else np.int32
    features[field.name] = (
        tfds.features.Tensor(shape=(None,), dtype=dtype)
        if field.kind == 'ids'
        else tfds.features.Scalar(dtype)
    )
  info = builder.dataset_info_from_configs(
      features=tfds.features.FeaturesDict(features),
      metadata=tfds.core.MetadataDict(schema=schema.to_dict(), report={}),
      **texts,
  )
  # TFDS would look for more on its server, which has none of these data sets,
  # and leave an empty temporary folder behind.
  info.initialize_from_bucket = lambda: None
  return info


def write_split(
    folder: str,
    name: str,
    split: str,
    schema: Schema,
    shards: Iterable[Shard],
    wrote: Callable[[int], None],
) -> tfds.core.SplitInfo:
  """Writes the shards of a split.

  Args:
    folder: Of the data set.
    name: Of the data set.
    split: Its name.
    schema: See `write_shard`.
    shards: The columns of each, or the folder where they are.
    wrote: Gets the rows of each shard when it is written.

  Raises:
    InputError: The split has no rows, or see `write_shard`.
  """
  template = naming.ShardedFileTemplate(
      data_dir=folder,
      dataset_name=name,
      split=split,
      template=_TEMPLATE,
      filetype_suffix='columns',
  )
  lengths, written, folders = [], 0, []
  # The names hold the number of shards, which is known only at the end.
  for k, columns in enumerate(shards):
    path = os.path.join(folder, f'part-{split}-{k}')
    if isinstance(columns, Written):
      os.rename(columns.folder, path)
      written += columns.num_bytes
      lengths.append(columns.num_rows)
    else:
      written += write_shard(path, schema, columns)
      lengths.append(len(columns[schema.labels[0]]))
    folders.append(path)
    wrote(lengths[-1])
  if not sum(lengths):
    raise InputError(
        f'{name}: split {split!r} is empty; no row fell into it. Check the'
        ' split settings against the days or rows of the raw data.'
    )
  for k, path in enumerate(folders):
    final = template.sharded_filepath(shard_index=k, num_shards=len(folders))
    os.rename(path, os.fspath(final))
  return tfds.core.SplitInfo(
      name=split,
      shard_lengths=lengths,
      num_bytes=written,
      filename_template=template,
  )


def write_shard(path: str, schema: Schema, columns: Columns) -> int:
  """Checks one shard's columns and writes them. Returns the bytes written.

  Raises:
    InputError: A column is missing or has another length, an id is outside its
      vocabulary, or a label is not of its task's kind (`check_columns`).
  """
  num_rows = len(columns[schema.labels[0]])
  check_columns(schema, columns, os.path.basename(path), 0)
  os.makedirs(os.path.join(path, TRUTH) if schema.truth else path)
  total = 0
  for name, column in columns.items():
    if len(column) != num_rows:
      raise InputError(
          f'{path}: column {name!r} has {len(column)} rows, not {num_rows}.'
      )
    folder = os.path.join(path, TRUTH) if name in schema.truth else path
    total += write_column(folder, name, column)
  return total
