"""Ali-CCP: impressions of Taobao, clicks and conversions, from the raw files.

All 23 fields with all their values and weights, or the 18 of AITM (`preset`).
Fields that the impressions of a session share are stored once, in a group
table; the column `session` is the row of that table. The publisher's training
file makes the splits train and valid, whole sessions each, its test file is
test. Rows are ordered by a hash of their session, so parts such as
`train[:10%]` are random sessions and not the head of the file.
"""

from collections.abc import Iterable, Iterator
import dataclasses
import json
import os
import shutil
from typing import Any

from esmm_jax import streams
from esmm_jax.data.ali_ccp import report as reports
from esmm_jax.data.ali_ccp.config import AliCcpConfig
from esmm_jax.data.ali_ccp.fields import HISTORIES, PRESETS
from esmm_jax.data.ali_ccp.files import find_files, RawFiles
from esmm_jax.data.files import file_hashes, same_files
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.data.store.options import like, make_config
from esmm_jax.data.store.shards import Written
from esmm_jax.engines import choice
from esmm_jax.options import check_number, COUNT
from esmm_jax.schema import FIRST_KEPT, Schema
from esmm_jax.whole_files import save_array
import numpy as np
from tqdm import tqdm

REPORT = 'report.json'
VOCABULARY = 'vocabulary'
# One process parses that before another one has started.
BYTES_A_WORKER = 1 << 30
_TEMPORARY = 'temporary'

_CITATION = '''@inproceedings{ma2018esmm,
  title={Entire Space Multi-Task Model: An Effective Approach for Estimating
    Post-Click Conversion Rate},
  author={Ma, Xiao and Zhao, Liqin and Huang, Guan and Wang, Zhi and Hu, Zelin
    and Zhu, Xiaoqiang and Gai, Kun},
  booktitle={SIGIR},
  pages={1137--1140},
  year={2018}
}'''


