"""`dataset.history` of a log of one's own, through files, by slow loops."""

import math

from esmm_jax.data.history import parts
from esmm_jax.data.history.state import saved
from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.tabular.dataset import Tabular
from esmm_jax.types import Ragged
from esmm_jax.metrics.ranking import auc, grouped_auc
import numpy as np
from pyarrow import csv, parquet
import pyarrow as pa
import pytest

from tests.data.tabular.test_tabular import assert_same

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000  # Milliseconds.
ZONE = 8 * HOUR
# 2022-03-31 20:00 in UTC, so that days begin in the log.
START = 1_648_756_800_000
HISTORY = (
    'user,user+tab:delay=10m:last=2,tags:delay=1h:window=3h,item:delay=10m'
    ':amounts=clicks+price,session=user:pause=30m,tab:delay=1h:half_life=2h,'
    'list=item:by=user:last=3:of=click:delay=10m'
)
OPTIONS = dict(
    id='user,item', ids='tags', split='time', time='time', min_count=1,
    history=HISTORY, history_form='float')
NEITHER = ('file_number', 'row_number')


def random_log(seed=0, num=400):
  """Columns of a log in no order; delays are met to the millisecond."""
  rng = np.random.default_rng(seed)
  steps = rng.integers(0, 2 * DAY // (10 * MINUTE), num)
  time = START + steps * 10 * MINUTE + rng.integers(-1, 2, num)
  click = rng.integers(0, 2, num)
  users = np.array(['u1', 'u2', 'u3', '7', None], object)
  return {
      'user': users[rng.integers(0, 5, num)].tolist(),
      'item': rng.integers(0, 6, num).tolist(),
      'tab': rng.integers(0, 3, num).tolist(),
      'tags': [list(map(str, rng.integers(0, 4, k)))
               for k in rng.integers(0, 4, num)],
      'price': (rng.integers(-40, 400, num) / 8).tolist(),
      'click': click.tolist(),
      'conversion': (click * rng.integers(0, 2, num)).tolist(),
      'time': time.tolist(),
  }


def write(columns, path, **changes):
  """Writes a CSV or Parquet file, as the name says."""
  columns = columns | changes
  if str(path).endswith('.csv'):
    columns['tags'] = ['|'.join(tags) for tags in columns['tags']]
    csv.write_csv(pa.table(columns), str(path))
  else:
    parquet.write_table(pa.table(columns), str(path))
  return str(path)


def prepared(tmp_path, files, **options):
  return Tabular.from_options(
      str(tmp_path / 'data'), files=files, **OPTIONS | options).prepare()


def read(data, num=None):
  """Column -> all rows in the order of the log, and the name of each split."""
  pieces, names = [], []
  for name in data.info.splits:
    source = data.as_data_source(name)
    pieces.append(source.read(0, len(source)))
    names += [name] * len(source)
  order = np.lexsort((
      np.concatenate([p['row_number'] for p in pieces]),
      np.concatenate([p['file_number'] for p in pieces])))
  columns = {}
  for name in pieces[0]:
    if isinstance(pieces[0][name], Ragged):
      rows = [r for p in pieces for r in np.split(
          p[name].values, p[name].offsets[1:-1])]
      columns[name] = [rows[k].tolist() for k in order]
    else:
      columns[name] = np.concatenate([p[name] for p in pieces])[order]
  assert num is None or len(order) == num
  return columns, np.array(names)[order]


@pytest.fixture(scope='module', name='log')
def fixture_log():
  return random_log()


@pytest.fixture(scope='module', name='live')
def fixture_live(tmp_path_factory, log):
  """The log as numbers of milliseconds in one Parquet file."""
  folder = tmp_path_factory.mktemp('live')
  data = prepared(
      folder, write(log, folder / 'log.parquet'), history_zone='+08:00')
  return data, *read(data, len(log['time']))


def rows_of(log):
  names = list(log)
  return [dict(zip(names, row)) for row in zip(*log.values())]


def before(rows, i, key, limit, since=-math.inf):
  """Rows of the key with since < time <= limit; lists count each entry."""
  mine = key(rows[i])
  return [r for r in rows if since < r['time'] <= limit
          for _ in range(sum(mine.count(k) for k in key(r)))]


def scalar(*names):
  """A key of columns: none where one is missing."""
  def key(row):
    values = tuple(row[name] for name in names)
    return [] if None in values else [values]
  return key


def log_odds(clicks, shown, prior, strength=20):
  rate = (clicks + strength * prior) / (shown + strength)
  return math.log(rate / (1 - rate)) - math.log(prior / (1 - prior))


def quarters(rows, limit):
  """Rows of the quarters of an hour that ended by `limit`."""
  return [r for r in rows if (r['time'] // 900_000 + 1) * 900_000 <= limit + .5]


def total(rows, name):
  return sum(r[name] for r in rows)


def day_begin(time):
  return (time + ZONE) // DAY * DAY - ZONE


def scaled(values, split):
  values = np.array(values, float)
  train = values[split == 'train']
  return (values - train.mean()) / (train.std() or 1)


def expect(column, values, split):
  np.testing.assert_allclose(column, scaled(values, split), 2e-4, 2e-5)


@pytest.mark.parametrize('name, key, limit, width', [
    ('user', scalar('user'), lambda t: day_begin(t) - .5, math.inf),
    ('user+tab_10m', scalar('user', 'tab'), lambda t: t - 10 * MINUTE,
     math.inf),
    ('tags_1h_window_3h', lambda row: row['tags'], lambda t: t - HOUR,
     3 * HOUR),
])
def test_rates_against_a_slow_loop(name, key, limit, width, log, live):
  _, columns, split = live
  rows = rows_of(log)
  ctr, cvr, count = [], [], []
  for i, row in enumerate(rows):
    end = limit(row['time'])
    seen = before(rows, i, key, end, end - width)
    whole = quarters(rows, end)
    clicks, all_clicks = total(seen, 'click'), total(whole, 'click')
    ctr.append(log_odds(
        clicks, len(seen), (all_clicks + .5) / (len(whole) + 1)))
    cvr.append(log_odds(
        total(seen, 'conversion'), clicks,
        (total(whole, 'conversion') + .5) / (all_clicks + 1)))
    count.append(math.log1p(len(seen)))
  expect(columns[f'past_ctr_{name}'], ctr, split)
  expect(columns[f'past_cvr_{name}'], cvr, split)
  expect(columns[f'past_count_{name}'], count, split)


def test_means_and_half_lives_against_a_slow_loop(log, live):
  _, columns, split = live
  rows = rows_of(log)
  means, ctr = [], []
  for i, row in enumerate(rows):
    end = row['time'] - 10 * MINUTE
    seen, whole = before(rows, i, scalar('item'), end), quarters(rows, end)
    prior = total(whole, 'price') / max(len(whole), 1)
    means.append((total(seen, 'price') + 20 * prior) / (len(seen) + 20) - prior)
    end = row['time'] - HOUR
    seen, whole = before(rows, i, scalar('tab'), end), quarters(rows, end)
    weight = [2.0 ** ((r['time'] - end) / (2 * HOUR)) for r in seen]
    clicks = sum(w * r['click'] for w, r in zip(weight, seen))
    prior = (total(whole, 'click') + .5) / (len(whole) + 1)
    ctr.append(log_odds(clicks, sum(weight), prior))
  expect(columns['past_mean_price_item_10m'], means, split)
  expect(columns['past_ctr_tab_1h_half_2h'], ctr, split)


def test_last_rows_against_a_slow_loop(log, live):
  data, columns, _ = live
  rows = rows_of(log)
  ids = columns['item']  # The list shares its table.
  for i, row in enumerate(rows):
    limit = row['time'] - 10 * MINUTE
    seen = sorted(
        before(rows, i, scalar('user', 'tab'), limit),
        key=lambda r: (r['time'], r['click'], r['conversion']))[::-1][:2]
    levels = [2 + r['click'] + r['conversion'] for r in seen] + [0, 0]
    for k in (1, 2):
      assert columns[f'last_label_{k}_user+tab_10m'][i] == levels[k - 1]
    clicked = sorted(
        (r['time'], j) for j, r in enumerate(rows)
        if r['click'] and r['user'] == row['user'] is not None
        and r['time'] <= limit)[::-1][:3]
    times = [t for t, _ in clicked]
    got = columns['last_item_user_10m_click'][i]
    assert len(got) == len(times)
    if len(set(times)) == len(times) < 3:
      assert got == [ids[j] for _, j in clicked]
  fields = {f.name: f for f in data.schema.fields}
  assert fields['last_item_user_10m_click'].table == 'item'


def test_sessions_against_a_slow_loop(log, live):
  _, columns, split = live
  rows = rows_of(log)
  position, gap = [], []
  for i, row in enumerate(rows):
    times = sorted({r['time'] for r in before(
        rows, i, scalar('user'), row['time'] - 1)})[::-1]
    steps = 0
    for later, time in zip([row['time'], *times], times):
      if later - time > 30 * MINUTE:
        break
      steps += 1
    position.append(math.log1p(steps))
    gap.append(math.log1p((row['time'] - times[0]) / 1000) if times else None)
  has_user = np.array([r['user'] is not None for r in rows])
  known = np.array(position)[has_user & (split == 'train')]
  wanted = np.where(has_user, (position - known.mean()) / known.std(), 0)
  got = columns['session_position_user_30m']
  np.testing.assert_allclose(got, wanted, 2e-4, 2e-5)
  is_known = np.array([g is not None for g in gap])
  values = np.array([g or 0 for g in gap])
  known = values[is_known & (split == 'train')]
  wanted = np.where(is_known, (values - known.mean()) / known.std(), 0)
  got = columns['session_gap_user_30m']
  np.testing.assert_allclose(got, wanted, 2e-4, 2e-5)


def texts(time, hours, end=''):
  moments = np.array(time, 'datetime64[ms]') + np.timedelta64(hours, 'h')
  return [str(m).replace('T', ' ') + end for m in moments]


def stamps(time, unit, zone):
  array = pa.array(time, pa.timestamp('ms')).cast(pa.timestamp(unit))
  return array.cast(pa.timestamp(unit, zone))


# Form -> column of times, zone of the history.
FORMS = {
    'seconds': (lambda t: [x / 1000 for x in t], '+08:00'),
    'texts of milliseconds': (lambda t: list(map(str, t)), 'Asia/Shanghai'),
    'microseconds': (lambda t: [x * 10**3 for x in t], '+08:00'),
    'nanoseconds': (lambda t: [x * 10**6 for x in t], '+08:00'),
    'dates without a zone': (lambda t: texts(t, 8), ''),
    'moments in the zone': (lambda t: texts(t, 8, '+08:00'), ''),
    'moments of another zone': (lambda t: texts(t, 0, 'Z'), '+08:00'),
    'a type with a zone': (lambda t: stamps(t, 'us', 'Asia/Shanghai'), ''),
    'a type without': (lambda t: stamps([x + ZONE for x in t], 'ns', None), ''),
}


@pytest.mark.parametrize('form', FORMS)
def test_forms_of_times(form, log, live, tmp_path):
  """The same columns to the bit, from CSV files where that can be."""
  make, zone = FORMS[form]
  name = 'log.parquet' if form.startswith('a type') else 'log.csv'
  path = write(log, tmp_path / name, time=make(log['time']))
  columns, split = read(prepared(tmp_path, path, history_zone=zone))
  assert split.tolist() == live[2].tolist()
  assert_same({'all': _arrays(columns)}, {'all': _arrays(live[1])})


def _arrays(columns):
  """Without the lists, as arrays."""
  flat = {}
  for name, column in columns.items():
    if isinstance(column, list):
      flat[f'{name}.lengths'] = np.array(list(map(len, column)))
      column = np.array([v for row in column for v in row])
    flat[name] = column
  return flat


def test_the_order_of_files_and_rows_changes_nothing(log, live, tmp_path):
  order = np.random.default_rng(5).permutation(len(log['time']))
  pieces = np.array_split(order, [30, 31, 250])
  paths = []
  for k, rows in enumerate(pieces):
    some = {n: [column[i] for i in rows] for n, column in log.items()}
    kind = 'csv' if k % 2 else 'parquet'
    paths.append(write(some, tmp_path / f'{k}.{kind}'))
  files = [paths[k] for k in (2, 0, 3, 1)]
  rows = np.concatenate([pieces[k] for k in (2, 0, 3, 1)])
  columns, split = read(prepared(
      tmp_path, ','.join(files), history_zone='+08:00'))
  back = np.argsort(rows)
  assert split[back].tolist() == live[2].tolist()
  for name, wanted in live[1].items():
    if name in NEITHER:
      continue
    if isinstance(wanted, list):
      assert [columns[name][i] for i in back] == wanted, name
    else:
      assert columns[name][back].tobytes() == wanted.tobytes(), name


def test_a_frequent_key_in_slabs(log, live, tmp_path, monkeypatch):
  """Rows of a key in slabs of time, where it has more than a part."""
  for name, value in (('PART_ROWS', 40), ('CHUNK', 64)):
    monkeypatch.setattr(parts, name, value)
  path = write(log, tmp_path / 'log.parquet')
  columns, _ = read(prepared(tmp_path, path, history_zone='+08:00'))
  assert_same({'all': _arrays(columns)}, {'all': _arrays(live[1])})


def test_a_frame_in_memory(log, live, tmp_path):
  data = Tabular.from_frame(
      log, str(tmp_path), **OPTIONS, history_zone='+08:00').prepare()
  columns, _ = read(data)
  assert_same({'all': _arrays(columns)}, {'all': _arrays(live[1])})
  assert data.history == 'live, delay 10m, sessions'


def nightly(log, **options):
  return dict(history='user', history_zone='+08:00', split='column',
              split_column='part') | options


def in_days(log):
  """The split of each row: train, valid and test are days of the zone."""
  days = np.array([(t + ZONE) // DAY for t in log['time']])
  return np.array(['train', 'valid', 'test'])[
      np.minimum(days - days.min(), 2)].tolist()


@pytest.mark.parametrize('fit_on, capped', [
    ('train', ('valid', 'test')), ('train+valid', ('test',))])
def test_nightly_rows_see_nothing_of_their_split(fit_on, capped, tmp_path):
  """Of splits of several days."""
  log = random_log(1, 300)
  log['time'] = [START + (t - START) * 3 for t in log['time']]
  part = np.array(['train', 'valid', 'test'])[
      [min((t - START) // (2 * DAY), 2) for t in log['time']]]
  path = write(log, tmp_path / 'log.parquet', part=part.tolist())
  data = prepared(tmp_path, path, **nightly(log, fit_on=fit_on))
  columns, split = read(data, 300)
  assert data.history == 'nightly' and data.warnings == []
  rows = rows_of(log)
  first = {s: min(r['time'] for r, p in zip(rows, part) if p == s)
           for s in capped}
  count = []
  for i, row in enumerate(rows):
    asked = first.get(part[i], row['time'])
    seen = before(rows, i, scalar('user'), day_begin(asked) - 1)
    count.append(math.log1p(len(seen)))
  fitted = np.where(np.isin(split, fit_on.split('+')), 'train', 'no')
  expect(columns['past_count_user'], count, fitted)


def test_a_row_sees_nothing_of_its_request(tmp_path):
  log = random_log(2, 200)
  order = np.argsort(log['time'], kind='stable')
  log = {name: [column[i] for i in order] for name, column in log.items()}
  request = [None if k % 9 == 0 else k // 8 for k in range(200)]
  path = write(log, tmp_path / 'log.parquet', request=request)
  options = dict(history='tab:delay=1s', history_request='request')
  columns, split = read(prepared(tmp_path, path, **options))
  rows = rows_of(log)
  count = []
  for i, row in enumerate(rows):
    shown = [r['time'] for r, q in zip(rows, request) if q == request[i]]
    asked = row['time'] if request[i] is None else min(shown)
    seen = before(rows, i, scalar('tab'), asked - 1000)
    count.append(math.log1p(len(seen)))
  expect(columns['past_count_tab_1s'], count, split)


def test_rows_that_are_left_out_are_no_events(tmp_path):
  """Rows of no split, and those that a rule drops."""
  log = random_log(3, 200)
  part = in_days(log)
  part[::7] = ['ignored'] * len(part[::7])
  log['click'][::5] = [0] * 40
  log['conversion'][::5] = [1] * 40
  path = write(log, tmp_path / 'log.parquet', part=part)
  options = nightly(log, history='tab:delay=10m')
  data = prepared(
      tmp_path, path, **options, conversion_without_click='drop')
  columns, split = read(data)
  rows = rows_of(log)
  stays = [p != 'ignored' and k % 5 > 0 for k, p in enumerate(part)]
  events = [r for r, stay in zip(rows, stays) if stay]
  count = [math.log1p(len(before([r, *events], 0, scalar('tab'),
                                 r['time'] - 10 * MINUTE))) for r in events]
  assert len(split) == len(events)
  expect(columns['past_count_tab_10m'], count, split)


def test_training_rows_after_held_out_ones_are_told(tmp_path):
  log = random_log(4, 100)
  part = ['test' if k % 4 == 0 else 'train' for k in range(100)]
  path = write(log, tmp_path / 'log.parquet', part=part)
  data = prepared(tmp_path, path, **nightly(log, history='tab:delay=10m'))
  first = min(t for t, p in zip(log['time'], part) if p == 'test')
  num = sum(t > first and p == 'train' for t, p in zip(log['time'], part))
  (text,) = [w for w in data.warnings if 'later' in w]
  assert text.startswith(f"{num} training rows are later than the first row of"
                         " the split 'test' (2022-0")


def test_an_unset_history_changes_no_data(tmp_path):
  """The name is that of earlier versions."""
  config = TabularConfig(
      files='/log.csv', id='user', split='time', time='t', valid_share=.2)
  assert config.name == '6d4c545c1bad'
  same = dict(files='/log.csv', id='user', split='time', time='t')
  names = {
      TabularConfig(**same, **more).name for more in (
          {}, dict(history='user'), dict(history='user,item'),
          dict(history='user', history_form='float'),
          dict(history='user', history_strength=5.0),
          dict(history='user', history_zone='+08:00'),
          dict(history='user', history_request='r'))}
  assert len(names) == 7


def test_a_run_that_grows_keeps_the_scaling(tmp_path):
  log = random_log(6, 300)
  first = {name: column[:200] for name, column in log.items()}
  options = dict(history='user,list=item:by=user:last=3', history_form='both')
  old = prepared(
      tmp_path, write(first, tmp_path / 'a.parquet'), **options)
  log['item'] = [*log['item'][:200], *(k + 50 for k in log['item'][200:])]
  path = write(log, tmp_path / 'b.parquet')
  run = old.encoder_folder.rpartition('/')[0]
  new = prepared(tmp_path, path, **options, vocabulary_of=run)
  anew = prepared(tmp_path, path, **options)
  a, b = (saved.load_fitted(d.encoder_folder) for d in (old, new))
  assert a.scaling == b.scaling
  assert a.scaling != saved.load_fitted(anew.encoder_folder).scaling
  assert {n: e.tolist() for n, e in a.edges.items()} == {
      n: e.tolist() for n, e in b.edges.items()}
  sizes = [{f.name: f.vocab_size for f in d.schema.fields} for d in (old, new)]
  for size in sizes:
    assert size['last_item_user'] == size['item']
  assert sizes[1]['item'] > sizes[0]['item']
  assert sizes[1]['past_ctr_user_bucket'] == sizes[0]['past_ctr_user_bucket']
  # Not by what the network was not trained on.
  assert not np.array_equal(
      read(new)[0]['past_count_user'], read(anew)[0]['past_count_user'])


def grouped(score, label, *keys):
  groups = np.unique(np.stack(keys), axis=1, return_inverse=True)[1]
  return grouped_auc(score, label, groups.reshape(-1)).value


def test_coins_cannot_be_told(tmp_path):
  """Live: by user, in blocks of the shortest delay; nightly: in the day."""
  rng = np.random.default_rng(7)
  num = 6000
  time = START + rng.integers(0, 6 * DAY, num)
  click = rng.integers(0, 2, num)
  log = dict(
      user=rng.integers(0, 30, num).tolist(), click=click.tolist(),
      time=time.tolist())
  path = str(tmp_path / 'log.parquet')
  parquet.write_table(pa.table(log), path)
  options = dict(
      files=path, id='user', split='time', time='time', conversion='',
      valid_share=.2, test_share=.3, group='user', history_zone='+08:00',
      history_form='float', min_count=1)
  live = Tabular.from_options(
      str(tmp_path), history='user:delay=2h,session=user', **options).prepare()
  assert live.group_period == 'history_block'
  columns, split = read(live)
  days = (time + ZONE) // DAY
  stretch = (time + ZONE) % DAY // (2 * HOUR)
  blocks = np.unique(columns['history_block'], return_inverse=True)[1]
  pairs = set(zip(blocks, days * 100 + stretch))
  assert len(pairs) == len(set(blocks)) == len(set(days * 100 + stretch))
  score = columns['past_ctr_user_2h']
  for name in ('train', 'valid', 'test'):
    rows = split == name
    user, block = columns['user'][rows], columns['history_block'][rows]
    assert abs(grouped(score[rows], click[rows], user, block) - .5) < .04
  # Over the whole split a click lowers the rank of those before it.
  rows = split == 'test'
  assert grouped(score[rows], click[rows], columns['user'][rows]) < .48
  nightly = Tabular.from_options(
      str(tmp_path), history='user', **options).prepare()
  assert nightly.group_period == ''
  columns, split = read(nightly)
  assert 'history_block' not in columns
  for name in ('valid', 'test'):
    rows = split == name
    user, score = columns['user'][rows], columns['past_ctr_user'][rows]
    assert grouped(score, click[rows], user) == .5
    assert abs(auc(score, click[rows]) - .5) < .04
