"""KuaiRand's histories as texts, prepared: against a slow loop, to the bit."""

import math

from esmm_jax.data.kuairand.config import HISTORY
from esmm_jax.data.kuairand.dataset import KuaiRand
from esmm_jax.types import Ragged
import numpy as np
import pytest

from tests.data.kuairand import test_kuairand
from tests.data.kuairand.test_kuairand import read

pytestmark = pytest.mark.slow
TEXT = (
    'user_id,user_id+tab:delay=90s:last=2,tags:delay=2m,'
    'video_id:delay=20s:amounts=play_time_ms,session=user_id:pause=2m,'
    'list=video_id:by=user_id:last=3:of=click:delay=30s'
)


@pytest.fixture(scope='module', name='fake')
def fixture_fake(tmp_path_factory):
  raw_dir = tmp_path_factory.mktemp('raw') / 'KuaiRand-Pure'
  return test_kuairand.make_raw(raw_dir, n=700)


@pytest.fixture(scope='module', name='data_dir')
def fixture_data_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp('prepared'))


@pytest.fixture(scope='module', name='live')
def fixture_live(fake, data_dir):
  builder = KuaiRand.from_options(
      data_dir, fake.raw_dir, history=TEXT, history_form='float', min_count=2)
  columns, split = read(builder.prepare())
  return builder, columns, split == 'train'


def rows_before(fake, key, seconds, i):
  """The rows that row `i` sees, the newest first; a row for each entry."""
  row = fake.log[i]
  wanted = key(row)
  rows = []
  for j, other in enumerate(fake.log):
    if other['time_ms'] <= row['time_ms'] - 1000 * seconds:
      times = sum(key(other).count(entry) for entry in wanted)
      rows += [(other['time_ms'], j, other)] * times
  return [other for _, _, other in sorted(rows, key=lambda r: r[:2])[::-1]]


def log_odds(part, whole, prior):
  rate = (part + 20 * prior) / (whole + 20)
  return math.log(rate / (1 - rate)) - math.log(prior / (1 - prior))


