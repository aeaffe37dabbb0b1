"""KuaiRand-Pure: impressions of a video app, clicks, long views and likes.

A conversion is `click AND x`, x a long view or a like. The files are not nested
as they stand: 0.3 % of the long views and 18 % of the likes have no click.
Elsewhere in this package such a row is an error and dropped; here so many likes
are no error, so all rows stay by default, with the conversion 0 (`keep`). The
test rows are then the same as in published comparisons.

With `play_time` there is a third label, how long a clicked video was watched.
"""

from collections.abc import Iterator
from typing import Any

from esmm_jax.data.kuairand import features as kuairand_features
from esmm_jax.data.kuairand import raw as kuairand_raw, rows as kuairand_rows
from esmm_jax.data.kuairand.rows import KuaiRandConfig
from esmm_jax.data.store import same_files
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.data.store.feature_columns import take
from esmm_jax.schema import Schema
from esmm_jax.types import Columns, Ragged
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
  line in its log file and the place of that file in `report['log_files']`.

  References:
    Gao et al., KuaiRand: An Unbiased Sequential Recommendation Dataset with
    Randomly Exposed Videos, CIKM 2022, doi 10.1145/3511808.3557624.
  """

  name = 'kuairand'

  @classmethod
  def from_options(
      cls,
      data_dir: str | None = None,
      raw_dir: str = '',
      conversion: str = 'long_view',
      play_time: bool = False,
      test_days: int = 2,
      valid_days: int = 1,
      history: bool = False,
      history_form: str = 'both',
      history_strength: float = 20.0,
      history_live: bool = False,
      min_count: int = 2,
      conversion_without_click: str = 'keep',
      drop_duplicates: bool = False,
  ) -> 'KuaiRand':
    """The data set with these options.

    Args:
      data_dir: Where prepared data lies; default: as TFDS has it.
      raw_dir: This and all others: see `KuaiRandConfig`.

    Raises:
      InputError: An option is not one of those allowed, or `raw_dir` holds
        other files than those that the prepared data was made from.
    """
    config = KuaiRandConfig(
        raw_dir=raw_dir,
        conversion=conversion,
        play_time=play_time,
        test_days=test_days,
        valid_days=valid_days,
        history=history,
        history_form=history_form,
        history_strength=history_strength,
        history_live=history_live,
        min_count=min_count,
        conversion_without_click=conversion_without_click,
        drop_duplicates=drop_duplicates,
    )
    return cls(data_dir=data_dir, config=config)

  def __init__(self, **kwargs: Any):
    super().__init__(**kwargs)
    if self.builder_config.raw_dir and self.info.splits:
      self._check_same_files()

  def _check_same_files(self) -> None:
    raw_dir = self.builder_config.raw_dir
    there = kuairand_raw.sizes(kuairand_raw.find_files(raw_dir))
    same_files.check_raw(self.report['files'], there, self.data_dir, raw_dir)

  def _describe(self) -> tuple[Schema, dict[str, str]]:
    config = self.builder_config
    schema = kuairand_features.schema(
        kuairand_features.declared_fields(config.history, config.history_form),
        config.tasks,
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
    config = self.builder_config
    paths = kuairand_raw.find_files(config.raw_dir)
    raw = kuairand_raw.read_raw(paths)
    report = kuairand_raw.describe_files(paths, raw)
    raw, counts = kuairand_rows.select(raw, config)
    report.update(counts)
    click, conversion = kuairand_rows.labels(raw.log, config)
    rows = kuairand_rows.split_by_day(raw.log['date'], config)
    features = kuairand_features.encode(raw, rows['train'], config.min_count)
    if config.history:
      day = raw.log['date']
      if not config.history_live:
        day = np.minimum(day, day[rows['test']].min())
      kuairand_features.add_history(
          features,
          raw,
          day,
          click,
          conversion,
          config.history_form,
          config.history_strength,
      )
    columns = {
        **features.columns,
        'click': click,
        'conversion': conversion,
        'group_user': raw.log['user_id'].astype(np.int32),
        'day': raw.log['date'].astype(np.int32),
        'time_ms': raw.log['time_ms'],
        'row': raw.log['row'],
        'log_file': raw.log['log_file'],
    }
    if config.play_time:
      columns['play_time'] = kuairand_rows.play_time(raw.log, click)
    report.update(kuairand_features.count_unmatched(raw))
    report['duration_0'] = int((raw.log['duration_ms'] == 0).sum())
    report['scaling'] = features.scaling
    report['splits'] = {
        split: kuairand_rows.summary(raw.log['date'], click, conversion, where)
        for split, where in rows.items()
    }
    if config.play_time:
      for split, where in rows.items():
        report['splits'][split]['play_time_clicked'] = (
            kuairand_rows.play_time_summary(
                columns['play_time'][where & (click == 1)]
            )
        )
    schema = kuairand_features.schema(features.fields, config.tasks)
    report['vocab_sizes'] = {
        f.name: f.vocab_size for f in schema.inputs
    }
    shards = {split: _shard(columns, where) for split, where in rows.items()}
    return schema, shards, report


def _shard(columns: Columns, where: np.ndarray) -> Iterator[Columns]:
  """The rows of a split, as its one shard."""
  index = np.flatnonzero(where)
  yield {
      name: take(c, index) if isinstance(c, Ragged) else c[index]
      for name, c in columns.items()
  }
