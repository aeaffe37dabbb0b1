"""A flag that is given twice: the last one counts, of every type."""

import glob
import subprocess
import sys

from experiments import load
import pytest

from tests import ROOT

_PROGRAM = '''
from absl import flags
from experiments import cli
cli.define_config()
cli.run(lambda: print({key: eval(f'flags.FLAGS.config.{key}') for key in KEYS}))
'''


def tuples(tree, prefix=''):
  """The dotted keys whose values are tuples."""
  for key, value in tree.items():
    if hasattr(value, 'items'):
      yield from tuples(value, f'{prefix}{key}.')
    elif isinstance(value, (tuple, list)):
      yield f'{prefix}{key}'


@pytest.mark.parametrize('path', sorted(glob.glob(f'{ROOT}/configs/[!_]*.py')))
def test_the_last_tuple_counts(path):
  if path.endswith(('common.py', 'variants.py')):
    return
  for variant in ('smoke', 'tabular'):
    config = load.config(f'{path}:{variant}')
    keys = list(tuples(config))
    assert {'dataset.fields', 'dataset.tasks', 'model.tower_units'} <= {*keys}
    for key in keys:
      first = ['train', f'--config.{key}=(1,)', '--config.batch_size=3']
      for later in ([f'--config.{key}=(2,)'], [f'-config.{key}', '(2,)']):
        assert load.last_of_tuples([*first, *later], config) == [
            'train', '--config.batch_size=3', *later]
        assert load.last_of_tuples([*later, *first], config) == first
      assert load.last_of_tuples(first, config) == first


def test_other_flags_stay():
  config = load.config('configs/esmm.py')
  words = [
      'train', '--config.seed', '-1', '--config.seed=2', '--noconfig.no',
      '--config.model', 'x', '--workdir', '--config.model.tower_units']
  assert load.last_of_tuples(words, config) == words


COMMANDS = {
    'tuples': (
        ['--config.model.tower_units=(16,)', '--config.model.tower_units=(3,)'],
        {'model.tower_units': (3,)}),
    'two words': (
        ['--config.dataset.fields', 'a', '--config.dataset.fields', '("b",)'],
        {'dataset.fields': ('b',)}),
    'numbers': (
        ['--config.batch_size=16', '--config.batch_size', '32',
         '--config.log_every=3', '--config.run.log_every=4'],
        {'batch_size': 32, 'run.log_every': 4}),
    'truths': (
        ['--config.save_predictions', '--noconfig.run.save_predictions'],
        {'run.save_predictions': False}),
    'configs': (
        ['--config=configs/ple.py', '--config.batch_size=5', '--config',
         'configs/esmm.py'],
        {'batch_size': 5, 'model.name': 'shared_embedding'}),
}


@pytest.mark.slow
@pytest.mark.parametrize('case', COMMANDS)
def test_commands(case):
  flags, values = COMMANDS[case]
  code = f'KEYS = {list(values)}\n{_PROGRAM}'
  done = subprocess.run(
      [sys.executable, '-c', code, '--config=configs/esmm.py:smoke', *flags],
      cwd=ROOT, capture_output=True, text=True, check=True)
  assert done.stdout.strip() == repr(values), done.stderr
