"""A user's own log, from CSV or Parquet files.

Two passes over the files (`passes`), by part and some rows at a time: one
counts on the training rows (`fit`), one encodes (`encoder`). Memory is that of
the vocabularies, of one shard and, where a split is by time or there is a
history, of 16 bytes a row; each worker has vocabularies of its own. On disk a
split is there twice while its shards are written. A history is computed between
the passes, from files and by part: see `history.compute`.
"""

from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import os
from typing import Any

from esmm_jax.data.files import file_hashes, same_files
from esmm_jax.data.history import specs
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.data.tabular import encoder_hashes, frame_files, growing
from esmm_jax.data.tabular import warnings
from esmm_jax.data.tabular.cells.raw import edges_of
from esmm_jax.data.tabular.config import BLOCK, TabularConfig
from esmm_jax.data.tabular.encoder import Encoder, FOLDER
from esmm_jax.data.tabular.fit import Fit
from esmm_jax.data.tabular.passes import count, encode
from esmm_jax.data.tabular.passes.count import Counted
from esmm_jax.data.tabular.passes.parts import Part
from esmm_jax.data.tabular.passes.times import all_times
from esmm_jax.data.tabular.past import options as past_options
from esmm_jax.data.tabular.past.options import make_reading
from esmm_jax.data.tabular.past.prepare import History
from esmm_jax.data.tabular.rows import Log
from esmm_jax.data.tabular.time_ends import Ends, ends_of_time
from esmm_jax.data.tabular.unseen import MISSING_NUMBERS
from esmm_jax.engines import choice
from esmm_jax.engines.engine import Engine
from esmm_jax.schema import Schema
from esmm_jax.types import Columns, InputError


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
    log = Log(self.builder_config)
    sizes = log.sizes.items()
    # No other process has this one's memory.
    num_bytes = sum(n for p, n in sizes if not p.startswith('memory:'))
    with choice.opened(num_bytes) as engine:
      return self._prepare(log, engine)

  def _prepare(
      self, log: Log, engine: Engine
  ) -> tuple[Schema, dict[str, Iterator[Columns]], dict[str, Any]]:
    """Makes the passes; see `_generate_splits`."""
    config, path = self.builder_config, os.fspath(self.data_path)
    hashes = file_hashes.Hashes(path)
    files = {path: hashes.facts(path) for path in log.paths}
    ends, history, texts = self._begin(log, engine)
    base, grows = growing.base(config), growing.history(config)
    parts, counted = self._count(log, ends, base, history, engine)
    report = self._report(counted)
    encoder = counted.fit.encoder()
    texts += warnings.of_files(config, files)
    texts += warnings.of_log(config, report, counted.fit, encoder)
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
    groups = counted.groups.vocabulary() if config.group else None
    past = history.encoding() if history else None
    names = list(report['splits'])
    # All splits grow in one pass; then their shards are cut off one by one.
    shared = encode.Shared(
        config, log, ends, encoder, groups, past, names, path
    )
    gaps = encode.encode(engine, shared, parts, self._progress.update)
    gaps.counts.save(self.encoder_folder)
    if any(gaps.numbers.values()):
      report[MISSING_NUMBERS] = gaps.numbers
    if history:
      history.close()
    hashes.refuse_changed()
    hashes.save()
    report['files'] = files
    report['vocab_sizes'] = {f.name: f.vocab_size for f in schema.inputs}
    shards = {
        name: encode.shards(os.path.join(path, f'rows-{name}'), rows)
        for name, rows in dict.fromkeys(names, config.shard_rows).items()
    }
    return schema, shards, report

  def _begin(
      self, log: Log, engine: Engine
  ) -> tuple[Ends | None, History | None, list[str]]:
    """Reads all times, where a split or a history needs them.

    Returns:
      The ends of a split by time, the history, and warnings.
    """
    config, ends, history = self.builder_config, None, None
    if config.split != 'time' and not config.specs:
      return ends, history, []
    folder = os.fspath(self.data_path)
    column = all_times(engine, log, config.time, folder)
    if config.split == 'time':
      ends = ends_of_time(column, config)
    if config.specs:
      reading = make_reading(config, column.times, column.form)
      history = History(config, reading, folder)
    return ends, history, column.warnings

  def _count(
      self,
      log: Log,
      ends: Ends | None,
      base: Encoder | None,
      history: History | None,
      engine: Engine,
  ) -> tuple[Sequence[Part], Counted]:
    """Makes the first pass; checks every value of every row.

    It is made twice where crosses are of buckets whose edges it must find.
    """
    config, passes = self.builder_config, 2
    folder, tell = os.fspath(self.data_path), self._progress.update
    edges = edges_of(base.inputs) if base else {}
    shared = count.Shared(config, log, ends, edges=edges)
    if Fit(config, edges=edges).waits:  # Crosses, for edges of buckets.
      _, first = count.count(engine, shared, base, folder, tell)
      shared, passes = shared._replace(edges=first.fit.edges()), 3
    if history:
      shared = shared._replace(
          reading=history.reading, folder=history.folder
      )
    parts, counted = count.count(engine, shared, base, folder, tell)
    if history:
      history.add(len(parts))
    self._progress.total = passes * counted.total
    warnings.refuse_empty(
        self.builder_config, counted.num, counted.others, counted.total
    )
    return parts, counted

  def _report(self, counted: Counted) -> dict[str, Any]:
    """Returns the counts that are kept."""
    config = self.builder_config
    filled = {name: n for name, n in counted.num.items() if n['rows']}
    report = {
        'rows': counted.total,
        'left_out': counted.left_out,
        'splits': filled,
    }
    if counted.ungrouped:
      report['ungrouped'] = counted.ungrouped
    if counted.unsplit:
      report['without_split_by'] = counted.unsplit
    if config.split == 'column':
      report['other_splits'] = dict(counted.others)
    return report
