"""The benchmark's lines, of the smallest sizes: that they are printed."""

import json

import pytest

from tests.parallel import forking

COMMANDS = {
    'step': (
        'step', '--kinds=train', '--rows=1000', '--batch_size=64', '--steps=2',
        '--windows=1'),
    'auc': ('auc', '--rows=1000'),
    'memory': ('memory', '--rows=1000', '--table_optimizer=adam'),
    'dense': (
        'step', '--kinds=lazy,dense', '--rows=1000', '--batch_size=64',
        '--steps=2', '--windows=1'),
    'data': ('data',),
}
QUICK = ('auc',)


@pytest.fixture(scope='module')
def program():
  with forking.Program('experiments.benchmark') as program:
    yield program


@pytest.mark.slow
@pytest.mark.parametrize('name', [
    n if n in QUICK else pytest.param(n, marks=pytest.mark.long)
    for n in COMMANDS])
def test_lines(name, program, tmp_path):
  done = program.run(*COMMANDS[name], f'--data_dir={tmp_path}')
  assert done.returncode == 0, done.stderr
  lines = [json.loads(line) for line in done.stdout.splitlines()]
  assert lines
  for line in lines:
    assert line['name'] and line['rows'] > 0 and line['ms'] > 0
