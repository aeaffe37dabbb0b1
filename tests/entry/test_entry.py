"""Names, commands and requirements, installed and in a checkout."""

import configparser
import os
import re
import subprocess
import sys

from esmm_jax.entry import checkout, commands, requirements, shipped
from esmm_jax.experiments import __main__ as programs, load
from esmm_jax.sweeps.points import run_name
from esmm_jax.types import InputError
import pytest

from tests import ROOT

DOC = '''A.

  python -m experiments.sweep --sweep=configs/tables/a.py:cpu \\
    --workdir=runs/a
'''


@pytest.fixture
def installed(monkeypatch):
  """Commands as those of an installed package."""
  monkeypatch.setattr(checkout, 'is_checkout', lambda: False)


def python(program, *flags, **env):
  return subprocess.run(
      [sys.executable, *flags, '-c', program], capture_output=True, text=True,
      cwd=env.pop('cwd', ROOT), env=os.environ | env, check=False)


def test_a_module_is_there_once():
  done = python("""
import configs.esmm, experiments.load, esmm_jax
from configs import common
import esmm_jax.configs.esmm as esmm
from esmm_jax.configs import variants
from experiments.sweeping import plans
import configs.variants
from esmm_jax.experiments.sweeping.plans import Plan
import esmm_jax.experiments as ours, experiments
print(configs.esmm is esmm, configs is esmm_jax.configs, experiments is ours,
      configs.variants.NoVariant is variants.NoVariant, plans.Plan is Plan,
      experiments.load is ours.load, common.__spec__.name, Plan.__module__)
""")
  assert done.stdout.split() == [
      *['True'] * 6, 'esmm_jax.configs.common',
      'esmm_jax.experiments.sweeping.plans'], done.stderr


def test_configs_of_somebody_else_are_left_alone(tmp_path):
  (tmp_path / 'configs').mkdir()
  (tmp_path / 'configs' / '__init__.py').write_text('mine = 1\n')
  (tmp_path / 'configs' / 'esmm.py').write_text('mine = 2\n')
  done = python(
      'import esmm_jax.configs.mmoe\n'
      'import configs.esmm\n'
      'from esmm_jax.configs import esmm\n'
      'print(configs.mine, configs.esmm.mine, esmm.get_config().estimator)',
      cwd=tmp_path, PYTHONPATH=str(ROOT))
  assert done.stdout.split() == ['1', '2', 'entire_space'], done.stderr


@pytest.mark.parametrize('spec, kind, path', [
    ('esmm', 'config', 'configs/esmm.py'),
    ('esmm:kuairand', 'config', 'configs/esmm.py:kuairand'),
    ('configs/esmm.py:smoke', 'config', 'configs/esmm.py:smoke'),
    ('esmm:cpu', 'sweep', 'configs/tables/esmm.py:cpu'),
    ('configs/tables/causal.py', 'sweep', 'configs/tables/causal.py'),
])
def test_a_name_or_a_path(spec, kind, path, tmp_path, monkeypatch):
  monkeypatch.chdir(ROOT)
  assert shipped.find(spec, kind) == path
  assert shipped.portable(spec, kind) == path
  monkeypatch.chdir(tmp_path)  # From anywhere, and the same in names of runs.
  assert shipped.find(spec, kind) == str(ROOT / path)
  assert shipped.portable(spec, kind) == path


def test_a_file_comes_before_a_name(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'esmm').write_text('')
  assert shipped.find('esmm:smoke', 'config') == 'esmm:smoke'
  assert shipped.portable('esmm:smoke') == 'esmm:smoke'
  (tmp_path / 'configs').mkdir()
  (tmp_path / 'configs' / 'mmoe.py').write_text('')
  assert shipped.find('configs/mmoe.py', 'config') == 'configs/mmoe.py'
  assert shipped.portable('mmoe:smoke') == str(ROOT / 'configs/mmoe.py:smoke')
  assert shipped.find('mmoe', 'config') == str(ROOT / 'configs/mmoe.py')


def test_the_names():
  """Each file that makes a config or a table, and no part of them."""
  configs = {p.stem for p in (ROOT / 'configs').glob('*.py')}
  assert configs - {*shipped.names('config')} == {
      '__init__', 'common', 'variants'}
  tables = {p.stem for p in (ROOT / 'configs' / 'tables').glob('*.py')}
  assert tables - {*shipped.names('sweep')} == {
      '__init__', 'methods', 'networks'}


@pytest.mark.parametrize('spec, kind, said', [
    ('esm:smoke', 'config',
     '--config=esm:smoke: no config is called esm; did you mean esmm? There'
     ' are adatt, aitm, '),
    ('caus', 'sweep',
     '--sweep=caus: no table is called caus; did you mean causal? There are'
     ' architectures, balancing, '),
    ('mine', 'config', 'did you mean the file mine.py?'),
    ('min.py', 'config', 'there is no file min.py; did you mean ./mine.py?'),
    ('a/b.py', 'config', 'there is no file a/b.py; by name there are adatt,'),
    ('common', 'config', 'no config is called common;'),
])
def test_a_wrong_name(spec, kind, said, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'mine.py').write_text('')
  with pytest.raises(InputError) as e:
    shipped.find(spec, kind)
  assert said in str(e.value) and '\n' not in str(e.value)


