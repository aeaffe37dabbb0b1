"""KuaiRand-Pure: impressions of a video app, clicks, long views and likes.

A conversion is `click AND x`, x a long view or a like. The raw labels are not
nested: 0.3 % of the long views and 18 % of the likes have no click. Other data
sets drop or refuse such rows; here so many likes are no error, so all rows stay
by default, with the conversion 0 (`keep`). The test rows are then the same as
in published comparisons.

With `play_time` there is a third label, how long a clicked video was watched.
"""

from collections.abc import Iterator
import os
from typing import Any

from esmm_jax.data.files import file_hashes, same_files
from esmm_jax.data.history.fitted import declared_fields
from esmm_jax.data.kuairand import features, history, raw as raw_files, rows
from esmm_jax.data.kuairand.config import KuaiRandConfig
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.data.store.columns import take_rows
from esmm_jax.data.store.feature_columns import FeatureColumns
from esmm_jax.data.store.options import make_config
from esmm_jax.engines import choice
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

  def _generate_splits(
      self,
  ) -> tuple[Schema, dict[str, Iterator[Columns]], dict[str, Any]]:
    choice.warn_of_one(self.name)
    config = self.builder_config
    paths = raw_files.find_files(config.raw_dir)
    hashes = file_hashes.Hashes(os.fspath(self.data_path))
    files = {os.path.basename(p): hashes.facts(p) for p in paths}
    raw = raw_files.read_raw(paths, config.check_counts)
    hashes.refuse_changed()
    hashes.save()
    report = raw_files.describe_files(files, raw)
    if raw.warnings:
      report['warnings'] = raw.warnings
    labelled, counts = rows.select_rows(raw.log, config)
    raw = raw._replace(log=labelled.log)
    splits = rows.split_by_day(raw.log['date'], config)
    encoded = _encode_features(raw, labelled, splits, config)
    columns = {**encoded.columns, **_other_columns(labelled)}
    if config.is_live:
      columns['block'] = history.blocks(config.specs, raw)
    if config.play_time:
      columns['play_time'] = rows.play_time(raw.log, labelled.click)
    schema = features.schema(encoded.fields, config.tasks)
    if isinstance(config.history, str):
      report['rows_dated_on_another_day'] = history.other_dates(raw)
    report.update(
        counts,
        **features.count_unmatched(raw),
        duration_0=int((raw.log['duration_ms'] == 0).sum()),
        scaling=encoded.scaling,
        splits={
            split: _summarise(labelled, columns, index)
            for split, index in splits.items()
        },
        vocab_sizes={f.name: f.vocab_size for f in schema.inputs},
    )
    shards = {split: _shard(columns, index) for split, index in splits.items()}
    return schema, shards, report


def _encode_features(
    raw: raw_files.Raw,
    labelled: rows.LabelledLog,
    splits: dict[str, np.ndarray],
    config: KuaiRandConfig,
) -> FeatureColumns:
  """Encodes the inputs of all rows, fitted on those of `fit_on`."""
  fitted = config.fit_on.split('+')
  train = np.any([splits[name] for name in fitted], axis=0)
  encoded = features.encode(raw, train, config.min_count)
  if config.specs:
    labels = {'click': labelled.click, 'conversion': labelled.conversion}
    held_out = {n: rows for n, rows in splits.items() if n not in fitted}
    history.add(
        encoded,
        config.specs,
        raw,
        labels,
        train,
        held_out if config.is_capped else {},
    )
  return encoded


def _other_columns(labelled: rows.LabelledLog) -> Columns:
  """Returns the columns that are no inputs, but for `play_time`."""
  log = labelled.log
  return {
      'click': labelled.click,
      'conversion': labelled.conversion,
      'group_user': log['user_id'].astype(np.int32),
      'day': log['date'].astype(np.int32),
      'time_ms': log['time_ms'],
      'row': log['row'],
      'log_file': log['log_file'],
  }


def _summarise(
    labelled: rows.LabelledLog, columns: Columns, index: np.ndarray
) -> dict[str, Any]:
  """Returns the report's entry of the split whose rows are bool [n]."""
  summary = rows.summarise_split(labelled, index)
  if 'play_time' in columns:
    clicked = columns['play_time'][index & (labelled.click == 1)]
    summary['play_time_clicked'] = rows.summarise_play_time(clicked)
  return summary


def _shard(columns: Columns, rows_of_split: np.ndarray) -> Iterator[Columns]:
  """Yields the rows of a split, bool [n], as its one shard."""
  yield take_rows(columns, np.flatnonzero(rows_of_split))
