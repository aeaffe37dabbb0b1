"""The commands and programs of docs/history.md, on small logs."""

import os
import re
import shlex
import subprocess
import sys

from esmm_jax import histories
from esmm_jax.data.history import language, specs
from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.tabular.past import options
from esmm_jax.json_files import read_json
import numpy as np
from pyarrow import parquet
import pyarrow as pa
import pytest

from tests import ROOT
from tests.data.kuairand.test_kuairand import make_raw

TEXT = (ROOT / 'docs' / 'history.md').read_text('utf-8')
# What makes a training short.
SHORT = [
    '--config.num_epochs=1', '--config.batch_size=256',
    '--config.model.tower_units=4,', '--config.model.embed_dim=2',
]
# The same of a sweep.
SHORT_SWEEP = [
    f'--override={text.removeprefix("--config.")}' for text in SHORT
] + ['--override=dataset.check_counts=False']
DAY = 86_400_000


def blocks(kind):
  """The blocks of code of a kind, '' for commands."""
  every = re.findall(r'^```(\w*)\n(.*?)^```$', TEXT, re.M | re.S)
  return [text for name, text in every if name == kind]


def commands():
  """The commands, as lists of words."""
  lines = '\n'.join(blocks('')).replace('\\\n', ' ').splitlines()
  return [shlex.split(x) for x in lines if x.startswith('python -m ')]


def table(option):
  """The first column of the table whose first heading is `option`."""
  (rows,) = re.findall(
      rf'^\| {option} \|[^\n]*\n\|-[^\n]*\n((?:\|[^\n]*\n)+)', TEXT, re.M)
  return [row.split('|')[1].strip() for row in rows.splitlines()]


def test_every_option_of_the_language_is_in_the_table():
  told = {text.strip('`').partition('=')[0] for text in table('option')}
  fields = {
      *(f for spec in (specs.Counter, specs.Session, specs.Entries)
        for f in spec.__dataclass_fields__)}
  # These are the key, the column and the name of `of`.
  assert told == fields - {'key', 'column', 'only'} | {'by', 'of'}
  assert table('part') == ['`KEY`', '`session=KEY`', '`list=COLUMN:by=KEY`']
  beside = ' '.join(table('key'))
  assert set(re.findall(r'`(\w+)`', beside)) == {
      name for name in options.NAMES if name != 'history'}


@pytest.mark.parametrize('text', [
    x.strip('`') for x in table('option') if x.strip('`') != '`'])
def test_each_option_can_be_written(text):
  part = 'user'
  if text.startswith(('of', 'last=20')):
    part = 'list=item:by=user'
  elif text.startswith('pause'):
    part = 'session=user'
  elif text.startswith('by'):
    part = 'list=item'
  (spec,) = language.parse(f'{part}:{text}')
  assert specs.protocol([spec]) == (
      'live, sessions' if text.startswith('pause')
      else 'live, delay 10m' if text.startswith('delay') else 'nightly')


@pytest.mark.parametrize('text, name', [
    ('user+tab:delay=1h', 'past_ctr_user+tab_1h'),
    ('video:window=7d', 'past_cvr_video_window_7d'),
    ('list=item:by=user:of=click:delay=10m', 'last_item_user_10m_click'),
    ('user:amounts=watched', 'past_mean_watched_user'),
    ('user:last=2', 'last_age_1_user'),
    ('session=user', 'session_gap_user_30m'),
])
def test_names_of_columns(text, name):
  config = TabularConfig(
      files='a.parquet', id='user,item,tab,video', time='time', split='time',
      history=text)
  names = [field.name for field in options.fields(config)]
  assert name in names
  assert name.split('_user')[0].split('_video')[0] in TEXT.replace('KEY', '')


def test_the_line_of_a_table_with_both():
  line = histories.comparison(['nightly', 'nightly', 'live, delay 10m'])
  assert line in ' '.join(TEXT.split())


