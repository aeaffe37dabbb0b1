"""A copy of KuaiRand's log: `dataset.history` makes its loader's columns."""

import datetime

from esmm_jax.data.kuairand.dataset import KuaiRand
from esmm_jax.data.tabular.dataset import Tabular
from esmm_jax.types import Ragged
import numpy as np
from pyarrow import parquet
import pyarrow as pa
import pytest

from tests.data.kuairand import test_kuairand

SHANGHAI = datetime.timezone(datetime.timedelta(hours=8))
NIGHTLY = 'user_id,video_id,author_id,tags,tab,hour'
LIVE = (
    'user_id:delay=90s:last=2,video_id:delay=20s,tags:delay=2m,'
    'user_id+tab:delay=1m:window=5m,session=user_id:pause=2m,'
    'list=video_id:by=user_id:last=3:of=click:delay=30s'
)


@pytest.fixture(scope='module', name='fake')
def fixture_fake(tmp_path_factory):
  raw_dir = tmp_path_factory.mktemp('raw') / 'KuaiRand-Pure'
  return test_kuairand.make_raw(raw_dir, n=1200)


def day_begin(date):
  day = datetime.datetime.strptime(str(date), '%Y%m%d')
  return int(day.replace(tzinfo=SHANGHAI).timestamp() * 1000)


def copied(fake, by_day):
  """Rows with what the loader joins; times inside their date, if by day."""
  dates = sorted({row['date'] for row in fake.log})
  rows = []
  for row in fake.log:
    video = fake.videos.get(row['video_id'], {})
    begin = day_begin(row['date'])
    time = row['time_ms']
    if by_day:
      time = min(max(time, begin), begin + 86_400_000 - 1)
    rows.append({
        'user_id': row['user_id'],
        'video_id': row['video_id'],
        'author_id': video.get('author_id') or None,
        'tags': [t for t in video.get('tag', '').split(',') if t],
        'tab': row['tab'],
        'hour': row['hourmin'] // 100,
        'click': row['is_click'],
        'conversion': row['is_click'] * row['long_view'],
        'time': time,
        'split': ['test', 'test', 'valid', 'train'][
            min(len(dates) - 1 - dates.index(row['date']), 3)],
    })
  return rows


@pytest.mark.parametrize('history, words', [
    (NIGHTLY, 'nightly'), (LIVE, 'live, delay 20s, sessions')])
def test_equal_to_the_loader_to_the_bit(fake, history, words, tmp_path):
  loader = KuaiRand.from_options(
      str(tmp_path), fake.raw_dir,
      history=True if history == NIGHTLY else history).prepare()
  rows = copied(fake, history == NIGHTLY)
  order = np.random.default_rng(0).permutation(len(rows))
  path = str(tmp_path / 'log.parquet')
  parquet.write_table(pa.Table.from_pylist([rows[k] for k in order]), path)
  copy = Tabular.from_options(
      str(tmp_path), files=path, id='user_id,video_id,author_id,tab,hour',
      ids='tags', time='time', split='column', split_column='split',
      history=history, history_zone='Asia/Shanghai').prepare()
  assert copy.history == words
  fields = {f.name: f for f in copy.schema.fields}
  past = [f for f in loader.schema.fields
          if f.name.startswith(('past_', 'last_', 'session_'))]
  assert len(past) == (36 if history == NIGHTLY else 38)
  assert [f.name for f in past] == list(fields)[6:]
  for split in ('train', 'valid', 'test'):
    wanted, got = (
        (source := data.as_data_source(split)).read(0, len(source))
        for data in (loader, copy))
    back = np.argsort(order[got['row_number']])
    for field in past:
      a, b = wanted[field.name], got[field.name]
      if isinstance(a, Ragged):
        lists = np.split(b.values, b.offsets[1:-1])
        values = np.concatenate([lists[k] for k in back])
        lengths = np.diff(b.offsets)[back]
        assert np.diff(a.offsets).tolist() == lengths.tolist()
        if field.table == field.name:  # Ages; else of the loader's videos.
          assert a.values.tobytes() == values.tobytes()
      else:
        assert a.dtype == b.dtype and a.tobytes() == b[back].tobytes(), (
            field.name)
      if field.table == field.name:
        assert field == fields[field.name]
