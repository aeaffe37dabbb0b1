"""Every program on streams that cannot be written: its work is done."""

import os
import shutil

import pytest

from tests.parallel import forking

# (stdout, stderr): `| head`, `> /dev/full`, `>&-`, `2>&-`, `2> /dev/full`,
# daemons, and a closed terminal.
CASES = (
    ('pipe', 'file'), ('full', 'file'), ('closed', 'file'), ('file', 'closed'),
    ('file', 'full'), ('closed', 'closed'), ('pipe', 'pipe'))
REASONS = {
    'pipe': 'Broken pipe (errno 32, EPIPE).',
    'full': 'No space left on device (errno 28, ENOSPC).'}
SMALL = (
    '--config=configs/esmm.py:smoke', '--config.dataset.num_train=2000',
    '--config.dataset.num_valid=1000', '--config.dataset.num_test=1000',
    '--config.log_every=1')
TABLE = '''
from esmm_jax.sweeps.points import chain, fixed, product, sweep
from esmm_jax.sweeps.table import Column, Table

def get_table(variant=''):
  points = product(
      fixed('config', 'configs/esmm.py:smoke'),
      fixed('dataset.num_train', 2000), fixed('dataset.num_valid', 1000),
      fixed('dataset.num_test', 1000), sweep('seed', range(2)))
  return Table('Two seeds', points, rows=['config'],
               columns=[Column('AUC', 'test/ctr/auc')])
'''


class Place:
  """Folders that the programs work in, and a run for those that need one."""

  def __init__(self, root, finished):
    self.root, self.finished, self.number = root, finished, 0
    self.table = root / 'two_seeds.py'
    self.table.write_text(TABLE)

  def new(self):
    self.number += 1
    return self.root / str(self.number)

  def run(self):
    return shutil.copytree(self.finished.folder, self.new())


def train(place):
  folder = place.new()
  return (
      [*SMALL, f'--workdir={folder}', f'--data_dir={place.root}/data'],
      folder / 'results.json')


def report(place):
  run = place.run()
  return [f'--workdir={run}', '--nopredict'], run / 'report.html'


def predict(place):
  path = place.new().with_suffix('.parquet')
  return (
      [f'--workdir={place.finished.folder}', '--split=test',
       f'--data_dir={place.finished.data}', f'--output={path}'], path)


def evaluate(place):
  path = place.new()
  return (
      [f'--workdir={place.finished.folder}', '--split=test',
       f'--data_dir={place.finished.data}', f'--output={path}'], path)


def calibrate(place):
  run = place.run()
  return (
      [f'--workdir={run}', f'--data_dir={place.finished.data}'],
      run / 'calibration.json')


def export(place):
  folder = place.new()
  return (
      [f'--workdir={place.finished.folder}', f'--output={folder}',
       f'--data_dir={place.finished.data}'], folder / 'description.json')


def prepare_data(place):
  folder = place.new()
  return (
      ['--dataset=synthetic_funnel', '--option=preset=tiny',
       f'--data_dir={folder}'], folder / 'synthetic_funnel')


def sweep(place):
  folder = place.new()
  return (
      [f'--sweep={place.table}', f'--workdir={folder}', '--replicas=1',
       f'--data_dir={place.root}/data'], folder / 'sweep.json')


def table(place):
  folder = place.new()
  os.makedirs(folder / 'runs')
  return (
      [f'--sweep={place.table}', f'--workdir={folder}'], folder / 'table.csv')


def import_easyrec(place):
  from tests.easyrec import easyrec_configs

  config = place.new()
  config.write_text(easyrec_configs.config('ESMM'))
  path = place.new().with_suffix('.py')
  return [f'--input={config}', f'--output={path}'], path


def demo(place):
  folder = place.new()
  return (
      [f'--workdir={folder}', '--train_split=train[:1%]',
       '--test_split=test[:1%]', f'--data_dir={place.root}/data'],
      folder / 'cvr_by_ctr_decile.png')


def dry_run(place):
  folder = place.new()
  return (
      ['--dry_run', f'--sweep={place.table}', f'--workdir={folder}'], None)


WORK = {
    'train': train, 'report': report, 'predict': predict, 'evaluate': evaluate,
    'calibrate': calibrate, 'export': export, 'prepare_data': prepare_data,
    'sweep': sweep, 'table': table, 'import_easyrec': import_easyrec,
    'demo': demo}
PRINTS = {
    'sweep': dry_run,
    'doctor': lambda place: (
        [f'--steps_hash={place.root}/data'], None)}


@pytest.fixture(scope='module')
def place(tmp_path_factory, finished):
  return Place(tmp_path_factory.mktemp('programs'), finished)


@pytest.mark.long
@pytest.mark.parametrize('name', WORK)
def test_work_is_done(name, place):
  with forking.Program(f'experiments.{name}') as program:
    for stdout, stderr in CASES:
      arguments, product = WORK[name](place)
      done = program.run(*arguments, stdout=stdout, stderr=stderr)
      case = (stdout, stderr, done.stderr)
      assert done.returncode == 0, case
      assert product.exists(), case
      assert 'Traceback' not in done.stderr, case
      said = f'warning: stdout: {REASONS.get(stdout)}'
      assert (said in done.stderr) == (
          stdout in REASONS and stderr == 'file'), case


@pytest.mark.long
@pytest.mark.parametrize('name', PRINTS)
def test_programs_that_only_print(name, place):
  """A reader that has seen enough ends them silently."""
  with forking.Program(f'experiments.{name}') as program:
    for stdout, stderr in CASES:
      arguments, _ = PRINTS[name](place)
      done = program.run(*arguments, stdout=stdout, stderr=stderr)
      case = (stdout, stderr, done)
      assert done.returncode == (stdout == 'full'), case
      assert bool(done.stderr) == (stdout == 'full'), case
      if done.stderr:
        assert done.stderr.splitlines()[-1] == (
            f'error: stdout: {REASONS["full"]} Make room.')
