"""The package as others install it: built, installed, used from elsewhere."""

import json
import os
import pathlib
import shlex
import subprocess
import sys
import sysconfig
import tarfile
from typing import NamedTuple
import zipfile

import pytest

from tests import ROOT

# As `served.small_config` has them, for the numbers of the fixture `finished`.
FLAGS = [
    '--config=esmm:smoke', '--config.dataset.num_train=6000',
    '--config.dataset.num_valid=6000', '--config.dataset.num_test=3000',
    '--config.eval_batch_size=1024', '--config.evals_per_epoch=2',
    '--config.save_predictions=True',
    '--config.selection.metric=valid/ctcvr/logloss',
    '--config.selection.mode=max', '--compilation_cache=']
TABLE = '''
from esmm_jax.configs.tables import methods
from esmm_jax.sweeps import points
from esmm_jax.sweeps.table import Column, Table


def get_table(variant=''):
  return Table(
      title='Two', columns=(Column('CTR AUC', 'test/ctr/auc'),),
      rows=('@model',), points=points.product(
          points.fixed('@model', 'ESMM'), points.fixed('config', SPEC),
          points.sweep('seed', [0, 1])))
'''


class Built(NamedTuple):
  """Source distribution, wheel, and an environment that has the wheel."""

  sdist: pathlib.Path
  wheel: pathlib.Path
  bin: pathlib.Path


def call(*command, cwd, code=0, **env):
  done = subprocess.run(
      list(map(str, command)), capture_output=True, text=True, cwd=cwd,
      env={k: v for k, v in os.environ.items() if k != 'PYTHONPATH'} | env,
      check=False)
  assert done.returncode == code, done.stdout + done.stderr
  return done


def files():
  """The files of the repository, as git has them."""
  done = subprocess.run(
      ['git', 'ls-files', '-co', '--exclude-standard'], cwd=ROOT,
      capture_output=True, text=True, check=False)
  if done.returncode:
    pytest.skip('no git checkout')
  return [f for f in done.stdout.splitlines() if (ROOT / f).is_file()]


@pytest.fixture(scope='module')
def built(tmp_path_factory):
  """Builds both, the wheel of the source distribution, and installs it."""
  root = tmp_path_factory.mktemp('built')
  for name in files():
    (root / 'source' / name).parent.mkdir(parents=True, exist_ok=True)
    (root / 'source' / name).write_bytes((ROOT / name).read_bytes())
  pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', '-q']
  done = subprocess.run(
      [*pip, 'install', '--target', root / 'tools', 'build', 'setuptools>=68'],
      capture_output=True, text=True, check=False)
  if done.returncode:
    pytest.skip(f'no package index: {done.stderr.splitlines()[-1]}')
  call(sys.executable, '-m', 'build', '--no-isolation', '--outdir=.',
       root / 'source', cwd=root, PYTHONPATH=str(root / 'tools'))
  (sdist,), (wheel,) = root.glob('*.tar.gz'), root.glob('*.whl')
  call(sys.executable, '-m', 'venv', '--without-pip', 'env', cwd=root)
  python = root / 'env' / 'bin' / 'python'
  call(*pip, '--python', python, 'install', '--no-deps', wheel, cwd=root)
  # What the package needs is here already; of its own, the folder has none.
  (site,) = (root / 'env').glob('lib/*/site-packages')
  (site / 'needed.pth').write_text(sysconfig.get_path('purelib') + '\n')
  return Built(sdist, wheel, python.parent)


@pytest.mark.long
def test_the_files(built):
  tracked = set(files())
  inside = {
      name.replace('esmm_jax/configs', 'configs').replace(
          'esmm_jax/experiments', 'experiments')
      for name in zipfile.ZipFile(built.wheel).namelist()
      if '.dist-info/' not in name}
  folders = ('esmm_jax/', 'configs/', 'experiments/')
  assert inside == {f for f in tracked if f.startswith(folders)}
  assert {'esmm_jax/py.typed', 'configs/esmm.py'} <= inside
  with tarfile.open(built.sdist) as tar:
    names = {
        m.name.partition('/')[2] for m in tar.getmembers() if m.isfile()}
  left_out = {f for f in tracked - names if not f.startswith('.git')}
  assert left_out == {'.pre-commit-config.yaml'}
  assert {n for n in names - tracked if '.egg-info/' not in n} == {'PKG-INFO'}


