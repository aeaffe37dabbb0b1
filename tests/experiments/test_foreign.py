"""No program writes over, follows or removes what somebody else made.

Each name that a program writes, as a file, a folder with something in it and a
symbolic link. The refusal comes first: no run and no data is needed for it.
"""

import json
import os

from configs import esmm
from esmm_jax import ownership
from esmm_jax.training.loop import train_and_evaluate, train_replicas
from esmm_jax.types import InputError
import pytest

from tests.parallel import forking

SWEEP = '--sweep=configs/tables/architectures.py:smoke'
CONFIG = '--config=configs/esmm.py:smoke'


def make(path, form, aim):
  """Puts something under a name; the links lead to what is at `aim`."""
  if form == 'file':
    path.write_text('mine')
  elif form == 'folder':
    path.mkdir()
    (path / 'mine').write_text('mine')
  else:
    aim.mkdir()
    (aim / 'mine').write_text('mine')
    path.symlink_to(aim if form == 'link to a folder' else aim / 'mine')


FORMS = ('file', 'folder', 'link to a file', 'link to a folder')
forms = pytest.mark.parametrize('form', FORMS)


def tree(folder):
  """Path -> content, of links where they lead."""
  entries = {}
  for root, folders, names in os.walk(folder):
    for name in (*folders, *names):
      path = os.path.join(root, name)
      if os.path.islink(path):
        entries[path] = os.readlink(path)
      elif os.path.isfile(path):
        with open(path, encoding='utf-8') as f:
          entries[path] = f.read()
      else:
        entries[path] = None
  return entries


def names(kind):
  return sorted(
      name.replace('[0-9]*', '00000-000000000000').replace('*', '-a')
      for name in (*kind.files, *kind.folders))


def small():
  config = esmm.get_config('smoke')
  config.dataset.num_train = 1024
  return config


@forms
@pytest.mark.parametrize('name', names(ownership.RUN))
def test_train(tmp_path, name, form):
  workdir = tmp_path / 'run'
  workdir.mkdir()
  make(workdir / name, form, tmp_path / 'aim')
  before = tree(tmp_path)
  with pytest.raises(InputError) as e:
    train_and_evaluate(small(), str(workdir), str(tmp_path / 'data'))
  assert f'--workdir={workdir}' in str(e.value) and name in str(e.value)
  assert 'elete' not in str(e.value) and '\n' not in str(e.value)
  assert tree(tmp_path) == before


@forms
@pytest.mark.parametrize('where', ['home', 'second'])
def test_train_replicas(tmp_path, where, form):
  """The folder of the group, and that of one of its runs."""
  folders = {name: tmp_path / name for name in ('first', 'second', 'home')}
  folders[where].mkdir()
  make(folders[where] / 'checkpoints', form, tmp_path / 'aim')
  before = tree(tmp_path)
  with pytest.raises(InputError, match=f'{where}.*checkpoints'):
    train_replicas(
        [small(), small()],
        [str(folders['first']), str(folders['second'])],
        str(tmp_path / 'data'), str(folders['home']))
  assert tree(tmp_path) == before


# Program -> (flags, kind of the folder they name, or name of the file).
PROGRAMS = {
    'train': (('--workdir={}', CONFIG), ownership.RUN),
    'sweep': (('--workdir={}', SWEEP), ownership.SWEEP),
    'demo': (('--workdir={}',), ownership.DEMO),
    'table': (('--output={}', '--workdir={runs}', SWEEP), ownership.TABLE),
    'calibrate': (('--workdir={}',), ownership.RUN),
}
FILES = {
    'predict': (
        ('--workdir={runs}', '--split=test', '--output={}'), 's.parquet'),
    'evaluate': (('--workdir={runs}', '--split=test', '--output={}'), 's.json'),
    'report': (('--workdir={runs}', '--output={}'), 's.html'),
    'import_easyrec': (('--input={runs}', '--output={}'), 's.py'),
}


def refused(program, flags, folder, path, *words):
  """One line, exit code 1, and nothing is changed."""
  before = tree(folder)
  done = program.run(
      *(f.format(path, runs=folder / 'sweep') for f in flags))
  said = done.stdout + done.stderr
  assert done.returncode == 1 and said.startswith('error: '), said
  assert said.count('\n') == 1 and 'elete' not in said
  assert all(word in said for word in words), said
  assert tree(folder) == before