def quarters_before(fake, seconds, i):
  """The rows of quarters of an hour that have ended: those of the prior."""
  limit = fake.log[i]['time_ms'] - 1000 * seconds
  return [r for r in fake.log if (r['time_ms'] // 900_000 + 1) * 900_000
          <= limit + 1e-6]


def scaled(values, train):
  values = np.array(values, float)
  return (values - values[train].mean()) / values[train].std()


@pytest.mark.parametrize('name, key, seconds', [
    ('user_id+tab_90s', lambda r: [(r['user_id'], r['tab'])], 90),
    ('tags_2m', None, 120),
])
def test_rates_against_a_slow_loop(fake, live, name, key, seconds):
  _, columns, train = live
  if key is None:
    def key(row):
      return [t for t in fake.videos[row['video_id']]['tag'].split(',') if t]
  ctr, cvr, count = [], [], []
  for i in range(len(fake.log)):
    rows = rows_before(fake, key, seconds, i)
    every = quarters_before(fake, seconds, i)
    clicks = sum(r['is_click'] for r in rows)
    all_clicks = sum(r['is_click'] for r in every)
    both = sum(r['is_click'] * r['long_view'] for r in rows)
    all_both = sum(r['is_click'] * r['long_view'] for r in every)
    ctr.append(log_odds(
        clicks, len(rows), (all_clicks + 0.5) / (len(every) + 1)))
    cvr.append(log_odds(both, clicks, (all_both + 0.5) / (all_clicks + 1)))
    count.append(math.log1p(len(rows)))
  for kind, values in (('ctr', ctr), ('cvr', cvr), ('count', count)):
    np.testing.assert_allclose(
        columns[f'past_{kind}_{name}'], scaled(values, train), atol=1e-4)


def test_means_last_labels_and_lists_against_a_slow_loop(fake, live):
  builder, columns, train = live
  means = []
  lists = columns['last_video_id_user_id_30s_click']
  video_ids = columns['video_id']
  row_of = {(r['time_ms'], r['video_id']): k for k, r in enumerate(fake.log)}
  for i in range(len(fake.log)):
    rows = rows_before(fake, lambda r: [r['video_id']], 20, i)
    every = quarters_before(fake, 20, i)
    mean = sum(r['play_time_ms'] for r in every) / max(len(every), 1)
    total = sum(r['play_time_ms'] for r in rows)
    means.append((total + 20 * mean) / (len(rows) + 20) - mean)
    rows = rows_before(fake, lambda r: [(r['user_id'], r['tab'])], 90, i)
    for k in range(2):
      label = 0
      if k < len(rows):
        label = 2 + rows[k]['is_click'] * (1 + rows[k]['long_view'])
      assert columns[f'last_label_{k + 1}_user_id+tab_90s'][i] == label
    rows = rows_before(fake, lambda r: [r['user_id']], 30, i)
    rows = [r for r in rows if r['is_click']][:3]
    wanted = [
        video_ids[row_of[r['time_ms'], r['video_id']]] for r in rows]
    assert entries(lists, i) == wanted
  np.testing.assert_allclose(
      columns['past_mean_play_time_ms_video_id_20s'], scaled(means, train),
      atol=1e-4)
  field = builder.schema.field('last_video_id_user_id_30s_click')
  assert (field.table, field.max_len) == ('video_id', 3)
  assert field.vocab_size == builder.schema.field('video_id').vocab_size


def entries(lists: Ragged, i: int) -> list[int]:
  return lists.values[lists.offsets[i] : lists.offsets[i + 1]].tolist()


def test_sessions_against_a_slow_loop(fake, live):
  _, columns, train = live
  position, age, last, begin = [], [], {}, {}
  steps = {}
  for row in fake.log:  # In order of time; duplicates are of one moment.
    user, time = row['user_id'], row['time_ms'] / 1000
    if user in last and last[user] == time:
      position.append(position[-1])
      age.append(age[-1])
      continue
    if user not in last or time - last[user] > 120:
      steps[user], begin[user] = 0, time
    position.append(math.log1p(steps[user]))
    age.append(math.log1p(time - begin[user]))
    steps[user], last[user] = steps[user] + 1, time
  for name, values in (('position', position), ('age', age)):
    np.testing.assert_allclose(
        columns[f'session_{name}_user_id_2m'], scaled(values, train), atol=1e-4)


def test_a_day_is_that_of_the_date_and_sees_the_days_of_its_split(
    fake, data_dir, live
):
  """The fake's times are of one evening, its dates of a week."""
  options = dict(history_form='float', min_count=2)
  by_day = KuaiRand.from_options(
      data_dir, fake.raw_dir, history=True, history_live=True, **options)
  wanted, _ = read(by_day.prepare())
  for kind in ('ctr', 'cvr', 'count'):
    name = f'past_{kind}_user_id'
    np.testing.assert_array_equal(live[1][name], wanted[name])
  declared = KuaiRand.from_options(
      str(data_dir) + '-', history=TEXT, history_form='float').schema
  assert [(f.name, f.kind, f.table) for f in declared.fields] == [
      (f.name, f.kind, f.table) for f in live[0].schema.fields
  ]
  dated = live[0].report['rows_dated_on_another_day']
  assert dated == len(fake.log)
  assert 'rows_dated_on_another_day' not in by_day.report


@pytest.mark.parametrize('options', [
    {}, {'history_live': True}, {'history_form': 'float', 'valid_days': 2}])
def test_true_is_a_text_to_the_bit(fake, data_dir, options):
  columns = [
      KuaiRand.from_options(
          data_dir, fake.raw_dir, history=history, **options).prepare()
      for history in (True, HISTORY)
  ]
  assert columns[0].schema == columns[1].schema
  assert columns[0].period == columns[1].period
  one, other = (read(builder)[0] for builder in columns)
  assert sum(name.startswith('past_') for name in one) >= 18
  for name, column in one.items():
    for a, b in zip(arrays(column), arrays(other[name])):
      np.testing.assert_array_equal(a, b)


def arrays(column):
  return (column.values, column.offsets) if isinstance(column, Ragged) else (
      column,)
