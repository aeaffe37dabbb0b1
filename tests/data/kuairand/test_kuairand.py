"""KuaiRand-Pure on a small fake of the official files, and on the real ones."""

import collections
import csv
import datetime
import math
import os
import pathlib
import shutil
from typing import Any, NamedTuple

from esmm_jax.data.kuairand import features as kuairand_features
from esmm_jax.data.kuairand.dataset import KuaiRand
from esmm_jax.data.kuairand.raw import LOG_COLUMNS, USER_COLUMNS, VIDEO_COLUMNS
from esmm_jax.data.store.columns import concatenate
from esmm_jax.schema import Field
from esmm_jax.tasks import FUNNEL, Task
from esmm_jax.types import InputError, Ragged
import numpy as np
import pytest

pytestmark = pytest.mark.slow

LOG = 'log_standard_4_22_to_5_08_pure.csv'
EARLY_LOG = 'log_standard_4_08_to_4_21_pure.csv'
USERS = 'user_features_pure.csv'
VIDEOS = 'video_features_basic_pure.csv'
DAYS = [20220425, 20220426, 20220427, 20220428, 20220429, 20220430, 20220501]
TRAIN, VALID, TEST = DAYS[:4], DAYS[4:5], DAYS[5:]
NEW_VIDEO = 79  # In the test days only, and its tag too.
NO_USER = 59  # Without a row in the user file.


class Fake(NamedTuple):
  """A raw folder and what was written to it, as text."""

  raw_dir: str
  log: list[dict[str, Any]]
  users: dict[int, dict[str, Any]]
  videos: dict[int, dict[str, Any]]