def write_logs(folder):
  """Six days of a log, of which the last is new."""
  rng = np.random.default_rng(0)
  num = 1500
  time = np.sort(rng.integers(0, 6 * DAY, num))
  user = rng.integers(0, 40, num)
  click = (rng.random(num) < 0.2 + 0.4 * (user % 3 == 0)).astype(np.int64)
  whole = pa.table({
      'user': user, 'item': rng.integers(0, 60, num),
      'tab': rng.integers(0, 3, num), 'click': click,
      'conversion': click * rng.integers(0, 2, num),
      'time': pa.array(time + 1_772_000_000_000, pa.timestamp('ms', 'UTC')),
  })
  parquet.write_table(whole.slice(0, 1250), folder / 'log.parquet')
  parquet.write_table(whole.slice(1250), folder / 'new.parquet')


@pytest.fixture(scope='module')
def ran(tmp_path_factory):
  """Folder in which every command has run, and what the commands printed."""
  root = tmp_path_factory.mktemp('docs')
  write_logs(root)
  make_raw(root / 'KuaiRand-Pure', n=900)
  (root / 'configs').symlink_to(ROOT / 'configs')
  printed = []
  for words in commands():
    if 'experiments.train' in words:
      words = [*words, *SHORT]
      if 'KuaiRand-Pure' in ' '.join(words):
        words.append('--config.dataset.check_counts=False')
    # Of the table one seed.
    words = [re.sub(r'(tables/history\.py)$', r'\1:smoke', w) for w in words]
    if 'experiments.sweep' in words:
      words = [*words, *SHORT_SWEEP]
    if 'experiments.table' in words:
      printed.append((words, run(root, words[1:]).stdout))
      continue
    done = run(root, [*words[1:], f'--data_dir={root / "data"}'])
    printed.append((words, done.stdout))
  return root, printed


def run(root, words):
  env = dict(
      os.environ, JAX_PLATFORMS='cpu', JAX_DISABLE_MOST_OPTIMIZATIONS='1',
      PYTHONPATH=os.fspath(ROOT))
  done = subprocess.run(
      [sys.executable, *words], cwd=root, env=env, text=True,
      capture_output=True, check=False)
  assert done.returncode == 0, (words, done.stdout, done.stderr)
  return done


@pytest.mark.long
def test_commands(ran):
  root, printed = ran
  assert len(printed) == 8
  protocols = [
      read_json(str(root / 'runs' / name / 'results.json'))['history']
      for name in ('live', 'kuairand_live')]
  assert protocols == [
      'live, delay 10m, sessions', 'live, delay 60s, sessions']
  replayed, looked_up = (
      parquet.read_table(root / f'{name}.parquet')
      for name in ('scores', 'scores_of_state'))
  assert replayed.num_rows == looked_up.num_rows == 250
  assert replayed['p_ctr'] != looked_up['p_ctr']
  assert 'history: replayed, 250 labelled rows' in printed[2][1]
  assert 'history: looked up' in printed[3][1]
  assert f'[{protocols[0]}]' in printed[4][1]
  for protocol in ('nightly', 'live, delay 60m', protocols[1]):
    assert f'[{protocol}]' in printed[7][1]


@pytest.mark.long
def test_programs(ran):
  """What has been observed counts, travels, and is what a replay counts."""
  root, _ = ran
  first, second = blocks('python')
  (root / 'first.py').write_text(f'''{first}
import numpy as np
assert (before['p_ctr'] != after['p_ctr']).any()
again = predictor.predict(rows)
assert all((again[name] == after[name]).all() for name in after)
predictor.observe(rows.slice(200))
replayed = parquet.read_table('scores.parquet')
for name, scores in predictor.predict(rows).items():
  assert (scores == replayed[name].to_numpy()).all()
''')
  run(root, ['first.py'])
  # Without the package.
  (root / 'second.py').write_text(f'''{second}
assert 'esmm_jax' not in sys.modules
assert all(len(values) == 250 for values in features.values())
assert any((rows.encode(table)[k] != v).any() for k, v in features.items())
''')
  done = subprocess.run(
      [sys.executable, 'second.py'], cwd=root, text=True, capture_output=True,
      env=dict(os.environ, PYTHONPATH=''), check=False)
  assert done.returncode == 0, done.stderr
