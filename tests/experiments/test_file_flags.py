"""Paths on a command line, and the form of CSV files."""

import ast

from absl import flags
from esmm_jax.types import InputError
import pytest

from experiments import __main__ as programs
from experiments import file_flags
from tests import ROOT
from tests.parallel import forking

PATHS = {'workdir', 'output', 'raw_dir', 'data_dir', 'sweep', 'steps_hash'}


@pytest.mark.parametrize('name', [*programs.programs(), 'cli'])
def test_every_path_is_one(name):
  """No program defines a path as another text."""
  tree = ast.parse((ROOT / f'experiments/{name}.py').read_text('utf-8'))
  texts = {
      call.args[0].value for call in ast.walk(tree)
      if isinstance(call, ast.Call) and call.args
      and isinstance(call.args[0], ast.Constant)
      and getattr(call.func, 'attr', '').startswith('DEFINE')}
  assert not texts & PATHS


@pytest.mark.slow
def test_home_in_every_flag(tmp_path):
  (tmp_path / 'c.py').write_text(
      'from configs import esmm\n'
      'def get_config(name):\n'
      '  config = esmm.get_config(name)\n'
      '  config.dataset.name = "nonsense"\n  return config\n')
  with forking.Program('experiments.report', HOME=str(tmp_path)) as program:
    for path in ('~/run', f'file://{tmp_path}/run'):
      done = program.run(f'--workdir={path}')
      assert f'--workdir={tmp_path}/run: there is no' in done.stderr
    done = program.run(f'--workdir={tmp_path}', '--sweep=~/no.py:smoke')
    assert f'there is no file {tmp_path}/no.py' in done.stderr
  with forking.Program('experiments.train', HOME=str(tmp_path)) as program:
    done = program.run('--config=~/c.py:smoke', '--workdir=~/run')
    assert "dataset.name is 'nonsense'" in done.stderr
    done = program.run('--config=~/no.py', '--workdir=~/run')
    assert f'there is no file {tmp_path}/no.py' in done.stderr


def test_the_form(monkeypatch):
  """That of the run, but for what the flags say."""
  values = flags.FlagValues()
  monkeypatch.setattr(flags, 'FLAGS', values)
  for name in ('separator', 'header', 'encoding', 'null_values', 'quote',
               'format'):
    flags.DEFINE_string(name, None, '', flag_values=values)
  values(['x', '--separator=;', '--header='])
  form = file_flags.form({'separator': 'tab', 'header': 'none', 'quote': "'",
                          'encoding': None, 'format': 'parquet'})
  assert form.options == {'separator': ';', 'quote': "'"}
  values(['x', '--encoding=utf9'])
  with pytest.raises(InputError, match="--encoding is 'utf9'"):
    file_flags.form({'name': 'kuairand'})
