"""A sweep with replays of its own points, and records as columns."""

import csv

import pytest

from tests.sweeps.test_sweep import run

TABLE = '''
from esmm_jax.sweeps.points import chain, fixed, product, run_name, sweep
from esmm_jax.sweeps.points import zipped
from esmm_jax.sweeps.table import Column, Table

SMALL = product(
    fixed('config', 'configs/esmm.py:smoke'),
    fixed('dataset.num_train', 6000), fixed('num_epochs', 1), fixed('seed', 0))
METHODS = product(
    SMALL, sweep('balancing.name', ('random', 'dwa')), fixed('@of', None))


def get_table(variant=''):
  replays = product(
      SMALL, fixed('balancing.name', 'replay'),
      zipped(sweep('balancing.of', ['../' + run_name(p) for p in METHODS]),
             sweep('@of', ('random', 'dwa'))))
  return Table(
      title='Replays', points=chain(replays, METHODS),
      rows=('balancing.name', '@of'),
      columns=(Column('AUC', 'test/ctr/auc'),
               Column('share', 'balancing/share/ctr', 4)))
'''


@pytest.mark.long
def test_replays_come_after_their_runs_side_by_side(tmp_path):
  path, data = tmp_path / 'table.py', f'--data_dir={tmp_path / "data"}'
  path.write_text(TABLE)
  done = run('sweep', path, tmp_path / 'a', data)
  assert done.returncode == 0, done.stderr
  order = [line for line in done.stdout.splitlines() if line.startswith('[')]
  assert ['replay' in line for line in order] == [False] * 2 + [True] * 2
  assert all('2 side by side' in line for line in order[2:])
  done = run('table', path, tmp_path / 'a', data, '--format=csv')
  assert done.returncode == 0, done.stderr
  rows = list(csv.DictReader(done.stdout.splitlines()))
  of = lambda name, method, metric: next(
      float(r['mean']) for r in rows
      if (r['name'], r['of'], r['metric']) == (name, method, metric))
  for method in ('random', 'dwa'):
    key = 'balancing/share/ctr'
    assert of('replay', method, key) == pytest.approx(
        of(method, '', key), rel=1e-5)
    # It is no column.
    assert of('replay', method, 'balancing/total') > 0
