"""A TFDS builder that stores columns: true row counts, slicing, no TensorFlow.

A shard of a split is a folder of `.npy` files, one a column; they are opened
memory-mapped, so a data set larger than memory costs what is read of it.

    DIR/NAME/CONFIG/VERSION/NAME-train.columns-00000-of-00002/
        user.npy  click.npy ...            int32, float32 or int8 [n]
        history.values.npy  .offsets.npy  .weights.npy     a list column
        truth/p_ctr.npy ...                what only a simulator can know
    DIR/NAME/CONFIG/VERSION/NAME-train.groups/
        profile.npy ...                    what the rows of a session share

TFDS gives the name, version, splits with `train[:10%]` and `train+valid`,
metadata, citation and the all-or-nothing build (a folder appears when it is
complete). Everything is usable without TensorFlow. The truth columns are in
their own folder and come out of `truth_source` alone. Where fields are
`by_group`, a split has one group table, and the column `Schema.group` of a
shard says which row of it goes with each of its rows: the join is this number.
"""

import abc
from collections.abc import Iterable, Iterator
import contextlib
import functools
import io
import json
import logging
import os
from typing import Any

from esmm_jax.data.store import digests, unfinished
from esmm_jax.data.store.columns import concatenate, cut, DAMAGED, open_folder
from esmm_jax.data.store.feature_columns import take
from esmm_jax.data.store.shards import TRUTH, write_shard
from esmm_jax.schema import Schema
from esmm_jax.types import Columns, InputError, Ragged
import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import naming
from tensorflow_datasets.core.data_sources import base as tfds_sources
from tqdm import tqdm

TEMPLATE = '{DATASET}-{SPLIT}.columns-{SHARD_X_OF_Y}'
_GROUPS = 'groups'


class ColumnarSource:
  """Rows of a split as columns, memory-mapped.

  `source[i]` is one example, as TFDS data sources give it. The package itself
  reads `source.read(start, stop)`: columns, views of the files where the range
  lies in one shard, with no work per example.

  Attributes:
    split: What was asked for, `train[:10%]` say.
    names: The columns.
  """

  def __init__(
      self,
      parts: list[tuple[str, int, int]],
      split: str,
      index: str = '',
      group_folders: list[str] | None = None,
  ):
    """Opens the parts of a split, one after the other.

    Args:
      parts: (folder, first row, number of rows) of each.
      split: What they are.
      index: The column that holds rows of the group table, or ''.
      group_folders: The group table of each part.
    """
    self.split = split
    self._parts = []
    ends = []
    for folder, skip, count in parts:
      self._parts.append((open_folder(folder), skip))
      ends.append(count)
    self._ends = np.cumsum([0] + ends)
    self.names = sorted(self._parts[0][0]) if self._parts else []
    self._index = index
    # Parts of other splits have their groups behind those of the first.
    self._tables = {f: open_folder(f) for f in group_folders or ()}
    first, sizes = {}, 0
    for folder, columns in self._tables.items():
      first[folder] = sizes
      sizes += len(next(iter(columns.values())))
    self.num_groups = sizes
    self._first_group = [first[f] for f in group_folders or ()]

  @functools.cached_property
  def groups(self) -> Columns:
    """The group table, memory-mapped where the rows are of one split."""
    tables = list(self._tables.values())
    names = tables[0] if tables else ()
    return {name: concatenate([t[name] for t in tables]) for name in names}

  def __len__(self) -> int:
    return int(self._ends[-1])

  def __repr__(self) -> str:
    return f'ColumnarSource(split={self.split!r}, rows={len(self)})'

  def __getitem__(self, index: int) -> dict[str, Any]:
    index = int(index)
    if not 0 <= index < len(self):
      raise IndexError(f'Row {index} of {len(self)}.')
    columns = self.joined(index, index + 1)
    return {
        name: c.values[c.offsets[0] : c.offsets[1]]
        if isinstance(c, Ragged)
        else c[0]
        for name, c in columns.items()
    }

  def __getitems__(self, indices: Iterable[int]) -> list[dict[str, Any]]:
    return [self[i] for i in indices]

  def __iter__(self) -> Iterator[dict[str, Any]]:
    return (self[i] for i in range(len(self)))

  def joined(self, start: int, stop: int) -> Columns:
    """Like `read`, with what the rows' groups have. Copies it to each row."""
    columns = self.read(start, stop)
    if not self._index:
      return columns
    of = columns[self._index]
    return columns | {
        name: take(c, of) if isinstance(c, Ragged) else c[of]
        for name, c in self.groups.items()
    }

  def read(
      self, start: int, stop: int, names: Iterable[str] | None = None
  ) -> Columns:
    """Columns of rows [start, stop); list offsets start at 0.

    Args:
      start: First row.
      stop: One past the last row; cut to the length of the source.
      names: The columns wanted; default all.

    Returns:
      Column name -> array [stop - start] or `Ragged`, read-only.
    """
    stop = min(stop, len(self))
    names = self.names if names is None else list(names)
    pieces = {name: [] for name in names}
    first = int(np.searchsorted(self._ends, start, side='right')) - 1
    for k in range(max(first, 0), len(self._parts)):
      columns, skip = self._parts[k]
      low = max(start - self._ends[k], 0)
      high = min(stop, self._ends[k + 1]) - self._ends[k]
      if low >= high and k > first:
        break
      for name in names:
        if name not in columns:
          raise InputError(f'{self}: a shard has no {name!r}. {DAMAGED}')
        piece = cut(columns[name], skip + low, skip + high)
        if name == self._index and self._first_group[k]:
          piece = piece + np.int32(self._first_group[k])
        pieces[name].append(piece)
    return {name: concatenate(piece) for name, piece in pieces.items()}


