"""The commands and the program of README.md and of the pages beside it."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys

from esmm_jax.balancing import BALANCERS
from esmm_jax.estimators import ESTIMATORS
from esmm_jax.json_files import read_json
from esmm_jax.models import MODELS
import pytest

from tests import ROOT
from tests.data.kuairand.test_kuairand import make_raw

README = (ROOT / 'README.md').read_text('utf-8')
SHORT = [
    '--config.num_epochs=1', '--config.batch_size=256',
    '--config.model.tower_units=4,', '--config.model.embed_dim=2',
    '--config.dataset.check_counts=False',
]


def page(name):
  return (ROOT / 'docs' / name).read_text('utf-8')


def commands(text):
  """The commands of `python -m` in a page, as lists of words."""
  blocks = re.findall(r'^```\n(.*?)^```$', text, re.M | re.S)
  lines = ''.join(blocks).replace('\\\n', ' ').splitlines()
  return [shlex.split(x) for x in lines if x.startswith('python -m ')]


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  """A folder that looks like the checkout, for what is written there."""
  folder = tmp_path_factory.mktemp('readme')
  (folder / 'configs').symlink_to(ROOT / 'configs')
  make_raw(folder / 'KuaiRand-Pure', n=900)
  return folder


def run(root, words):
  env = dict(
      os.environ, JAX_PLATFORMS='cpu', JAX_DISABLE_MOST_OPTIMIZATIONS='1',
      PYTHONPATH=os.fspath(ROOT), HOME=os.fspath(root))
  done = subprocess.run(
      [sys.executable, *words], cwd=root, env=env, text=True,
      capture_output=True, check=False)
  assert done.returncode == 0, (words, done.stdout, done.stderr)
  return done.stdout


def test_it_is_short():
  assert len(README.splitlines()) <= 150


def test_its_counts():
  text = ' '.join(README.split())
  words = {9: 'Nine', 19: 'nineteen', 21: 'twenty-one'}
  assert (
      f'{words[len(MODELS)]} architectures, {words[len(ESTIMATORS)]} estimators'
      f' and {words[len(BALANCERS)]} methods of balancing') in text


def test_every_guide_is_named():
  names = {p.name for p in (ROOT / 'docs').glob('*.md')}
  assert names == set(re.findall(r'\]\(docs/(\w+\.md)\)', README))


def test_models_page_names_all():
  text = page('models.md')
  for name in [*MODELS, *(x for x in ESTIMATORS if 'delayed' not in x)]:
    assert f'`{name}`' in text, name
  configs = {p.stem for p in (ROOT / 'configs').glob('*.py')}
  named = re.search(r'config of its own: (.*?)\.\n', text, re.S)[1]
  assert set(re.findall(r'`(\w+)`', named)) <= configs


@pytest.mark.long
def test_quick_start(root):
  """As it stands, in the order in which it stands."""
  first = commands(README)
  assert [words[2] for words in first] == [
      f'experiments.{x}' for x in (
          'train', 'train', 'report', 'sweep', 'table')]
  printed = [run(root, words[1:]) for words in first]
  assert (root / 'runs/esmm/report.html').exists()
  assert read_json(str(root / 'runs/click/results.json'))['seed'] == 1
  assert 'ESMM-NS' in printed[-1] and 'DIVISION' in printed[-1]
  (code,) = re.findall(r'^```python\n(.*?)^```$', README, re.M | re.S)
  (root / 'mine.py').write_text(f'''{code}
assert sorted(scores) == ['p_ctcvr', 'p_ctr', 'p_cvr']
assert len(scores['p_ctr']) == 20_000
''')
  run(root, ['mine.py'])
  results = read_json(str(root / 'runs/mine/results.json'))
  assert results['test/ctr/auc'] > 0.6


@pytest.mark.long
def test_data_sets(root):
  (train, *of_ali_ccp) = commands(page('data_sets.md'))
  run(root, [*train[1:], *SHORT])
  assert (root / 'runs/like/results.json').exists()
  # tests/data/ali_ccp runs them on files of its own.
  assert [words[2] for words in of_ali_ccp] == [
      'experiments.prepare_data', 'experiments.train']


@pytest.mark.long
def test_sweeps(root):
  sweep, table, seesaw, tune = commands(page('sweeps.md'))
  run(root, sweep[1:])
  assert 'ESMM' in run(root, table[1:])
  run(root, seesaw[1:])
  assert (root / 'runs/seesaw/seesaw.html').exists()
  assert tune[2] == 'experiments.tune'
  if importlib.util.find_spec('optuna'):
    assert 'experiments.train' in run(root, tune[1:])
    assert (root / 'runs/tune/trials.csv').exists()


def test_tables_page_names_all():
  tables = {
      p.stem for p in (ROOT / 'configs' / 'tables').glob('*.py')
      if 'VARIANTS' in p.read_text('utf-8')}
  named = set()
  for line in page('sweeps.md').splitlines():
    if line.startswith('| `'):
      named |= set(re.findall(r'`(\w+)`', line.split('|')[1]))
  assert named == tables
