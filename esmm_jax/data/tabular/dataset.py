"""A user's own log, from CSV or Parquet files.

Two passes over the files, some rows at a time: one counts on the training rows
(`fit`), one encodes (`encoder`). Memory is that of the vocabularies, of one
shard and, where a split is by time or there is a history, of 16 bytes a row; on
disk a split is there twice while its shards are written. A history is computed
between the passes, from files and by part: see `history.compute`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
import dataclasses
import os
import shutil
from typing import Any

from esmm_jax.data.files import file_hashes, same_files
from esmm_jax.data.history import specs
from esmm_jax.data.store.column_files import GrowingTable
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.data.store.columns import cut, open_folder, take_rows
from esmm_jax.data.store.vocabulary import ValueCounts, Vocabulary
from esmm_jax.data.tabular import encoder_hashes, frame_files, growing
from esmm_jax.data.tabular import splits, warnings
from esmm_jax.data.tabular.config import BLOCK, FILE, GROUP, ROW, SPLITS
from esmm_jax.data.tabular.config import TabularConfig, WEIGHT
from esmm_jax.data.tabular.encoder import Encoder, FOLDER
from esmm_jax.data.tabular.fit import Fit
from esmm_jax.data.tabular.past import options as past_options
from esmm_jax.data.tabular.past.options import make_reading
from esmm_jax.data.tabular.past.prepare import History
from esmm_jax.data.tabular.rows import add_counts, Chunk, joint_labels, Log
from esmm_jax.data.tabular.rows import row_weights, split_of
from esmm_jax.data.tabular.splits import LEFT_OUT
from esmm_jax.data.tabular.time_ends import all_times, Ends, ends_of_time
from esmm_jax.data.tabular.unseen import Counts
from esmm_jax.schema import Schema
from esmm_jax.types import Columns, InputError
import numpy as np


class Tabular(ColumnarBuilder):
  """A log in files; `TabularConfig` names their columns.

  Besides the fields and labels a shard holds `file_number` (an index of
  `report['files']`), `row_number` (the row in that file, from 0) and, where a
  group is named, `group_key`: a number for each of its values, 0 for rows
  without one; where a weight is named, `row_weight`; of a live history with
  groups, `history_block`.
  """

  name = 'tabular'
  no_group = 0

  @classmethod
  def from_options(
      cls, data_dir: str | None = None, **options: Any
  ) -> 'Tabular':
    """Makes the data set with these options.

    Args:
      data_dir: Folder of all prepared data; default: that of TFDS.
      **options: See `TabularConfig`.

    Raises:
      InputError: An option is not possible, or the files are not those that
        the prepared data was made from.
    """
    return cls(data_dir=data_dir, config=TabularConfig.from_options(options))

  @classmethod
  def from_frame(cls, log: Any, data_dir: str, **options: Any) -> 'Tabular':
    """Makes the data set of a log in memory, which is saved in `data_dir`.

    Args:
      log: Rows as `frames.read` takes them; or a tuple of such, of training,
        validation (or None) and test.
      data_dir: Folder of all prepared data.
      **options: See `TabularConfig`; no files.

    Raises:
      InputError: See `from_options`.
    """
    return cls.from_options(
        data_dir, **frame_files.saved(log, data_dir, options)
    )

  @property
  def encoder_folder(self) -> str:
    """Folder of the prepared data's encoder, which runs on it copy."""
    return os.path.join(os.fspath(self.data_path), FOLDER)

  def encoder_hashes(self) -> dict[str, str]:
    """See the base class."""
    folder = self.encoder_folder
    return encoder_hashes.hashes(Encoder.load(folder), folder)

  def _check_same_files(self) -> None:
    """See the base class."""
    used = dict(self.report['files'])
    try:
      paths = Log(self.builder_config).paths
    except InputError:
      # Files may be removed once they are prepared: the data is complete. Those
      # that are left are compared.
      used = {p: f for p, f in used.items() if os.path.exists(p)}
      paths = list(used)
    self.raw_warnings += same_files.check(
        used, {p: p for p in paths}, os.fspath(self.data_path), 'files', ''
    )

  def _describe(self) -> tuple[Schema, dict[str, str]]:
    config = self.builder_config
    fields = (*config.schema.fields, *past_options.fields(config))
    return dataclasses.replace(config.schema, fields=fields), {
        'description': 'A log of impressions, clicks and conversions.',
        'citation': '',
        'homepage': '',
    }

  def _expected_splits(self) -> Iterable[str]:
    return self.builder_config.split_names

  @property
  def history(self) -> str:
    """See the base class: `nightly`, or `live, delay 10m`; '' if none."""
    return specs.protocol(self.builder_config.specs)

  @property
  def group_period(self) -> str:
    """See the base class."""
    return BLOCK if self.builder_config.has_blocks else ''

  @property
  def warnings(self) -> list[str]:
    """See the base class."""
    report = self.report if self.info.splits else {}
    earlier = warnings.of_earlier_version(self.builder_config, report)
    return [*warnings.renewed(super().warnings), *earlier]

  def _wrote(self, num_rows: int) -> None:
    """Does nothing: the passes advance the bar themselves."""

  def _generate_splits(
      self,
  ) -> tuple[Schema, dict[str, Iterator[Columns]], dict[str, Any]]:
    config = self.builder_config
    log = Log(config)
    hashes = file_hashes.Hashes(os.fspath(self.data_path))
    files = {path: hashes.facts(path) for path in log.paths}
    ends, history, texts = self._begin(log)
    base, grows = growing.base(config), growing.history(config)
    fit, groups, report = self._count(log, ends, base, history)
    encoder = fit.encoder()
    texts += warnings.of_files(config, files)
    texts += warnings.of_log(config, report, fit, encoder)
    if base:
      report['new_values'] = growing.new_values(base, encoder)
    encoder.save(self.encoder_folder)
    schema = encoder.schema
    if history:
      history.fit(encoder, grows, self.encoder_folder)
      texts += history.warnings
      fields = (*schema.fields, *history.fields)
      schema = dataclasses.replace(schema, fields=fields)
    if texts:
      report['warnings'] = texts
    # All splits grow in one pass; then their shards are cut off one by one.
    folders = {
        name: os.path.join(os.fspath(self.data_path), f'rows-{name}')
        for name in report['splits']
    }
    tables = {name: GrowingTable(folder) for name, folder in folders.items()}
    counts = Counts()
    for chunk in log.chunks():
      split = split_of(chunk, config, ends)
      columns, split = self._encode(chunk, split, encoder, groups, counts)
      if history:
        columns |= history.encode(chunk.total, len(split))
      for name, table in tables.items():
        rows = np.flatnonzero(split == SPLITS.index(name))
        table.append(take_rows(columns, rows))
      self._progress.update(len(split))
    counts.save(self.encoder_folder)
    for table in tables.values():
      table.close()
    if history:
      history.close()
    hashes.refuse_changed()
    hashes.save()
    report['files'] = files
    report['vocab_sizes'] = {f.name: f.vocab_size for f in schema.inputs}
    shards = {
        name: _shards(folder, config.shard_rows)
        for name, folder in folders.items()
    }
    return schema, shards, report

  def _begin(self, log: Log) -> tuple[Ends | None, History | None, list[str]]:
    """Reads all times, where a split or a history needs them.

    Returns:
      The ends of a split by time, the history, and warnings.
    """
    config, ends, history = self.builder_config, None, None
    if config.split != 'time' and not config.specs:
      return ends, history, []
    column = all_times(log, config.time)
    if config.split == 'time':
      ends = ends_of_time(column, config)
    if config.specs:
      reading = make_reading(config, column.times, column.form)
      history = History(config, reading, os.fspath(self.data_path))
    return ends, history, column.warnings

  def _count(
      self,
      log: Log,
      ends: Ends | None,
      base: Encoder | None,
      history: History | None,
  ) -> tuple[Fit, Vocabulary | None, dict[str, Any]]:
    """Makes the first pass; checks every value of every row."""
    config = self.builder_config
    fit, groups = Fit(config, base), ValueCounts()
    num = {name: {'rows': 0} for name in SPLITS}
    others: Counter[str] = Counter()
    left_out = total = ungrouped = unsplit = 0
    for chunk in log.chunks():
      split = split_of(chunk, config, ends)
      if config.split == 'column':
        others += splits.of_names(chunk.texts(config.split_column))[1]
      labels, is_kept = joint_labels(chunk, config)
      split = np.where(is_kept, split, LEFT_OUT)
      weights = row_weights(chunk, config)
      fitted = splits.fitted(split, config.fit_on)
      fit.add(chunk.columns, fitted, chunk.location)
      if history:
        history.add(chunk.columns, chunk.location, labels, split)
      if config.group:
        values = chunk.texts(config.group)
        groups.add(values)
        ungrouped += values.null_count
      if config.splits_by_value:
        unsplit += chunk.texts(config.split_by).null_count
      for k, name in enumerate(SPLITS):
        add_counts(num[name], split == k, labels, weights)
      left_out += int((split == LEFT_OUT).sum())
      total += len(split)
      self._progress.update(len(split))
    self._progress.total = 2 * total
    warnings.refuse_empty(config, num, others, total)
    filled = {name: n for name, n in num.items() if n['rows']}
    report = {'rows': total, 'left_out': left_out, 'splits': filled}
    if ungrouped:
      report['ungrouped'] = ungrouped
    if unsplit:
      report['without_split_by'] = unsplit
    if config.split == 'column':
      report['other_splits'] = dict(others)
    return fit, groups.vocabulary() if config.group else None, report

  def _encode(
      self,
      chunk: Chunk,
      split: np.ndarray,
      encoder: Encoder,
      groups: Vocabulary | None,
      counts: Counts,
  ) -> tuple[Columns, np.ndarray]:
    """Returns all columns of rows, and their splits."""
    labels, is_kept = joint_labels(chunk, self.builder_config)
    location = chunk.location
    columns = encoder.encode(
        chunk.columns,
        location.where,
        location.first,
        location.noun,
        location.dialect,
        counts,
    )
    columns |= labels
    weights = row_weights(chunk, self.builder_config)
    columns |= {} if weights is None else {WEIGHT: weights}
    num = len(split)
    columns[ROW] = np.arange(chunk.row, chunk.row + num, dtype=np.int64)
    columns[FILE] = np.full(num, chunk.file, np.int32)
    if groups is not None:
      ids = groups.encode(chunk.texts(self.builder_config.group))
      # All rows were counted, so none is rare: id 1 is free.
      columns[GROUP] = np.maximum(ids - 1, 0)
    return columns, np.where(is_kept, split, LEFT_OUT)


def _shards(folder: str, num_rows: int) -> Iterator[Columns]:
  """Yields the rows of a split, so many at a time; removes the folder."""
  columns = open_folder(folder)
  for low in range(0, len(columns[ROW]), num_rows):
    yield {n: cut(c, low, low + num_rows) for n, c in columns.items()}
  shutil.rmtree(folder)