def test_configs_and_tables_by_name(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert load.config('mmoe:smoke').to_dict() == load.config(
      str(ROOT / 'configs/mmoe.py:smoke')).to_dict()
  points = load.table('architectures:smoke').points
  assert points[0]['config'] == 'configs/single_task.py:smoke'
  assert load.point(points[0]).model.name == 'single_task'
  assert run_name(points[0]).startswith('single_task-smoke-')
  with pytest.raises(InputError, match="^--config=esmm:smke: No variant 'smke"):
    load.config('esmm:smke')


def test_commands_of_a_checkout():
  assert commands.command('train') == 'python -m experiments.train'
  assert commands.command() == 'python -m experiments'
  assert commands.adapted(DOC) == DOC
  assert commands.example(DOC) == (
      'python -m experiments.sweep --sweep=configs/tables/a.py:cpu'
      ' --workdir=runs/a')


@pytest.mark.usefixtures('installed')
def test_commands_of_an_installed_package():
  assert commands.command('train') == 'esmm-jax train'
  assert commands.command() == 'esmm-jax'
  assert commands.example(DOC) == (
      'esmm-jax sweep --sweep=a:cpu --workdir=runs/a')
  assert commands.example(commands.adapted(DOC)) == commands.example(DOC)
  assert commands.adapted('after experiments.calibrate, python -m\n'
                          '  experiments.predict or python -m experiments') == (
      'after esmm-jax calibrate, esmm-jax predict or esmm-jax')
  assert commands.is_one('esmm-jax sweep') and not commands.is_one('esmm:smoke')
  text = programs.text()
  assert '  esmm-jax train --config=esmm:smoke --workdir=runs/s\n' in text
  assert 'esmm-jax NAME --help' in text and 'python' not in text
  for doc in programs.programs().values():
    assert 'experiments.' not in commands.adapted(doc)


@pytest.mark.usefixtures('installed')
@pytest.mark.parametrize('name', ['experiments.train',
                                  'esmm_jax.experiments.train'])
def test_the_command_of_a_process(name):
  spec = type('Spec', (), {'name': name})
  argv = ['t.py', '--config=esmm:smoke', '--workdir=/home/me/a b',
          '--data_dir=/x']
  assert commands.of(spec, argv) == (
      "esmm-jax train --config=esmm:smoke '--workdir=a b'")
  spec.name = 'benchmarks.step'
  assert commands.of(spec, ['s.py', '--steps=2']) == (
      'python -m benchmarks.step --steps=2')


def required():
  """Distributions of install_requires."""
  setup = configparser.ConfigParser()
  setup.read(ROOT / 'setup.cfg', 'utf-8')
  lines = setup['options']['install_requires'].strip().splitlines()
  return [re.split('[>=<;[]', x)[0].strip() for x in lines if x[0] != '#']


def test_the_requirements():
  assert sorted(requirements.MODULES.values()) == sorted(required())
  assert requirements.problem() == ''
  oldest = '.'.join(map(str, requirements.OLDEST))
  assert f'python_requires = >={oldest}' in (ROOT / 'setup.cfg').read_text()


@pytest.mark.parametrize('module', ['experiments.train', 'experiments'])
def test_a_program_without_its_packages(module):
  # Not that of .venv, which would need no activation. -S: nothing installed.
  version = f'python{sys.version_info.major}.{sys.version_info.minor}'
  python = os.path.join(sys.base_prefix, 'bin', version)
  done = subprocess.run(
      [python, '-S', '-m', module, '--config=esmm:smoke'],
      capture_output=True, text=True, cwd=ROOT, check=False,
      env={k: v for k, v in os.environ.items() if k != 'PYTHONPATH'})
  assert (done.returncode, done.stdout) == (1, '')
  (line,) = done.stderr.splitlines()
  assert line.startswith('error: absl, flax, fsspec, ... are not installed for')
  assert re.search(r'Type: (make setup && )?\. \.venv/bin/activate$', line)


def test_an_older_python_and_one_package(monkeypatch):
  monkeypatch.chdir(ROOT)
  monkeypatch.setattr(requirements, 'OLDEST', (4, 0))
  now = '.'.join(map(str, sys.version_info[:2]))
  assert requirements.problem().startswith(
      f'this Python is {now}, and esmm_jax needs 4.0 or newer. Type: ')
  monkeypatch.setattr(requirements, 'OLDEST', (3, 11))
  monkeypatch.setattr(requirements, 'MODULES', {'no_such': 'no-such'})
  monkeypatch.setattr(checkout, 'is_checkout', lambda: False)
  assert requirements.problem() == (
      f'no_such is not installed for {sys.executable}. Type: {sys.executable}'
      ' -m pip install no-such')


def test_a_checkout_with_an_environment(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(checkout, 'root', lambda: str(tmp_path))
  monkeypatch.setattr(requirements, 'MODULES', {'no_such': 'no-such'})
  said = lambda: requirements.problem().partition('Type: ')[2]
  assert said() == 'make setup && . .venv/bin/activate'
  (tmp_path / '.venv' / 'bin').mkdir(parents=True)
  (tmp_path / '.venv' / 'bin' / 'activate').write_text('')
  assert said() == '. .venv/bin/activate'
  python = str(tmp_path / '.venv' / 'bin' / 'python')
  monkeypatch.setattr(sys, 'executable', python)  # Of an earlier version.
  assert said() == f'{python} -m pip install -e .'
  (tmp_path / 'else').mkdir()
  monkeypatch.chdir(tmp_path / 'else')
  assert said() == f'{python} -m pip install -e {tmp_path}'
