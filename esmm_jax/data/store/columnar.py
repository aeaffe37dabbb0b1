"""A TFDS builder that stores columns: true row counts, slicing, no TensorFlow.

A shard of a split is a folder of `.npy` files, one for each column.

    DIR/NAME/CONFIG/VERSION/NAME-train.columns-00000-of-00002/
        user.npy  click.npy ...            int32, float32 or int8 [n]
        history.values.npy  .offsets.npy  .weights.npy     a list column
        truth/p_ctr.npy ...                known to a simulator alone
    DIR/NAME/CONFIG/VERSION/NAME-train.groups/
        profile.npy ...                    shared by the rows of a session

TFDS gives the name, version, splits with `train[:10%]` and `train+valid`,
metadata and citation. A folder appears when it is complete and on the disk, and
one process at a time prepares it. The truth columns are in their own folder and
come out of `truth_source` alone. Where fields are `by_group`, a split has one
group table, and the column `Schema.group` of a shard holds the row of that
table for each of its own rows: the join is this number.
"""

import abc
from collections.abc import Iterable, Iterator
import json
import logging
import os
from typing import Any

from esmm_jax import streams, system_errors, whole_files
from esmm_jax.data.store import prepared_files, remote_data
from esmm_jax.data.store import split_parts, unfinished
from esmm_jax.data.store.prepared_files import is_filled, PreparedFiles
from esmm_jax.data.store.registered import Registered
from esmm_jax.data.store.shards import described, Shard, TRUTH, write_split
from esmm_jax.data.store.source import ColumnarSource
from esmm_jax.data.store.split_parts import Part
from esmm_jax.schema import Schema
from esmm_jax.types import InputError
import tensorflow_datasets as tfds
from tqdm import tqdm

_GROUPS = 'groups'