class AliCcp(ColumnarBuilder):
  """The data set; `AliCcpConfig` describes its options.

  Besides the fields and labels a shard holds `sample_id`, the number of the row
  in its raw file, and `session`. The folder holds the counts, `report.json`,
  and `vocabulary/FIELD.npy`, the publisher's feature_id of each id from 2 on.

  References:
    Ma et al., Entire Space Multi-Task Model, SIGIR 2018.
  """

  name = 'ali_ccp'
  tells_gaps = True

  @classmethod
  def from_options(
      cls,
      data_dir: str | None = None,
      history_length: int | None = None,
      **options: Any,
  ) -> 'AliCcp':
    """Returns the data set with these options.

    Args:
      data_dir: Folder of prepared data; None: TFDS' default.
      history_length: Entries that are read of each of the four user lists, the
        heaviest ones; None: the preset's, 16. Changes nothing that is stored.
      **options: Attributes of `AliCcpConfig`; None keeps the default.

    Raises:
      InputError: An option does not exist or has a value that is not allowed,
        or `raw_dir` holds other files than those that the prepared data was
        made from.
    """
    owner = cls.__name__
    config = make_config(AliCcpConfig, options, owner, ('history_length',))
    if history_length is not None:
      history_length = like(history_length, int, 'history_length')
    check_number('dataset.history_length', history_length, COUNT)
    builder = cls(data_dir=data_dir, config=config)
    builder._history_length = history_length
    return builder

  def __init__(self, **kwargs: Any):
    self._history_length = None
    super().__init__(**kwargs)

  @property
  def schema(self) -> Schema:
    """The schema of the prepared data, with lists of `history_length`."""
    schema = super().schema
    if not self._history_length:
      return schema
    return dataclasses.replace(
        schema,
        fields=tuple(
            dataclasses.replace(f, max_len=self._history_length)
            if f.name in HISTORIES
            else f
            for f in schema.fields
        ),
    )

  def report_lines(self) -> Iterator[str]:
    """See the base class."""
    yield from reports.lines(self.report)

  def vocabulary(self, field: str) -> np.ndarray:
    """Returns the feature_id of each id from 2 on, int32 [size - 2]."""
    folder = os.path.join(os.fspath(self.data_path), VOCABULARY)
    path = os.path.join(folder, f'{field}.npy')
    if self.files:
      self.files.verify([path])
    return np.load(path)

  def _check_same_files(self) -> None:
    """See the base class."""
    raw_dir = self.builder_config.raw_dir
    if not raw_dir:
      return
    present = find_files(raw_dir).by_name
    folder = os.fspath(self.data_path)
    self.raw_warnings += same_files.check_raw(
        self.report['files'], present, folder, raw_dir
    )

  def _describe(self) -> tuple[Schema, dict[str, str]]:
    return PRESETS[self.builder_config.preset].schema, {
        'description': (
            'Impressions of items in the Taobao app, with clicks and the'
            ' conversions that followed; a sample of the logs of the'
            " recommender, published with ESMM as Ali-CCP."
        ),
        'citation': _CITATION,
        'homepage': 'https://tianchi.aliyun.com/dataset/408',
    }

  def _expected_splits(self) -> Iterable[str]:
    valid = ('valid',) if self.builder_config.valid_share else ()
    return ('train', *valid, 'test')

  def _bar(self) -> tqdm:
    files = find_files(self.builder_config.raw_dir)
    return streams.bar(
        total=files.total_bytes,
        desc='Reading Ali-CCP',
        unit='B',
        unit_scale=True,
        smoothing=0.05,
        disable=None,
    )

  def _wrote(self, num_rows: int) -> None:
    """Does nothing: the bar counts the bytes read, not the rows written."""

  def _download_and_prepare(self, dl_manager, download_config=None) -> None:
    files = find_files(self.builder_config.raw_dir)
    with choice.opened(files.total_bytes, BYTES_A_WORKER) as self._engine:
      super()._download_and_prepare(dl_manager, download_config)

  def _generate_splits(
      self,
  ) -> tuple[Schema, dict[str, Iterator[Written]], dict[str, Any]]:
    # Imported late: they import numba, which only preparing needs.
    from esmm_jax.data.ali_ccp import encode, fit

    config = self.builder_config
    files = find_files(config.raw_dir)
    schema, _ = self._describe()
    report = {
        'files': {},
        'preset': config.preset,
        'schema_fingerprint': schema.fingerprint(),
        'options': config.data_options(),
        'read': {},
        'text': {},
        'splits': {},
    }
    train = ('train', 'valid') if config.valid_share else ('train',)
    pair = self._read(files, 'train', train, schema, report)
    self._progress.set_description('Encoding train')
    vocabularies = fit.fit(self._engine, pair, 'train', config.min_count)
    self._save_vocabularies(vocabularies)
    sizes = {name: len(ids) + FIRST_KEPT for name, ids in vocabularies.items()}
    report['vocab_sizes'] = {f.name: sizes[f.name] for f in schema.fields}
    schema = schema.with_vocab_sizes(sizes)
    places = encode.mapped_places(
        vocabularies, os.path.join(self._temporary(), 'places')
    )

    def shards(pair: Any, split: str) -> Iterator[Written]:
      split_report = report['splits'][split] = {}
      folder = self.group_folder(split)
      yield from encode.shards(
          self._engine, pair, split, schema, places, folder, split_report
      )

    def test_shards() -> Iterator[Written]:
      # The test files are read when the other splits are written, so that the
      # temporary files of only one pair exist at a time.
      shutil.rmtree(pair.folder)
      tested = self._read(files, 'test', ('test',), schema, report)
      self._progress.set_description('Encoding test')
      yield from shards(tested, 'test')
      shutil.rmtree(self._temporary())
      self._save_report(report)

    return (
        schema,
        {s: shards(pair, s) for s in train} | {'test': test_shards()},
        report,
    )

  def _read(
      self,
      files: RawFiles,
      raw_split: str,
      splits: tuple[str, ...],
      schema: Schema,
      report: dict[str, Any],
  ) -> Any:
    """Does the first pass over a pair of files; its counts go to the report.

    Returns:
      The `Pair`.
    """
    from esmm_jax.data.ali_ccp.pair import Pair

    config = self.builder_config
    self._progress.set_description(f'Reading {raw_split}')
    folder = os.path.join(self._temporary(), raw_split)
    pair = Pair(raw_split, splits, schema, config, folder)
    pair.read(files, self._engine, self._progress.update)
    if config.check_counts:
      reports.check_published(raw_split, pair.facts)
    files.note(file_hashes.Hashes(os.fspath(self.data_path)))
    report['files'] |= files.digests
    report['read'][raw_split] = pair.facts
    report['text'] |= {n: c.to_dict() for n, c in pair.counts.items()}
    return pair

  def _temporary(self) -> str:
    return os.path.join(os.fspath(self.data_path), _TEMPORARY)

  def _save_vocabularies(self, vocabularies: dict[str, np.ndarray]) -> None:
    folder = os.path.join(os.fspath(self.data_path), VOCABULARY)
    os.makedirs(folder)
    for name, ids in vocabularies.items():
      save_array(os.path.join(folder, f'{name}.npy'), ids)

  def _save_report(self, report: dict[str, Any]) -> None:
    path = os.path.join(os.fspath(self.data_path), REPORT)
    with open(path, 'w', encoding='utf-8') as f:
      json.dump(report, f, indent=2)
      f.write('\n')
