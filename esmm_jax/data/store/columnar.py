"""A TFDS builder that stores columns: true row counts, slicing, no TensorFlow.

A shard of a split is a folder of `.npy` files, one for each column.

    DIR/NAME/CONFIG/VERSION/NAME-train.columns-00000-of-00002/
        user.npy  click.npy ...            int32, float32 or int8 [n]
        history.values.npy  .offsets.npy  .weights.npy     a list column
        truth/p_ctr.npy ...                known to a simulator alone
    DIR/NAME/CONFIG/VERSION/NAME-train.groups/
        profile.npy ...                    shared by the rows of a session

TFDS gives the name, version, splits with `train[:10%]` and `train+valid`,
metadata, citation and the all-or-nothing build (a folder appears when it is
complete). TensorFlow is never imported. The truth columns are in their own
folder and come out of `truth_source` alone. Where fields are `by_group`, a
split has one group table, and the column `Schema.group` of a shard holds the
row of that table for each of its own rows: the join is this number.
"""

import abc
from collections.abc import Iterable, Iterator
import contextlib
import io
import json
import logging
import os
from typing import Any

from esmm_jax import checksums, streams, system_errors
from esmm_jax.data.store import split_parts, unfinished
from esmm_jax.data.store.shards import TRUTH, write_shard
from esmm_jax.data.store.source import ColumnarSource
from esmm_jax.schema import Schema
from esmm_jax.types import Columns, InputError
import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import naming
from tqdm import tqdm

TEMPLATE = '{DATASET}-{SPLIT}.columns-{SHARD_X_OF_Y}'
_GROUPS = 'groups'


class ColumnarBuilder(tfds.core.DatasetBuilder, abc.ABC):
  """Base of the package's data sets.

  A subclass gives `_describe` (schema and texts) and `_generate_splits`.

  Attributes:
    columns_sha256: The hash of all columns (`checksums.folder_hash`); set by
      `prepare`.
    raw_warnings: What the raw files could not be compared by, a line each.
  """

  VERSION = tfds.core.Version('1.1.0')

  def __init__(self, **kwargs: Any):
    self.raw_warnings: list[str] = []
    # TFDS warns of every config that is not in a fixed list; ours are made from
    # options.
    logger = logging.getLogger('absl')
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
      super().__init__(**kwargs)
    except Exception:
      # TFDS raises whatever a damaged file of its own leads to; comparing the
      # checksums names that file instead.
      path = getattr(self, '_data_dir', None)
      if path and os.path.isdir(path):
        checksums.folder_hash(os.fspath(path))
      raise
    finally:
      logger.setLevel(level)

  @abc.abstractmethod
  def _describe(self) -> tuple[Schema, dict[str, str]]:
    """Returns the schema, with the sizes known so far, and texts for TFDS.

    The texts are `description`, `citation` and `homepage`.
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
    """Returns the rows to generate, for the progress bar; 0 if not known."""
    return 0

  def _bar(self) -> tqdm:
    """Makes the progress bar; a subclass may count other things than rows."""
    return streams.bar(
        total=self._num_rows() or None,
        desc=f'Preparing {self.name}',
        unit=' rows',
        unit_scale=True,
        disable=None,
    )

  def _wrote(self, num_rows: int) -> None:
    """Advances the progress bar by rows that were written."""
    self._progress.update(num_rows)

  def group_folder(self, split: str) -> str:
    """Returns the folder of a split's group table, of data that has one."""
    return os.path.join(
        os.fspath(self.data_path), f'{self.name}-{split}.{_GROUPS}'
    )

  @property
  def encoder_folder(self) -> str:
    """Folder of the encoder of raw values, which runs copy; '' if none."""
    return ''

  def encoder_sha256(self) -> str:
    """Hashes the encoder of raw values, whatever files hold it; '' if none."""
    return ''

  @property
  def period(self) -> str:
    """Column with the key (a day) of the rows that AUC and GAUC compare.

    '' for all rows of a split. A period is needed where inputs tell of the
    labels of earlier rows of the same split.
    """
    return ''

  @property
  def schema(self) -> Schema:
    """The schema of the prepared data."""
    return Schema.from_dict(self.info.metadata['schema'])

  @property
  def split_names(self) -> tuple[str, ...]:
    """Names of the splits; before they are prepared, those that may be."""
    return tuple(self.info.splits or self._expected_splits())

  def _expected_splits(self) -> Iterable[str]:
    """Returns the splits that preparing can make."""
    return ('train', 'valid', 'test')

  @property
  def warnings(self) -> list[str]:
    """Texts for people, of what the data lacks; each run says them."""
    return [*self.report.get('warnings', ()), *self.raw_warnings]

  @property
  def report(self) -> dict[str, Any]:
    """The counts and facts noted while the data was prepared."""
    return self.info.metadata['report']

  def report_lines(self) -> Iterator[str]:
    """Yields the lines of a description of the data set for people."""
    for name, split in self.info.splits.items():
      yield f'{name}: {split.num_examples:,} rows'
    yield f'report: {json.dumps(self.report, indent=2)}'

  def prepare(self) -> 'ColumnarBuilder':
    """Builds the data set unless it exists; returns the builder.

    Removes the folders of processes of this machine that were killed while
    they built the same data set.

    Raises:
      InputError: It exists, but is not as it was written.
    """
    unfinished.remove(os.fspath(self.data_path))
    with (
        contextlib.redirect_stdout(io.StringIO()),  # TFDS prints there.
        system_errors.naming(os.fspath(self.data_path)),
    ):
      self.download_and_prepare()
    self.columns_sha256 = checksums.folder_hash(os.fspath(self.data_path))
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
    # The names hold the number of shards, which is known only at the end.
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
    """Opens features and labels of a split, or of every split.

    Args:
      split: `train`, `train[:10%]`, `train+valid`; None: each split by name.
      **unused: Options that TFDS passes.

    Returns:
      A source without the truth columns, or a dict of them.

    Raises:
      InputError: There is no such split, or it has no rows.
    """
    if split is None:
      return {s: self.as_data_source(s) for s in self.info.splits}
    parts = self._parts(split, '')
    if not any(f.by_group for f in self.schema.fields):
      return ColumnarSource(parts, str(split))
    # NAME-train.columns-00000-of-00002 has NAME-train.groups beside it.
    tables = [f.rpartition('.columns-')[0] + f'.{_GROUPS}' for f, _, _ in parts]
    return ColumnarSource(parts, str(split), self.schema.group, tables)

  def truth_source(self, split: str) -> ColumnarSource | None:
    """Opens the truth columns of the same rows; None if the data has none."""
    if not self.schema.truth:
      return None
    return ColumnarSource(self._parts(split, TRUTH), str(split))

  def num_shared(self, split: str, other: str) -> int:
    """Counts the rows that two splits have in common.

    Raises:
      InputError: See `as_data_source`.
    """
    return split_parts.num_shared(
        self._parts(split, ''), self._parts(other, '')
    )

  def _parts(self, split: str, sub: str) -> list[tuple[str, int, int]]:
    return split_parts.find(self.info, self.name, split, sub)

  def _as_dataset(self, *unused: Any, **unused_options: Any):
    """Refuses; TFDS requires the method of every builder."""
    raise NotImplementedError(
        'There is no tf.data.Dataset of these columns; use as_data_source().'
    )