@pytest.mark.slow
@pytest.mark.parametrize('program', PROGRAMS)
def test_folders(tmp_path, program):
  flags, kind = PROGRAMS[program]
  flags = (*flags, f'--data_dir={tmp_path}/data')
  with forking.Program(f'experiments.{program}') as process:
    for name in names(kind)[::4]:  # `test_train` has all of a run.
      for form in FORMS:
        folder = tmp_path / f'{name}-{form}'.replace(' ', '-')
        (folder / 'sweep' / 'runs').mkdir(parents=True)
        (folder / 'out').mkdir()
        make(folder / 'out' / name, form, folder / 'aim')
        refused(process, flags, folder, folder / 'out', str(folder / 'out'))
  assert not (tmp_path / 'data').exists()


@pytest.mark.slow
@pytest.mark.parametrize('program', FILES)
def test_files(tmp_path, program):
  flags, name = FILES[program]
  with forking.Program(f'experiments.{program}') as process:
    for form in FORMS:
      folder = tmp_path / form.replace(' ', '-')
      (folder / 'sweep').mkdir(parents=True)
      path = folder / name
      make(path, form, folder / 'aim')
      refused(process, flags, folder, path, f'--output={path}')
      if form != 'file':
        refused(process, (*flags, '--overwrite'), folder, path, str(path))
    if program != 'predict':
      return
    for form in FORMS:  # The folder of its parts.
      folder = tmp_path / f'parts-{form}'.replace(' ', '-')
      folder.mkdir()
      parts = folder / 's.parquet.parts'
      make(parts, form, folder / 'aim')
      refused(process, flags, folder, folder / 's.parquet', str(parts))


@pytest.mark.slow
def test_a_report_in_a_folder_of_others(tmp_path):
  """Its pictures, too; and a run of a sweep whose page is somebody's file."""
  with forking.Program('experiments.report') as process:
    for name in ('plots', 'results.json'):
      for form in FORMS:
        folder = tmp_path / f'{name}-{form}'.replace(' ', '-')
        (folder / 'run').mkdir(parents=True)
        (folder / 'run' / 'config.json').write_text(json.dumps({'lr': 1}))
        make(folder / 'run' / name, form, folder / 'aim')
        refused(
            process, ('--workdir={}',), folder, folder / 'run',
            f'--workdir={folder}/run')


@pytest.mark.slow
def test_other_runs_of_a_sweep_are_trained(tmp_path):
  """One run's folder is somebody's; `groups`, `runs` may be empty mounts."""
  text = (
      'from esmm_jax.sweeps.points import fixed, product, sweep\n'
      'from esmm_jax.sweeps.table import Column, Table\n'
      'def get_table(variant=""):\n'
      '  return Table(title="t", rows=("seed",),\n'
      '    columns=(Column("AUC", "test/ctr/auc"),),\n'
      '    points=product(fixed("config", "configs/esmm.py:smoke"),\n'
      '      fixed("dataset.num_train", 1024), sweep("seed", (0, 1))))\n')
  (tmp_path / 'two.py').write_text(text)
  workdir = tmp_path / 'sweep'
  for name in ('runs', 'groups', 'compiled'):
    (workdir / name).mkdir(parents=True)
  ownership.claim(str(workdir), ownership.SWEEP)
  flags = (
      f'--sweep={tmp_path}/two.py', f'--workdir={workdir}',
      f'--data_dir={tmp_path}/data')
  with forking.Program('experiments.sweep') as process:
    listed = process.run(*flags, '--dry_run').stdout
    first, second = [line.split()[2] for line in listed.splitlines()[:2]]
    (workdir / 'runs' / first / 'checkpoints' / '1000').mkdir(parents=True)
    before = tree(workdir / 'runs' / first)
    done = process.run(*flags)
  assert done.returncode == 1 and '1 of 2 runs failed' in done.stderr
  assert f'{first}/checkpoints stands there' in done.stderr
  assert tree(workdir / 'runs' / first) == before
  assert (workdir / 'runs' / second / 'results.json').exists()
  assert (workdir / 'runs' / second / '.esmm_jax.json').exists()