def write_csv(path, rows):
  with open(path, 'w', newline='') as f:
    writer = csv.DictWriter(f, list(rows[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)


def make_raw(raw_dir: pathlib.Path, seed: int = 0, n: int = 2000) -> Fake:
  """Files in the official layout, from a seed."""
  rng = np.random.default_rng(seed)
  log = []
  for k in range(n):
    day = DAYS[k * len(DAYS) // n]
    click = int(rng.random() < 0.45)
    log.append({
        'user_id': int(rng.integers(60)),
        'video_id': int(79 * rng.random() ** 2),
        'date': day,
        'hourmin': int(rng.integers(24)) * 100,
        'time_ms': 1650812741436 + 1000 * k,
        'is_click': click,
        'is_like': int(rng.random() < (0.1 if click else 0.02)),
        'is_follow': 0,
        'long_view': int(rng.random() < (0.7 if click else 0.02)),
        'play_time_ms': int(rng.integers(10**5)) if k % 7 else 0,
        'duration_ms': int(rng.choice([0, 7000, 8000, 11000, 61802])),
        'profile_stay_time': 0,
        'is_rand': 0,
        'tab': int(rng.choice([0, 1, 1, 1, 4])),
    })
    if k % 100 == 50:
      log.append(dict(log[-1]))  # An exact duplicate.
  for row in log[-40::10]:
    row['video_id'] = NEW_VIDEO
  users = []
  for u in range(59):
    user = {name: int(rng.integers(3)) for name in USER_COLUMNS}
    user['user_id'] = u
    user['user_active_degree'] = ['full_active', 'UNKNOWN'][u % 2]
    user['is_live_streamer'] = [1, -124][u % 2]
    user['fans_user_num_range'] = ['[10,100)', '0'][u % 2]
    user['follow_user_num'] = '' if u == 7 else int(rng.integers(1000))
    user['onehot_feat4'] = '' if u % 5 == 0 else float(u % 3)
    users.append(user)
  videos = []
  for v in range(80):
    videos.append({
        'video_id': v,
        'author_id': v // 2,
        'video_type': 'NORMAL',
        'upload_dt': '' if v == 1 else f'2022-04-{9 + v % 3:02d}',
        'upload_type': ['Web', 'Kmovie', 'UNKNOWN'][v % 3],
        'visible_status': 0.0,
        'music_id': 9155697141 + v // 3,
        'music_type': '' if v == 4 else 9.0,
        'tag': ['39', '12,62', '', '7,12,39'][v % 4],
    })
  videos[NEW_VIDEO]['tag'] = '99,12'
  (raw_dir / 'data').mkdir(parents=True)
  write_csv(raw_dir / 'data' / LOG, log)
  write_csv(raw_dir / 'data' / USERS, users)
  write_csv(raw_dir / 'data' / VIDEOS, videos)
  return Fake(
      str(raw_dir),
      log,
      {u['user_id']: u for u in users},
      {v['video_id']: v for v in videos},
  )


@pytest.fixture(scope='module')
def fake(tmp_path_factory):
  return make_raw(tmp_path_factory.mktemp('raw') / 'KuaiRand-Pure')


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp('prepared'))


def read(builder):
  """All splits, one after the other, and the split of each row."""
  splits = [builder.as_data_source(s) for s in ('train', 'valid', 'test')]
  parts = [s.read(0, len(s)) for s in splits]
  columns = {name: concatenate([p[name] for p in parts]) for name in parts[0]}
  split = np.repeat(['train', 'valid', 'test'], [len(s) for s in splits])
  return columns, split


@pytest.fixture(scope='module')
def prepared(fake, data_dir):
  builder = KuaiRand.from_options(data_dir, fake.raw_dir, min_count=20)
  columns, split = read(builder.prepare())
  return builder, columns, split


@pytest.mark.parametrize('policy', ['keep', 'drop', 'click'])
@pytest.mark.parametrize('conversion', ['long_view', 'like'])
def test_labels_and_days(fake, data_dir, conversion, policy):
  builder = KuaiRand.from_options(
      data_dir,
      fake.raw_dir,
      conversion=conversion,
      conversion_without_click=policy,
  ).prepare()
  columns, split = read(builder)
  expected, odd = [], 0
  for k, row in enumerate(fake.log):
    click = row['is_click']
    after = row['is_like' if conversion == 'like' else 'long_view']
    odd += after and not click
    if after and not click and policy == 'drop':
      continue
    if after and policy == 'click':
      click = 1
    day = row['date']
    part = 'train' if day in TRAIN else 'valid' if day in VALID else 'test'
    expected.append((
        part, k + 2, day, row['time_ms'], row['user_id'], click, click and after
    ))
  names = ('row', 'day', 'time_ms', 'group_user', 'click', 'conversion')
  got = zip(split, *(columns[name].tolist() for name in names), strict=True)
  assert [tuple(row) for row in got] == expected
  assert odd > 10
  report = builder.report
  assert report['conversion_without_click'] == odd
  assert report['rows_read'] == len(fake.log)
  assert report['rows_dropped'] == len(fake.log) - len(expected)
  valid = [e for e in expected if e[0] == 'valid']
  assert report['splits']['valid'] == {
      'first_day': 20220429,
      'last_day': 20220429,
      'rows': len(valid),
      'ctr': pytest.approx(sum(e[5] for e in valid) / len(valid)),
      'ctcvr': pytest.approx(sum(e[6] for e in valid) / len(valid)),
      'cvr_clicked': pytest.approx(
          sum(e[6] for e in valid) / sum(e[5] for e in valid)
      ),
  }


@pytest.mark.parametrize('policy', ['keep', 'drop', 'click'])
def test_play_time(fake, data_dir, policy):
  """ln(1 + seconds) where there was a click, else 0, in its own folder."""
  options = dict(conversion_without_click=policy)
  builder = KuaiRand.from_options(
      data_dir, fake.raw_dir, play_time=True, **options
  ).prepare()
  without = KuaiRand.from_options(data_dir, fake.raw_dir, **options).prepare()
  task = Task('play_time', 'play_time', 'ctr', kind='regression')
  assert builder.schema.tasks == (*FUNNEL, task)
  assert builder.schema.labels == ('click', 'conversion', 'play_time')
  assert without.schema.tasks == FUNNEL
  assert builder.schema.fields == without.schema.fields
  columns, split = read(builder)
  expected, _ = read(without)
  assert columns.keys() - expected.keys() == {'play_time'}
  for name, column in expected.items():
    if not isinstance(column, Ragged):
      np.testing.assert_array_equal(columns[name], column)
  got = columns['play_time']
  assert got.dtype == np.float32
  for row, click, value in zip(columns['row'], columns['click'], got):
    raw = fake.log[row - 2]
    want = math.log(1 + raw['play_time_ms'] / 1000) if click else 0
    assert value == pytest.approx(want, rel=1e-6)
    assert click == (
        raw['is_click'] or (policy == 'click' and raw['long_view'])
    )
  clicked = columns['click'] == 1
  assert (got[clicked] == 0).any() and (got > 4).any()
  for part, facts in builder.report['splits'].items():
    values = np.sort(got[clicked & (split == part)].astype(float))
    found = facts['play_time_clicked']
    assert found['mean'] == pytest.approx(values.mean())
    assert list(found['quantiles']) == [
        '0.01', '0.1', '0.25', '0.5', '0.75', '0.9', '0.99'
    ]  # fmt: skip
    for q, value in found['quantiles'].items():
      place = float(q) * (len(values) - 1)
      low = math.floor(place)
      rest = (place - low) * (values[low + 1] - values[low])
      assert value == pytest.approx(values[low] + rest)
    assert 'play_time_clicked' not in without.report['splits'][part]


def test_play_time_of_a_split_without_clicks(tmp_path):
  fake = make_raw(tmp_path / 'raw')
  for row in fake.log:
    if row['date'] in VALID:
      row['is_click'] = 0
  write_csv(pathlib.Path(fake.raw_dir, 'data', LOG), fake.log)
  builder = KuaiRand.from_options(
      str(tmp_path / 'out'), fake.raw_dir, play_time=True
  ).prepare()
  splits = builder.report['splits']
  assert splits['valid']['play_time_clicked'] is None
  assert splits['test']['play_time_clicked']['mean'] > 1
  source = builder.as_data_source('valid')
  assert not source.read(0, len(source))['play_time'].any()


def test_split_days_are_counted_from_the_last_day(fake, data_dir):
  builder = KuaiRand.from_options(
      data_dir, fake.raw_dir, test_days=1, valid_days=3
  ).prepare()
  columns, split = read(builder)
  for part, days in (
      ('train', DAYS[:3]), ('valid', DAYS[3:6]), ('test', DAYS[6:])
  ):  # fmt: skip
    assert sorted(set(columns['day'][split == part].tolist())) == days


@pytest.mark.parametrize('drop', [False, True])
def test_duplicates(fake, data_dir, drop):
  builder = KuaiRand.from_options(
      data_dir, fake.raw_dir, drop_duplicates=drop
  ).prepare()
  columns, _ = read(builder)
  assert builder.report['duplicates'] == 20
  lines = set(columns['row'].tolist())
  assert len(lines) == len(fake.log) - 20 * drop
  first = next(
      k for k, row in enumerate(fake.log) if fake.log[k + 1] == row
  )
  assert first + 2 in lines  # The first of the two stays.
  assert (first + 3 in lines) == (not drop)


def raw_values(fake, name):
  """The raw value of a field in each row of the log, None if missing."""
  for row in fake.log:
    user = fake.users.get(row['user_id'])
    video = fake.videos[row['video_id']]
    if name == 'hour':
      yield row['hourmin'] // 100
    elif name == 'duration_bucket':
      seconds = row['duration_ms'] / 1000
      yield math.floor(2 * math.log2(seconds)) if seconds else None
    elif name == 'upload_age':
      if not video['upload_dt']:
        yield None
        continue
      upload = datetime.date.fromisoformat(video['upload_dt'])
      day = datetime.date.fromisoformat(str(row['date']))
      yield min((day - upload).days // 7, 2)  # 04-28 less 04-09 is 19 days.
    elif name in LOG_COLUMNS:
      yield row[name]
    elif name in VIDEO_COLUMNS:
      value = video[name]
      unknown = ('', 'UNKNOWN', *([0] if name == 'author_id' else []))
      yield None if value in unknown else value
    elif user is None:
      yield None
    else:
      unknown = ['', 'UNKNOWN']
      unknown += [-124] if name == 'is_live_streamer' else []
      yield None if user[name] in unknown else user[name]


@pytest.mark.parametrize(
    'name', [*kuairand_features.IMPRESSION_IDS, *kuairand_features.USER_IDS]
)
def test_ids(fake, prepared, name):
  """Vocabulary of training rows alone; 0 missing, 1 rare or unseen."""
  builder, columns, _ = prepared
  values = list(raw_values(fake, name))
  counts = collections.Counter(
      v
      for v, row in zip(values, fake.log)
      if row['date'] in TRAIN and v is not None
  )
  least = 20 if name in ('user_id', 'video_id', 'author_id', 'music_id') else 1
  kept = [v for v in counts if counts[v] >= least]
  kept.sort(key=lambda v: (-counts[v], v))
  ids = {v: k + 2 for k, v in enumerate(kept)}
  expected = [0 if v is None else ids.get(v, 1) for v in values]
  assert columns[name].tolist() == expected
  assert builder.schema.field(name).vocab_size == len(kept) + 2


def test_the_fake_holds_the_cases(fake, prepared):
  _, columns, split = prepared
  new = columns['video_id'][columns['row'] == len(fake.log) - 38]
  assert new.tolist() == [1]
  assert (columns['video_id'][split == 'train'] == 1).any()  # Rare.
  for name in ('author_id', 'duration_bucket', 'upload_age', 'onehot_feat4'):
    assert (columns[name] == 0).any() and (columns[name] > 1).any()
  no_user = columns['group_user'] == NO_USER
  assert no_user.any() and not columns['is_video_author'][no_user].any()


def test_floats_are_scaled_by_training_rows(fake, prepared):
  builder, columns, _ = prepared
  for name in kuairand_features.COUNTS:
    values = [
        None if v is None else math.log1p(v) for v in raw_values(fake, name)
    ]
    fitted = [
        v
        for v, row in zip(values, fake.log)
        if row['date'] in TRAIN and v is not None
    ]
    mean, std = np.mean(fitted), np.std(fitted)
    expected = [0 if v is None else (v - mean) / std for v in values]
    np.testing.assert_allclose(columns[name], expected, atol=1e-5)
    assert builder.report['scaling'][name]['mean'] == pytest.approx(mean)
  assert None in list(raw_values(fake, 'follow_user_num'))


def test_tags(fake, prepared):
  builder, columns, _ = prepared
  lists = [
      [t for t in fake.videos[row['video_id']]['tag'].split(',') if t]
      for row in fake.log
  ]
  counts = collections.Counter(
      t
      for tags, row in zip(lists, fake.log)
      if row['date'] in TRAIN
      for t in tags
  )
  ids = {
      t: k + 2
      for k, t in enumerate(sorted(counts, key=lambda t: (-counts[t], t)))
  }
  got = columns['tags']
  assert isinstance(got, Ragged)
  assert [
      got.values[got.offsets[i] : got.offsets[i + 1]].tolist()
      for i in range(len(got))
  ] == [[ids.get(t, 1) for t in tags] for tags in lists]
  field = builder.schema.field('tags')
  assert (field.kind, field.combiner, field.max_len) == ('ids', 'mean', 3)
  assert field.vocab_size == 6
  assert '99' not in ids and [] in lists


@pytest.mark.parametrize('play_time', [False, True])
def test_no_label_is_a_feature(fake, data_dir, tmp_path, play_time):
  builder = KuaiRand.from_options(
      data_dir, fake.raw_dir, history=True, play_time=play_time
  )
  schema = builder.prepare().schema
  names = [f.name for f in schema.fields]
  assert not {*kuairand_features.LATE, *schema.labels} & set(names)
  assert schema.group == 'group_user'
  declared = KuaiRand.from_options(
      str(tmp_path), history=True, play_time=play_time).schema
  assert len(declared.fields) > 18
  assert [(f.name, f.kind) for f in declared.fields] == [
      (f.name, f.kind) for f in schema.fields
  ]


@pytest.mark.parametrize('kind', ['id', 'ids', 'float'])
@pytest.mark.parametrize(
    'name',
    [
        'click', 'conversion', 'is_click', 'is_like', 'is_follow',
        'is_comment', 'is_forward', 'is_hate', 'long_view', 'play_time',
        'play_time_ms', 'profile_stay_time', 'comment_stay_time',
        'is_profile_enter',
    ],
)
def test_what_is_known_later_is_refused_as_a_feature(name, kind):
  fields = (Field('user_id'), Field(name, kind))
  with pytest.raises(InputError, match=f"'{name}'.*not known before"):
    kuairand_features.schema(fields, FUNNEL)


def history_of(raw_dir, data_dir, **options):
  builder = KuaiRand.from_options(data_dir, raw_dir, history=True, **options)
  columns, split = read(builder.prepare())
  past = {k: v for k, v in columns.items() if k.startswith('past_')}
  return builder, columns, past, split


@pytest.mark.parametrize('live', [False, True])
def test_history_of_a_user(fake, data_dir, live):
  """The formula typed again; test_history.py has the slow loop."""
  builder, _, past, split = history_of(
      fake.raw_dir, data_dir, history_live=live
  )
  first_test_day = DAYS[-2]
  values = []
  for row in fake.log:
    day = row['date'] if live else min(row['date'], first_test_day)
    before = [r for r in fake.log if r['date'] < day]
    own = [r for r in before if r['user_id'] == row['user_id']]
    prior = (sum(r['is_click'] for r in before) + 0.5) / (len(before) + 1)
    rate = (sum(r['is_click'] for r in own) + 20 * prior) / (len(own) + 20)
    values.append(
        math.log(rate / (1 - rate)) - math.log(prior / (1 - prior))
    )
  values = np.array(values)
  train = values[split == 'train']
  np.testing.assert_allclose(
      past['past_ctr_user_id'], (values - train.mean()) / train.std(), atol=1e-4
  )
  buckets = past['past_ctr_user_id_bucket']
  assert builder.schema.field('past_ctr_user_id_bucket').vocab_size == 22
  known = buckets > 0
  order = np.argsort(values[known], kind='stable')
  assert (np.diff(buckets[known][order]) >= 0).all()
  assert not known[: sum(r['date'] == DAYS[0] for r in fake.log)].any()


@pytest.mark.parametrize('form', ['float', 'bucket'])
def test_history_forms(fake, data_dir, form):
  builder, _, past, _ = history_of(fake.raw_dir, data_dir, history_form=form)
  assert len(past) == 18
  kinds = {builder.schema.field(name).kind for name in past}
  assert kinds == {'float' if form == 'float' else 'id'}


@pytest.mark.parametrize(
    'live, days, same',
    [
        (True, DAYS[-1:], True),  # A row never sees its own day,
        (True, DAYS[-2:], False),  # but live it sees the test day before,
        (False, DAYS[-2:], True),  # and otherwise no test label at all.
        (False, DAYS[-3:-2], False),
    ],
)
def test_labels_that_history_sees(
    fake, data_dir, tmp_path, live, days, same
):
  other = make_raw(tmp_path / 'raw')
  for row in other.log:
    if row['date'] in days:
      row['is_click'] = 1 - row['is_click']
      row['long_view'] = 1 - row['long_view']
  write_csv(pathlib.Path(other.raw_dir, 'data', LOG), other.log)
  _, columns, past, _ = history_of(fake.raw_dir, data_dir, history_live=live)
  _, changed, changed_past, _ = history_of(
      other.raw_dir, str(tmp_path / 'd'), history_live=live
  )
  assert (columns['click'] != changed['click']).sum() > 100
  equal = [np.array_equal(past[name], changed_past[name]) for name in past]
  assert all(equal) if same else not all(equal)


def test_two_logs_in_time_order(fake, prepared, tmp_path):
  raw_dir = tmp_path / 'KuaiRand-Pure'
  shutil.copytree(fake.raw_dir, raw_dir)
  # The name that sorts first, LOG, holds the later rows.
  write_csv(raw_dir / 'data' / LOG, fake.log[700:])
  write_csv(raw_dir / 'data' / 'log_standard_a.csv', fake.log[:700])
  builder = KuaiRand.from_options(
      str(tmp_path), str(raw_dir), min_count=20
  ).prepare()
  columns, _ = read(builder)
  for name, column in prepared[1].items():
    if name not in ('row', 'log_file', 'tags'):
      np.testing.assert_array_equal(columns[name], column)
  assert columns['row'].tolist() == [
      *range(2, 702), *range(2, len(fake.log) - 698)
  ]  # fmt: skip
  assert builder.report['log_files'] == ['log_standard_a.csv', LOG]
  assert columns['log_file'][[699, 700]].tolist() == [0, 1]
  assert builder.report['official_logs_absent'] == [EARLY_LOG]


def edit(raw_dir, file, line, field, value):
  """Writes `value` into a field of a line; line 1 is the header."""
  path = pathlib.Path(raw_dir, 'data', file)
  with open(path, newline='') as f:
    rows = list(csv.reader(f))
  rows[line - 1][rows[0].index(field)] = value
  with open(path, 'w', newline='') as f:
    csv.writer(f, lineterminator='\n').writerows(rows)


def cut(raw_dir, file, size):
  path = pathlib.Path(raw_dir, 'data', file)
  path.write_bytes(path.read_bytes()[:size])


def set_line(raw_dir, line, text):
  path = pathlib.Path(raw_dir, 'data', LOG)
  lines = path.read_text().split('\n')
  lines[line - 1] = text
  path.write_text('\n'.join(lines))


def keep_header(raw_dir):
  path = pathlib.Path(raw_dir, 'data', LOG)
  path.write_text(path.read_text().split('\n')[0] + '\n')


BROKEN = {
    'label 2': (
        lambda d: edit(d, LOG, 30, 'is_click', '2'),
        LOG + ", row 30, field 'is_click': 2 is not allowed, it must be 0 or 1",
    ),
    'no number': (
        lambda d: edit(d, LOG, 900, 'video_id', '12x'),
        LOG + ", row 900, field 'video_id': '12x' is not a whole number",
    ),
    'no number among the users': (
        lambda d: edit(d, USERS, 5, 'onehot_feat3', 'many'),
        USERS + ", row 5, field 'onehot_feat3': 'many' is not a number",
    ),
    'no upload date': (
        lambda d: edit(d, VIDEOS, 9, 'upload_dt', '2022-13-40'),
        VIDEOS + ", row 9, field 'upload_dt': '2022-13-40' is not a date",
    ),
    'no day': (
        lambda d: edit(d, LOG, 44, 'date', '20220431'),
        LOG + ", row 44, field 'date': 20220431 is no date",
    ),
    'empty label': (
        lambda d: edit(d, LOG, 3, 'long_view', ''),
        LOG + ", row 3, field 'long_view': the field is empty",
    ),
    'negative play time': (
        lambda d: edit(d, LOG, 8, 'play_time_ms', '-5'),
        LOG + ", row 8, field 'play_time_ms': -5 is not allowed, it must be at"
        ' least 0',
    ),
    'no play time': (
        lambda d: edit(d, LOG, 9, 'play_time_ms', ''),
        LOG + ", row 9, field 'play_time_ms': the field is empty",
    ),
    'user twice': (
        lambda d: edit(d, USERS, 10, 'user_id', '3'),
        USERS + ", row 10, field 'user_id': 3 has a row already",
    ),
    'missing column': (
        lambda d: edit(d, LOG, 1, 'tab', 'tabs'),
        LOG + ", row 1, field 'tab': no such column",
    ),
    'cut in the last row': (
        lambda d: set_line(d, 2021, '12,34,2022') or cut(d, LOG, -1),
        LOG + ", row 2021, field 'date': the file ends here, in the middle of",
    ),
    'cut in the last field': (
        lambda d: cut(d, VIDEOS, -2),
        VIDEOS + ", row 81, field 'tag': the file ends here",
    ),
    'cut row inside': (
        lambda d: set_line(d, 77, '12,34,2022'),
        LOG + ", row 77, field 'date': the row has 3 fields, the header 14",
    ),
    'blank line': (
        lambda d: set_line(d, 12, ''),
        LOG + ", row 12, field 'user_id': the field is empty",
    ),
    'only a header': (
        keep_header,
        LOG + ': no rows after the header',
    ),
    'empty file': (
        lambda d: cut(d, USERS, 0),
        USERS + ", row 1, field 'user_id': no such column",
    ),
    'no users': (
        lambda d: os.remove(os.path.join(d, 'data', USERS)),
        'data has no ' + USERS,
    ),
    'no videos': (
        lambda d: os.remove(os.path.join(d, 'data', VIDEOS)),
        'data has no ' + VIDEOS,
    ),
    'no log': (
        lambda d: os.remove(os.path.join(d, 'data', LOG)),
        r'data has no log_standard_\*.csv',
    ),
    'no data': (
        lambda d: shutil.rmtree(os.path.join(d, 'data')),
        'holds no folder data/',
    ),
}


@pytest.mark.parametrize('case', BROKEN)
def test_broken_files(fake, tmp_path, case):
  raw_dir = tmp_path / 'KuaiRand-Pure'
  shutil.copytree(fake.raw_dir, raw_dir)
  damage, message = BROKEN[case]
  damage(str(raw_dir))
  builder = KuaiRand.from_options(str(tmp_path / 'out'), str(raw_dir))
  with pytest.raises(InputError, match=message) as caught:
    builder.prepare()
  assert '\n' not in str(caught.value)
  assert 'KuaiRand-Pure.tar.gz' in str(caught.value)  # What to do.
  assert not pathlib.Path(builder.data_dir).exists()


def test_no_raw_dir(tmp_path):
  with pytest.raises(InputError, match='raw_dir is empty. Download .*zenodo'):
    KuaiRand.from_options(str(tmp_path)).prepare()


def test_too_few_days(fake, tmp_path):
  builder = KuaiRand.from_options(str(tmp_path), fake.raw_dir, test_days=6)
  with pytest.raises(InputError, match='has 7 days of rows, and 6 test days'):
    builder.prepare()


@pytest.mark.parametrize(
    'option, value, words',
    [
        ('conversion', 'follow', ', .*: like, long_view'),
        ('conversion_without_click', 'ignore', ', .*: click, drop, keep'),
        ('history_form', 'int', ', .*: both, bucket, float'),
        ('test_days', 0, '; it must be a whole number in \\[1, '),
        ('valid_days', 0, '; it must be a whole number in \\[1, '),
        ('min_count', 0, '; it must be a whole number in \\[1, '),
        ('history_strength', 0.0, '; it must be a number in \\(0, '),
    ],
)
def test_options_refused(tmp_path, option, value, words):
  words = f'dataset.{option} is {value!r}{words}'
  with pytest.raises(InputError, match=words):
    KuaiRand.from_options(str(tmp_path), **{option: value})


def test_each_setting_has_its_folder(tmp_path):
  settings = [
      {},
      {'conversion': 'like'},
      {'test_days': 3},
      {'valid_days': 3},
      {'min_count': 3},
      {'conversion_without_click': 'drop'},
      {'drop_duplicates': True},
      {'play_time': True},
      {'history': True},
      {'history': True, 'history_form': 'float'},
      {'history': True, 'history_strength': 20.000001},
  ]
  folders = [
      KuaiRand.from_options(str(tmp_path), **s).data_dir for s in settings
  ]
  assert len(set(folders)) == len(folders)
  elsewhere = KuaiRand.from_options(str(tmp_path), '/elsewhere')
  assert elsewhere.data_dir == folders[0]
  named = [f for f in folders if 'play_time' in f]
  assert named == [folders[settings.index({'play_time': True})]]


def test_other_raw_files_than_prepared(fake, prepared, data_dir, tmp_path):
  raw_dir = tmp_path / 'KuaiRand-Pure'
  shutil.copytree(fake.raw_dir, raw_dir)
  options = dict(data_dir=data_dir, min_count=20)
  KuaiRand.from_options(raw_dir=str(raw_dir), **options).prepare()
  alone = KuaiRand.from_options(**options).prepare()
  assert alone.report == prepared[0].report
  assert len(alone.report['files'][LOG]['sha256']) == 64
  shutil.copy(raw_dir / 'data' / LOG, raw_dir / 'data' / EARLY_LOG)
  with pytest.raises(InputError, match=f'{EARLY_LOG} was absent then'):
    KuaiRand.from_options(raw_dir=str(raw_dir), **options)
  os.remove(raw_dir / 'data' / EARLY_LOG)
  write_csv(raw_dir / 'data' / LOG, fake.log[:-1])
  with pytest.raises(InputError, match=f'other raw files.*{LOG} was .* bytes'):
    KuaiRand.from_options(raw_dir=str(raw_dir), **options)
  clicks = {'is_click': 1 - fake.log[0]['is_click']}
  write_csv(raw_dir / 'data' / LOG, [fake.log[0] | clicks, *fake.log[1:]])
  with pytest.raises(InputError, match=f'{LOG} has as many .* other content'):
    KuaiRand.from_options(raw_dir=str(raw_dir), **options)


def real_raw_dir():
  default = pathlib.Path(__file__).parents[4] / 'shared/data/kuairand_pure'
  path = os.environ.get('ESMM_JAX_KUAIRAND', default / 'KuaiRand-Pure')
  if not pathlib.Path(path, 'data', LOG).exists():
    pytest.skip(f'no KuaiRand-Pure at {path}; set ESMM_JAX_KUAIRAND')
  return str(path)


@pytest.mark.parametrize(
    'conversion, ctcvr, cvr',
    [('long_view', 0.31, 0.70), ('like', 0.014, 0.032)],
)
def test_real_files(tmp_path, conversion, ctcvr, cvr):
  builder = KuaiRand.from_options(
      str(tmp_path),
      real_raw_dir(),
      conversion=conversion,
      play_time=True,
      history=True,
  )
  columns, split = read(builder.prepare())
  click, conversions = columns['click'].sum(), columns['conversion'].sum()
  if builder.report['rows_read'] != 185_061:
    pytest.skip(f'{len(split)} rows, so not the days of the comparison')
  assert click / 185_061 == pytest.approx(0.44, abs=0.005)
  assert conversions / 185_061 == pytest.approx(ctcvr, rel=0.03)
  assert conversions / click == pytest.approx(cvr, rel=0.03)
  assert sorted(set(columns['day'][split == 'test'].tolist())) == [
      20220504,
      20220505,
  ]
  clicked = columns['click'] == 1
  assert columns['play_time'][clicked].mean() == pytest.approx(3.3517, abs=1e-4)
  assert not columns['play_time'][~clicked].any()
  assert (split == 'train').sum() == 135_128
  assert (split == 'valid').sum() == 18_943
