"""What tests of serving share."""

import pytest


@pytest.fixture(scope='session')
def group(finished, tmp_path_factory):
  """A sweep of one row: two replicas that were trained in one program."""
  from esmm_jax.json_files import write_json
  from esmm_jax.sweeps import Column, table_json, Table
  from esmm_jax.sweeps.points import fixed, product, run_name, sweep
  from esmm_jax.training.loop import train_replicas

  from tests.serving.served import small_config

  root = tmp_path_factory.mktemp('group') / 'sweep'
  points = product(
      fixed('config', 'configs/esmm.py:smoke'), fixed('@model', 'ESMM'),
      sweep('init_seed', [1, 2]))
  names = [run_name(point) for point in points]
  table = Table(
      'T', points, (Column('AUC', 'test/ctr/auc'),), ('@model',),
      seed='init_seed')
  folders = [str(root / 'runs' / name) for name in names]
  train_replicas(
      [small_config(init_seed=k) for k in (1, 2)], folders,
      str(finished.data), home=str(root / 'groups' / 'x'))
  write_json(str(root / 'sweep.json'), table_json.dump(table))
  return root, folders
