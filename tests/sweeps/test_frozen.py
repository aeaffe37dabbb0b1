"""A sweep whose points are trained with the predictions of another point."""

import os

import pytest

from tests.sweeps.test_sweep import run

TABLE = '''
from esmm_jax.sweeps.points import chain, fixed, product, run_name, sweep
from esmm_jax.sweeps.points import zipped
from esmm_jax.sweeps.table import Column, Table

SMALL = product(
    fixed('config', 'configs/esmm.py:smoke'),
    fixed('dataset.num_train', 6000), fixed('num_epochs', 1), fixed('seed', 0))
CTR = product(SMALL, fixed('estimator', 'click_space'), fixed('@row', 'ctr'))


def get_table(variant=''):
  ips = product(
      SMALL,
      fixed('estimator', 'ips'),
      fixed('estimator_options.propensity', 'frozen'),
      fixed('estimator_options.frozen_run',
            '../' + (variant or run_name(CTR[0]))),
      zipped(sweep('estimator_options.propensity_floor', (0.01, 0.5)),
             sweep('@row', ('low', 'high'))),
  )
  return Table(title='Frozen', points=chain(ips, CTR), rows=('@row',),
               columns=(Column('AUC', 'test/ctr/auc'),))
'''


@pytest.mark.long
def test_the_run_that_others_name_is_trained_first(tmp_path):
  path, data = tmp_path / 'table.py', f'--data_dir={tmp_path / "data"}'
  path.write_text(TABLE)
  # All are of one bundle: the other shard has nothing to do.
  done = run('sweep', path, tmp_path / 'a', data, '--shard=1/2')
  assert done.returncode == 0 and 'Done: 0 of 3 runs' in done.stdout
  done = run('sweep', path, tmp_path / 'a', data, '--shard=0/2')
  assert done.returncode == 0, done.stderr
  first, second, third = [
      line for line in done.stdout.splitlines() if line.startswith('[')]
  assert 'estimator=click_space' in first
  assert all('2 side by side' in line for line in (second, third))
  assert 'Done: 3 of 3 runs' in done.stdout


@pytest.mark.long
def test_a_run_that_is_nowhere_is_refused_before_the_others(tmp_path):
  path, data = tmp_path / 'table.py', f'--data_dir={tmp_path / "data"}'
  path.write_text(TABLE)
  done = run('sweep', f'{path}:nothing', tmp_path / 'a', data)
  assert done.returncode == 1, done.stderr
  warnings = [w for w in done.stderr.splitlines() if 'is not trained:' in w]
  assert len(warnings) == 2
  assert all('nothing is not the folder of a run' in w for w in warnings)
  assert '2 of 3 runs failed' in done.stderr
  assert len(os.listdir(tmp_path / 'a' / 'failed')) == 2