class ColumnarBuilder(tfds.core.DatasetBuilder, abc.ABC):
  """Base of the package's data sets.

  A subclass gives `_describe` (schema and texts) and `_generate_splits`.

  Attributes:
    columns_sha256: Of the columns, after `prepare`.
  """

  VERSION = tfds.core.Version('1.1.0')

  def __init__(self, **kwargs: Any):
    # TFDS warns of every config that is not one of a fixed list.
    logger = logging.getLogger('absl')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
      super().__init__(**kwargs)
    except Exception:  # TFDS has no error of its own for damaged files.
      path = getattr(self, '_data_dir', None)
      if path and os.path.isdir(path):
        digests.folder_hash(os.fspath(path))
      raise
    finally:
      logger.setLevel(level)

  @abc.abstractmethod
  def _describe(self) -> tuple[Schema, dict[str, str]]:
    """The schema, with the sizes that are known, and the texts for TFDS.

    These are `description`, `citation` and `homepage`.
    """

  @abc.abstractmethod
  def _generate_splits(
      self,
  ) -> tuple[Schema, dict[str, Iterator[Columns]], dict[str, Any]]:
    """Reads or makes the data.

    Returns:
      The schema with every vocabulary size; for each split an iterator over
      its shards (columns of any number of rows); facts to keep in `report`.
    """

  def _num_rows(self) -> int:
    """Rows that will be generated, for the progress bar; 0 if not known."""
    return 0

  def _bar(self) -> tqdm:
    """The progress bar; counts rows, unless a subclass counts for itself."""
    return tqdm(
        total=self._num_rows() or None,
        desc=f'Preparing {self.name}',
        unit=' rows',
        unit_scale=True,
        disable=None,
    )

  def _wrote(self, num_rows: int) -> None:
    """Moves the progress bar by rows that were written."""
    self._progress.update(num_rows)

  def group_folder(self, split: str) -> str:
    """Where the group table of a split is, of data that has one."""
    return os.path.join(
        os.fspath(self.data_path), f'{self.name}-{split}.{_GROUPS}'
    )

  @property
  def encoder_folder(self) -> str:
    """What makes ids of raw values, which runs keep a copy of; '' if none."""
    return ''

  @property
  def schema(self) -> Schema:
    """The schema of the prepared data."""
    return Schema.from_dict(self.info.metadata['schema'])

  @property
  def report(self) -> dict[str, Any]:
    """What was counted while the data was prepared."""
    return self.info.metadata['report']

  def report_lines(self) -> Iterator[str]:
    """What the data set holds, for people to read, line by line."""
    for name, split in self.info.splits.items():
      yield f'{name}: {split.num_examples:,} rows'
    yield f'report: {json.dumps(self.report, indent=2)}'

  def prepare(self) -> 'ColumnarBuilder':
    """Builds the data set unless it is there; returns the builder.

    What processes of this machine left behind that were killed while they built
    the same data set is removed.

    Raises:
      InputError: It is there, and not as it was written.
    """
    unfinished.remove(os.fspath(self.data_path))
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints there.
      self.download_and_prepare()
    self.columns_sha256 = digests.folder_hash(os.fspath(self.data_path))
    return self

  def _info(self) -> tfds.core.DatasetInfo:
    schema, texts = self._describe()
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
    return self.dataset_info_from_configs(
        features=tfds.features.FeaturesDict(features),
        metadata=tfds.core.MetadataDict(schema=schema.to_dict(), report={}),
        **texts,
    )

  def _download_and_prepare(self, dl_manager, download_config=None) -> None:
    del dl_manager, download_config
    infos = []
    unfinished.mark(os.fspath(self.data_path))
    with self._bar() as bar:
      self._progress = bar
      schema, splits, report = self._generate_splits()
      for split, shards in splits.items():
        infos.append(self._write_split(split, schema, shards))
    unfinished.unmark(os.fspath(self.data_path))
    self.info.set_splits(tfds.core.SplitDict(infos))
    self.info.metadata.update(schema=schema.to_dict(), report=report)

  def _write_split(
      self, split: str, schema: Schema, shards: Iterable[Columns]
  ) -> tfds.core.SplitInfo:
    template = naming.ShardedFileTemplate(
        data_dir=self.data_path,
        dataset_name=self.name,
        split=split,
        template=TEMPLATE,
        filetype_suffix='columns',
    )
    lengths, written, folders = [], 0, []
    for k, columns in enumerate(shards):
      folder = os.path.join(os.fspath(self.data_path), f'part-{split}-{k}')
      written += write_shard(folder, schema, columns)
      lengths.append(len(columns[schema.labels[0]]))
      folders.append(folder)
      self._wrote(lengths[-1])
    if not sum(lengths):
      raise InputError(
          f'{self.name}: split {split!r} is empty; no row fell into it. Check'
          ' the split settings against the days or rows of the raw data.'
      )
    for k, folder in enumerate(folders):
      final = template.sharded_filepath(shard_index=k, num_shards=len(folders))
      os.rename(folder, os.fspath(final))
    return tfds.core.SplitInfo(
        name=split,
        shard_lengths=lengths,
        num_bytes=written,
        filename_template=template,
    )

  def as_data_source(
      self, split: str | None = None, **unused: Any
  ) -> ColumnarSource | dict[str, ColumnarSource]:
    """Features and labels of a split, or of every split; never the truth."""
    if split is None:
      return {s: self.as_data_source(s) for s in self.info.splits}
    parts = self._parts(split, '')
    if not any(f.by_group for f in self.schema.fields):
      return ColumnarSource(parts, str(split))
    # NAME-train.columns-00000-of-00002 has NAME-train.groups beside it.
    tables = [f.rpartition('.columns-')[0] + f'.{_GROUPS}' for f, _, _ in parts]
    return ColumnarSource(parts, str(split), self.schema.group, tables)

  def truth_source(self, split: str) -> ColumnarSource | None:
    """The truth columns of the same rows, or None where there are none."""
    if not self.schema.truth:
      return None
    return ColumnarSource(self._parts(split, TRUTH), str(split))

  def _parts(self, split: str, sub: str) -> list[tuple[str, int, int]]:
    try:
      instructions = tfds_sources.file_instructions(self.info, split)
    except (ValueError, KeyError) as e:
      raise InputError(
          f'{self.name} has no split {split!r}; there are'
          f' {sorted(self.info.splits)}, and parts of them like "train[:10%]".'
      ) from e
    parts = []
    for i in instructions:
      count = i.examples_in_shard
      take = count - i.skip if i.take in (None, -1) else i.take
      parts.append((os.path.join(os.fspath(i.filename), sub), i.skip, take))
    if not sum(p[2] for p in parts):
      raise InputError(f'{self.name}: split {split!r} has no rows.')
    return parts

  def _as_dataset(self, split, **unused: Any):
    import tensorflow as tf  # Only for those who ask for tf.data.

    source = self.as_data_source(str(split))
    columns = source.joined(0, len(source))
    flat = {
        name: tf.RaggedTensor.from_row_splits(c.values, c.offsets)
        if isinstance(c, Ragged)
        else c
        for name, c in columns.items()
    }
    return tf.data.Dataset.from_tensor_slices(flat)
