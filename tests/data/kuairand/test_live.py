"""KuaiRand's histories as texts: a slow loop, forms of the option, protocols."""

import math
import sys

from absl import flags
from configs import common
from esmm_jax.data.history import language
from esmm_jax.data.kuairand.config import HISTORY, KuaiRandConfig
from esmm_jax.data.kuairand.dataset import KuaiRand
from esmm_jax.types import InputError, Ragged
from esmm_jax.workdir import folder
from experiments import load
from ml_collections import config_flags
import numpy as np
import pytest

from tests.data.kuairand import test_kuairand
from tests.data.kuairand.test_kuairand import read

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


TRUE = [True, 'true', 'True', ' TRUE ', 1]
FALSE = [False, 'false', 'False', '', 0, 'none']


@pytest.mark.parametrize('value', TRUE)
def test_forms_of_true(value):
  config = KuaiRandConfig(history=value)
  assert config.history is True
  assert config.name.endswith('-history_both_20')
  assert len(config.specs) == 6
  assert config.protocol == 'nightly'


@pytest.mark.parametrize('value', FALSE)
def test_forms_of_false(value):
  config = KuaiRandConfig(history=value)
  assert config.history is False
  assert config.name == KuaiRandConfig().name
  assert (config.specs, config.protocol) == ((), '')


TEXTS = ['user_id', 'user_id:delay=10m,video_id', "list=video_id:by='user_id'"]


@pytest.mark.parametrize('text, value', [
    ('true', True), ('false', False), ('True', True), *zip(TEXTS, TEXTS)])
def test_on_the_command_line_and_in_a_sweep(text, value, monkeypatch):
  config = common.base()
  config.dataset = common.kuairand()
  argv = ['program', f'--config.dataset.history={text}']
  monkeypatch.setattr(sys, 'argv', argv)
  values = flags.FlagValues()
  config_flags.DEFINE_config_dict('config', config, flag_values=values)
  values(argv)
  assert values.config.dataset.history == value
  swept = common.base()
  swept.dataset = common.kuairand()
  for other in (True, False, None, value):
    load.set_key(swept, 'dataset.history', other)
    assert swept.dataset.history == other


def test_a_run_records_what_earlier_versions_did():
  config = common.base()
  config.dataset = common.kuairand()
  assert 'history' not in folder.record(config)['dataset']
  config.dataset.history = True
  assert folder.record(config)['dataset']['history'] is True
  config.dataset.history = 'user_id:delay=10m'
  assert folder.record(config)['dataset']['history'] == 'user_id:delay=10m'


@pytest.mark.parametrize('value, words', [
    (3, r'dataset.history is 3; it must be true, false, or a text'),
    (['user_id'], r"is \['user_id'\]; it must be"),
    ('yes', r"names 'yes', which is no column .* of KuaiRand"),
    ('user', r"names 'user', .*[Dd]id you mean 'user_id'"),
    ('upload_age', r"names 'upload_age'"),
    ('is_click', r"names 'is_click'"),
    ('user_id+hours', r"names 'hours', .*'hour'"),
    ('list=video:by=user_id', r"names 'video', .*'video_id'"),
    ('list=tags:by=user_id', r'many tags'),
    ('list=video_id:by=tags', r'many tags'),
    ('tags:last=2', r'many tags'),
    ('session=user_id+tags', r'many tags'),
    ('user_id:amounts=likes', r"amounts names 'likes'.*is_like"),
    ('user_id:amounts=is_follow', r"amounts names 'is_follow'"),
    ('user_id:dely=10m', r"'dely' is no option here.*delay"),
    ('user_id,user_id', r'an earlier part makes too'),
])
def test_refused(tmp_path, value, words):
  with pytest.raises(InputError, match=words) as e:
    KuaiRand.from_options(str(tmp_path), history=value)
  assert '\n' not in str(e.value)


def test_history_live_is_of_days():
  KuaiRandConfig(history='user_id,video_id:delay=2d', history_live=True)
  for text in ('user_id:delay=23h', 'session=user_id', 'user_id,tab:delay=5s'):
    with pytest.raises(InputError, match='history is live, .* by itself'):
      KuaiRandConfig(history=text, history_live=True)


@pytest.mark.parametrize('options, protocol', [
    ({}, ''),
    ({'history': True}, 'nightly'),
    ({'history': True, 'history_live': True}, 'live, delay 1d'),
    ({'history': 'user_id:delay=2d'}, 'nightly'),
    ({'history': 'user_id:delay=2d', 'history_live': True}, 'live, delay 2d'),
    ({'history': 'user_id:delay=10m,tab'}, 'live, delay 10m'),
    ({'history': 'tab,session=user_id'}, 'live, delay 1d, sessions'),
])
def test_protocols(tmp_path, options, protocol):
  assert KuaiRand.from_options(str(tmp_path), **options).history == protocol


def test_folders_of_texts():
  texts = [
      'user_id', 'user_id,tab', 'tab,user_id', 'user_id:delay=10m',
      'user_id:delay=10m:last=2', 'user_id:form=float', 'user_id:strength=5',
      'session=user_id', 'list=video_id:by=user_id']
  names = [KuaiRandConfig(history=text).name for text in texts]
  names += [KuaiRandConfig(history='user_id', **other).name for other in (
      {'history_form': 'bucket'}, {'history_strength': 3.0},
      {'history_live': True}, {'valid_days': 2})]
  assert len(set(names)) == len(names)
  assert all(len(name) < 100 and '/' not in name for name in names)
  spaced = KuaiRandConfig(history=' user_id , tab ').name
  assert spaced == KuaiRandConfig(history='user_id,tab').name
  strong = KuaiRandConfig(history='user_id', history_strength=20).name
  assert strong == names[0]


def test_variants():
  configs = {
      name: load.config(f'configs/esmm.py:{name}')
      for name in common.KUAIRAND_HISTORIES
  }
  texts = {name: c.dataset.history for name, c in configs.items()}
  assert texts['kuairand'] is None
  assert texts['kuairand_history'] is True
  protocols = {
      name: KuaiRandConfig(history=text or False).protocol
      for name, text in texts.items()
  }
  assert protocols == {
      'kuairand': '',
      'kuairand_history': 'nightly',
      'kuairand_live': 'live, delay 60s, sessions',
      'kuairand_live_cautious': 'live, delay 60m',
  }
  nightly = language.parse(HISTORY)
  for name in ('kuairand_live', 'kuairand_live_cautious'):
    assert language.parse(texts[name])[: len(nightly)] == nightly
    config = configs[name]
    config.dataset.history = True
    assert config.to_dict() == configs['kuairand_history'].to_dict()