@pytest.fixture
def elsewhere(tmp_path):
  """A folder with somebody's own `configs` and `experiments`."""
  for name in ('configs', 'experiments'):
    (tmp_path / name).mkdir()
    (tmp_path / name / '__init__.py').write_text('raise ValueError\n')
  return tmp_path


@pytest.mark.long
def test_the_programs(built, elsewhere, finished):
  """Train, evaluate, predict, sweep and table, as `esmm-jax` and by module."""
  path = f'{built.bin}{os.pathsep}{os.environ["PATH"]}'
  run = lambda *a, **k: call(*a, cwd=elsewhere, PATH=path, **k)
  data = f'--data_dir={finished.data}'
  assert '\n  esmm-jax train --config=esmm:smoke' in run('esmm-jax').stdout
  home = run(
      'python', '-c', 'import esmm_jax.configs as c; print(c.__file__)').stdout
  assert home.startswith(str(built.bin.parent))
  done = run('esmm-jax', 'train', *FLAGS, data, '--workdir=runs/s')
  results = read(elsewhere / 'runs/s/results.json')
  expected = read(finished.folder / 'results.json')
  tested = [k for k in expected if k.startswith('test/')]
  assert len(tested) > 9
  assert {k: results[k] for k in tested} == {k: expected[k] for k in tested}
  (origin,) = read(elsewhere / 'runs/s/origin.json')
  assert origin['command'] == shlex.join(
      ['esmm-jax', 'train', *FLAGS, '--workdir=runs/s'])
  again = run('python', '-m', 'esmm_jax.experiments.train', *FLAGS, data,
              '--workdir=runs/s').stdout
  assert 'This run was finished before' in again
  for text in (done.stdout, again):
    assert text.splitlines()[-1] == 'Next: esmm-jax report --workdir=runs/s'
  run('esmm-jax', 'evaluate', '--workdir=runs/s', '--split=test', data)
  evaluated = read(elsewhere / 'runs/s/evaluation.json')
  assert evaluated['ctr/auc'] == expected['test/ctr/auc']
  run('esmm-jax', 'predict', '--workdir=runs/s', '--split=test', data,
      '--output=p.parquet')
  assert (elsewhere / 'p.parquet').stat().st_size > 10000
  spec = 'configs/esmm.py:smoke'  # Which is not here.
  (elsewhere / 'two.py').write_text(TABLE.replace('SPEC', repr(spec)))
  done = run('esmm-jax', 'sweep', '--sweep=two.py', '--workdir=runs/two', data)
  last = done.stdout.splitlines()[-1]
  assert last.endswith('esmm-jax table --sweep=two.py --workdir=runs/two')
  table = run(*shlex.split(last.partition('table: ')[2])).stdout
  assert '| ESMM  | 2 |' in table


@pytest.mark.long
def test_wrong_names_and_packages(built, elsewhere):
  script = built.bin / 'esmm-jax'
  error = lambda *a, code: call(script, *a, cwd=elsewhere, code=code).stderr
  assert error('trian', code=2).startswith(
      "error: there is no program 'trian'. Did you mean 'train'?")
  assert error('train', code=2) == (
      'error: --config is not set. For example: esmm-jax train'
      ' --config=esmm:smoke --workdir=runs/s (--help lists all flags)\n')
  said = error('train', '--config=esm', '--workdir=s', code=2)
  assert said.startswith('error: --config=esm: no config is called esm; did')
  said = error('table', '--sweep=causal:cpu', '--workdir=s', code=1)
  assert 'First: esmm-jax sweep --sweep=causal:cpu --workdir=s' in said
  (needed,) = built.bin.parent.glob('lib/*/site-packages/needed.pth')
  needed.rename(needed.with_suffix('.off'))
  try:
    said = error('train', code=1)
  finally:
    needed.with_suffix('.off').rename(needed)
  assert said.startswith('error: absl, flax, fsspec, ... are not installed for')
  assert 'bin/python -m pip install absl-py flax ' in said
  assert said.count('\n') == 1


def read(path):
  return json.loads(path.read_text('utf-8'))
