"""KuaiRand-Pure: impressions of a video app, clicks, long views and likes.

A conversion is `click AND x`, x a long view or a like. The raw labels are not
nested: 0.3 % of the long views and 18 % of the likes have no click. Other data
sets drop or refuse such rows; here so many likes are no error, so all rows stay
by default, with the conversion 0 (`keep`). The test rows are then the same as
in published comparisons.

With `play_time` there is a third label, how long a clicked video was watched.

Three passes go over the log (`passes`), by part: text becomes columns in files,
values are counted, rows are encoded. Memory is that of a part, of the tables of
users and videos and, in the program alone, of about 24 bytes a row: copies are
looked for, and the mean of numbers is that of all rows one after the other.
"""

from collections.abc import Iterator, Sequence
import os
from typing import Any

from esmm_jax.data.files import file_hashes, same_files
from esmm_jax.data.history.fitted import declared_fields, Table
from esmm_jax.data.history.log import CHUNK
from esmm_jax.data.kuairand import encoder, features, history
from esmm_jax.data.kuairand import raw as raw_files, rows
from esmm_jax.data.kuairand.config import KuaiRandConfig
from esmm_jax.data.kuairand.history import Reading
from esmm_jax.data.kuairand.passes import count, encode, read
from esmm_jax.data.kuairand.passes.count import Counted
from esmm_jax.data.kuairand.passes.parts import Part
from esmm_jax.data.kuairand.rows import Ends, Selection, SPLITS, Summary
from esmm_jax.data.kuairand.tables import Tables
from esmm_jax.data.store.column_files import join
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.data.store.columns import open_folder
from esmm_jax.data.store.options import make_config
from esmm_jax.data.store.scratch import Scratch
from esmm_jax.engines import choice
from esmm_jax.engines.engine import Engine
from esmm_jax.schema import Schema
from esmm_jax.tasks import FUNNEL
from esmm_jax.types import Columns
import numpy as np

_CITATION = '''@inproceedings{gao2022kuairand,
  title={KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly
    Exposed Videos},
  author={Gao, Chongming and Li, Shijun and Zhang, Yuan and Chen, Jiawei and Li,
    Biao and Lei, Wenqiang and Jiang, Peng and He, Xiangnan},
  booktitle={CIKM},
  pages={3953--3957},
  year={2022},
  doi={10.1145/3511808.3557624}
}'''


class KuaiRand(ColumnarBuilder):
  """KuaiRand-Pure, the standard-policy log, split by day.

  Besides the fields and labels a shard holds `group_user` (the raw user_id, the
  group of GAUC), `day` (yyyymmdd), `time_ms`, and `row` and `log_file`: the
  line in its log file and the index of that file in `report['log_files']`. With
  a live history also `block`, see `history.blocks`.

  References:
    Gao et al., KuaiRand: An Unbiased Sequential Recommendation Dataset with
    Randomly Exposed Videos, CIKM 2022, doi 10.1145/3511808.3557624.
  """

  name = 'kuairand'

  @classmethod
  def from_options(
      cls,
      data_dir: str | None = None,
      raw_dir: str | None = None,
      **options: Any,
  ) -> 'KuaiRand':
    """Returns the data set with these options.

    Args:
      data_dir: Folder of prepared data; None: TFDS' default.
      raw_dir: Like `options`.
      **options: Attributes of `KuaiRandConfig`; None keeps the default.

    Raises:
      InputError: An option does not exist or has a value that is not allowed,
        or `raw_dir` holds other files than those that the prepared data was
        made from.
    """
    options['raw_dir'] = raw_dir
    config = make_config(KuaiRandConfig, options, cls.__name__)
    return cls(data_dir=data_dir, config=config)

  @property
  def period(self) -> str:
    """See the base class."""
    config = self.builder_config
    return 'day' if config.history and config.history_live else ''

  @property
  def group_period(self) -> str:
    """See the base class."""
    return 'block' if self.builder_config.is_live else ''

  @property
  def history(self) -> str:
    """See the base class."""
    return self.builder_config.protocol

  def _check_same_files(self) -> None:
    """See the base class."""
    raw_dir = self.builder_config.raw_dir
    if not raw_dir:
      return
    paths = raw_files.find_files(raw_dir)
    self.raw_warnings += same_files.check_raw(
        self.report['files'],
        {os.path.basename(p): p for p in paths},
        os.fspath(self.data_path),
        raw_dir,
    )

  def _describe(self) -> tuple[Schema, dict[str, str]]:
    config = self.builder_config
    past = declared_fields(config.specs, FUNNEL)
    schema = features.schema(
        (*features.declared_fields(), *past), config.tasks
    )
    return schema, {
        'description': (
            'Impressions of short videos in an app, with clicks, long views and'
            ' likes; the standard-policy log of KuaiRand-Pure (CC BY-SA 4.0).'
        ),
        'citation': _CITATION,
        'homepage': 'https://kuairand.com',
    }

  def _wrote(self, num_rows: int) -> None:
    """Does nothing: the passes advance the bar themselves."""

  def _generate_splits(
      self,
  ) -> tuple[Schema, dict[str, Iterator[Columns]], dict[str, Any]]:
    paths = raw_files.find_files(self.builder_config.raw_dir)
    with choice.opened(sum(map(os.path.getsize, paths))) as engine:
      return self._prepare(paths, engine)

  def _prepare(
      self, paths: Sequence[str], engine: Engine
  ) -> tuple[Schema, dict[str, Iterator[Columns]], dict[str, Any]]:
    """Makes the passes; see `_generate_splits`."""
    config, tell = self.builder_config, self._progress.update
    scratch = Scratch(os.path.join(os.fspath(self.data_path), 'scratch'))
    hashes = file_hashes.Hashes(os.fspath(self.data_path))
    files = {os.path.basename(p): hashes.facts(p) for p in paths}
    log = read.read(engine, paths, config, scratch.new('raw'), tell)
    hashes.refuse_changed()
    hashes.save()
    repeated = read.repeated(log)
    ends = Ends.of(read.days_of_rows(log, config, repeated), config)
    selection = Selection(config, ends, repeated, log.tables.index)
    reading = Reading.of(config.specs, log.tables) if config.specs else None
    self._progress.total = 3 * log.num_rows
    shared = count.Shared(selection, reading, scratch.new('counted'))
    parts, counted = count.count(engine, shared, log.parts, tell)
    inputs, past = _fit(shared, parts, counted, log.tables, scratch)
    folders = encode.encode(
        engine,
        encode.Shared(
            selection,
            inputs.encoder,
            past,
            counted.blocks,
            os.fspath(self.data_path),
        ),
        parts,
        tell,
    )
    scratch.remove()
    fields = (*inputs.fields, *(past.fitted.fields if past else ()))
    schema = features.schema(fields, config.tasks)
    scaling = {**inputs.scaling, **(past.fitted.scaling if past else {})}
    report = _report(config, files, log, counted)
    report['scaling'] = {name: s._asdict() for name, s in scaling.items()}
    report['splits'] = {
        split: _summarise(counted.splits[split], folder)
        for split, folder in folders.items()
    }
    report['vocab_sizes'] = {f.name: f.vocab_size for f in schema.inputs}
    shards = {split: encode.shard(path) for split, path in folders.items()}
    return schema, shards, report