class ColumnarBuilder(Registered, abc.ABC):
  """Base of the package's data sets.

  A subclass gives `_describe` (schema and texts) and `_generate_splits`.

  Attributes:
    raw_warnings: What the raw files could not be compared by, a line each.
    files: Those of the prepared data, compared; None before it is prepared.
    no_group: Value of `Schema.group` in rows without one; None: all have one.
    history: What its histories know, see `esmm_jax.histories`; '': it has none.
  """

  VERSION = tfds.core.Version('1.1.0')
  group_period: str = ''  # Column of `Observed.group_periods`; '' for none.
  files: PreparedFiles | None = None
  no_group: int | None = None
  history: str = ''  # A subclass may have a property.
  tells_gaps = False  # Whether `report_lines` has rates and gaps by split.

  def __init__(self, **kwargs: Any):
    self.raw_warnings: list[str] = []
    # TFDS warns of configs that are in no fixed list; ours are of options.
    level = (logger := logging.getLogger('absl')).level
    logger.setLevel(logging.ERROR)
    try:
      super().__init__(**kwargs)
      _ = (self.schema, self.report) if self.info.splits else ()
    except InputError:
      raise
    except Exception as e:
      # TFDS raises whatever a damaged file of its own leads to.
      folder = os.fspath(self.data_path)
      if is_filled(folder):
        raise prepared_files.undescribed(folder, e) from e
      raise
    finally:
      logger.setLevel(level)
    if self.info.splits:
      self._check_same_files()

  @abc.abstractmethod
  def _describe(self) -> tuple[Schema, dict[str, str]]:
    """Returns the schema, with the sizes known so far, and texts for TFDS.

    The texts are `description`, `citation` and `homepage`.
    """

  @abc.abstractmethod
  def _generate_splits(
      self,
  ) -> tuple[Schema, dict[str, Iterator[Shard]], dict[str, Any]]:
    """Reads or makes the data.

    Returns:
      The schema with every vocabulary size; for each split an iterator over
      its shards, of any number of rows; facts to keep in `report`.
    """

  def _check_same_files(self) -> None:
    """Refuses raw files that are not those the data was prepared from."""

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
    name = f'{self.name}-{split}.{_GROUPS}'
    return os.path.join(os.fspath(self.data_path), name)

  @property
  def encoder_folder(self) -> str:
    """Folder of the encoder of raw values, which runs copy; '' if none."""
    return ''

  def encoder_hashes(self) -> dict[str, str]:
    """Hashes the encoder of raw values, whatever files hold it.

    Returns:
      `encoder_sha256`: of its values; `encoder_options_sha256`: of how it reads
      columns, and of its counts. '' without an encoder.
    """
    return {'encoder_sha256': '', 'encoder_options_sha256': ''}

  @property
  def period(self) -> str:
    """Column with the key (a day) of the rows that AUC and GAUC compare.

    '' for all rows of a split; needed where inputs tell of its earlier labels.
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
    noted, files = self.report.get('warnings', ()), self.files
    return [*noted, *self.raw_warnings, *(files.warnings if files else ())]

  @property
  def report(self) -> dict[str, Any]:
    """The counts and facts noted while the data was prepared."""
    return self.info.metadata['report']

  def report_lines(self) -> Iterator[str]:
    """Yields the lines of a description of the data set for people."""
    for name, split in self.info.splits.items():
      yield f'{name}: {split.num_examples:,} rows'
    yield f'report: {json.dumps(self.report, indent=2)}'

  @property
  def columns_sha256(self) -> str:
    """The hash of all columns of the prepared data."""
    return self.files.sha256

  def prepare(self) -> 'ColumnarBuilder':
    """Builds the data set unless it exists; returns the builder.

    Raises:
      InputError: It exists, but is not as it was written.
    """
    self._look()
    if self.files is None or not self.info.splits:
      with system_errors.naming(os.fspath(self.data_path)):
        self.download_and_prepare()
    remote_data.push(os.fspath(self.data_path))
    return self

  def _look(self) -> None:
    """Compares the files of the prepared data, if there is any."""
    folder = os.fspath(self.data_path)
    remote_data.pull(folder)
    said = self.files.warnings if self.files else ()
    self.files = PreparedFiles(folder, said) if is_filled(folder) else None

  def download_and_prepare(self, **unused: Any) -> None:
    """Builds the data set unless it exists, also in another process now.

    Args:
      **unused: Options of TFDS, whose method this replaces.

    Raises:
      InputError: It exists, but is not as it was written.
    """
    with unfinished.alone(final := os.fspath(self.data_path)):
      self._look()  # Another process may have built it in the meantime.
      if self.files is None:
        self._build(final)
        self._look()
    if not self.info.splits:
      self.info.read_from_directory(final)
      self._check_same_files()

  def _build(self, final: str) -> None:
    """Builds the data set in a folder beside `final`, then renames it."""
    with whole_files.new_folder(final) as temporary:
      self._data_dir = temporary
      try:
        self._download_and_prepare(None)
        self.info.write_to_directory(temporary)
        prepared_files.seal(temporary)
      finally:
        self._data_dir = final
    self.info.update_data_dir(final)

  def _info(self) -> tfds.core.DatasetInfo:
    self._look()  # Before TFDS, which raises whatever damage leads to.
    return described(self, *self._describe())

  def _download_and_prepare(self, dl_manager, download_config=None) -> None:
    del dl_manager, download_config
    infos, folder = [], os.fspath(self.data_path)
    with self._bar() as self._progress:
      schema, splits, report = self._generate_splits()
      for split, shards in splits.items():
        of = folder, self.name, split, schema
        infos.append(write_split(*of, shards, self._wrote))
    self.info.set_splits(tfds.core.SplitDict(infos))
    self.info.metadata.update(schema=schema.to_dict(), report=report)

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
      return ColumnarSource(parts, str(split), files=self.files)
    # NAME-train.columns-00000-of-00002 has NAME-train.groups beside it.
    tables = [f.rpartition('.columns-')[0] + f'.{_GROUPS}' for f, _, _ in parts]
    self.files.fetch(tables)
    group = self.schema.group
    return ColumnarSource(parts, str(split), group, tables, self.files)

  def truth_source(self, split: str) -> ColumnarSource | None:
    """Opens the truth columns of the same rows; None if the data has none."""
    if not self.schema.truth:
      return None
    parts = self._parts(split, TRUTH)
    return ColumnarSource(parts, str(split), files=self.files)

  def num_shared(self, split: str, other: str = '') -> int:
    """Counts the rows that two splits have in common; '': that one has twice.

    Raises:
      InputError: See `as_data_source`.
    """
    others = self._parts(other, '', False) if other else []
    return split_parts.num_shared(self._parts(split, '', False), others)

  def _parts(self, split: str, sub: str, fetch: bool = True) -> list[Part]:
    parts = split_parts.find(self.info, self.name, split, sub)
    if fetch:
      self.files.fetch(folder for folder, _, _ in parts)
    return parts

  def _as_dataset(self, *unused: Any, **unused_options: Any):
    """Refuses; TFDS requires the method of every builder."""
    raise NotImplementedError('Use as_data_source(), not tf.data.')