def _fit(
    shared: count.Shared,
    parts: Sequence[Part],
    counted: Counted,
    tables: Tables,
    scratch: Scratch,
) -> tuple[encoder.Fitted, history.Encoding | None]:
  """Fits the inputs and the history, on the rows of `fit_on`."""
  config = shared.selection.config
  folders = [shared.folder_of(part) for part in parts]
  join(folders, scratch.path('columns'), CHUNK)
  columns = scratch.open('columns')
  number = np.asarray(columns[count.SPLIT])
  is_in = {split: number == k for k, split in enumerate(SPLITS)}
  fitted = config.fit_on.split('+')
  train = np.any([is_in[split] for split in fitted], axis=0)
  users = columns[count.USER][train]
  inputs = encoder.fit(
      tables, counted.fit, users[users >= 0], config.min_count
  )
  if not config.specs:
    return inputs, None
  fields = {f.name: f for f in inputs.fields}
  lists = {
      name: Table.of(fields[name], inputs.vocabularies[name])
      for name in history.entries(config.specs)
  }
  held_out = {n: rows for n, rows in is_in.items() if n not in fitted}
  past = history.fit(
      config.specs,
      columns,
      train,
      held_out if config.is_capped else {},
      lists,
      scratch,
  )
  return inputs, past


def _report(
    config: KuaiRandConfig,
    files: dict[str, Any],
    log: read.RawLog,
    counted: Counted,
) -> dict[str, Any]:
  """Returns the counts that are kept, but for those of splits and fields."""
  report: dict[str, Any] = {
      'files': files,
      'log_files': log.log_files,
      'official_logs_absent': [
          n for n in raw_files.OFFICIAL_LOGS if n not in files
      ],
  }
  if log.warnings:
    report['warnings'] = log.warnings
  policy = config.conversion_without_click
  words = ['rows_dated_on_another_day'] * isinstance(config.history, str)
  words += ['rows_read', 'duplicates', 'conversion_without_click']
  report |= {word: counted.num[word] for word in words}
  report['conversion_without_click_policy'] = policy
  words = ['rows_dropped', 'rows_without_user_features']
  words += ['rows_without_video_features', 'duration_0']
  return report | {word: counted.num[word] for word in words}


def _summarise(counts: Summary, folder: str) -> dict[str, Any]:
  """Returns the report's entry of a split, whose columns are in a folder."""
  summary, columns = counts.report(), open_folder(folder)
  if 'play_time' in columns:
    clicked = columns['play_time'][columns['click'] == 1]
    summary['play_time_clicked'] = rows.summarise_play_time(clicked)
  return summary
