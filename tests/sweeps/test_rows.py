"""The runs of the row that a person names."""

import json
import os

from esmm_jax.data.csv_files.quoted_names import split_names
from esmm_jax.json_files import write_json
from esmm_jax.sweeps import Choice, rows, table_json
from esmm_jax.sweeps.points import chain, fixed, product, run_name, sweep
from esmm_jax.types import InputError
import pytest

from tests.sweeps import test_comparable


def folders(workdir, text):
  names = rows.folders_of_row(str(workdir), text, split_names(text))
  return [os.path.basename(name) for name in names]


def made(workdir, table, skip=0):
  """A sweep whose runs but for the first ones are finished."""
  write_json(str(workdir / 'sweep.json'), table_json.dump(table))
  for point in table.points[skip:]:
    test_comparable.write(workdir, point)
  assert rows.is_sweep(str(workdir))


def of(table, **values):
  """Names of the runs whose points have some values."""
  return [
      run_name(p) for p in table.points
      if all(p.get(k) == v for k, v in values.items())]


def test_a_row(tmp_path):
  table = test_comparable.make()
  made(tmp_path, table)
  for value in 'xy':
    assert folders(tmp_path, value) == of(table, estimator=value)
    assert len(folders(tmp_path, f'"{value}"')) == 3
  with pytest.raises(
      InputError, match='--row=z names none of the rows of .*which are: x; y'):
    folders(tmp_path, 'z')
  with pytest.raises(
      InputError, match='a sweep with 2 rows; name one by --row: x; y'):
    folders(tmp_path, '')


def test_the_only_row(tmp_path):
  table = test_comparable.make(values=('x',), baseline=None)
  made(tmp_path, table)
  assert folders(tmp_path, '') == folders(tmp_path, 'x') == of(table)


def blocks():
  """Two blocks; values with commas, None and tuples."""
  points = product(
      sweep('@data', ['D, small', 'E']), fixed('config', 'configs/esmm.py'),
      chain(
          product(sweep('estimator', ['x']), sweep('batch_size', [64, None])),
          product(fixed('estimator', 'y'), fixed('batch_size', (1, 2)))),
      sweep('seed', range(2)))
  for point in points:
    point['clip_norm'] = float(len(point['@data']))
  return test_comparable.make(
      points=points, rows=('estimator', 'batch_size'), blocks=('@data',),
      baseline=None, gain_columns=())


BLOCKS = {
    '"D, small",x,64': ('D, small', 'x', 64),
    'D, small, x, 64': ('D, small', 'x', 64),
    'E,x,64': ('E', 'x', 64),
    'E, x, 64': ('E', 'x', 64),
    'E,x,None': ('E', 'x', None),
    'E,x,–': ('E', 'x', None),
    'E,y,"(1, 2)"': ('E', 'y', (1, 2)),
    'E, y, (1, 2)': ('E', 'y', (1, 2)),
}


def test_blocks(tmp_path):
  table = blocks()
  made(tmp_path, table)
  for text, (data, estimator, size) in BLOCKS.items():
    assert folders(tmp_path, text) == of(
        table, **{'@data': data, 'estimator': estimator, 'batch_size': size})
  with pytest.raises(InputError, match='--row=x,64 names 2 of the rows of'):
    folders(tmp_path, 'x,64')
  for text in ('x', '64', 'E', 'E,x,65', 'x,E,64'):
    with pytest.raises(InputError, match=f'--row={text} names none of the'):
      folders(tmp_path, text)


def test_a_row_of_one_block_needs_no_block(tmp_path):
  table = test_comparable.make(
      points=product(
          sweep('@data', ['D']), fixed('config', 'c.py'),
          sweep('estimator', ['x', 'y']), sweep('seed', range(2))),
      blocks=('@data',))
  made(tmp_path, table)
  assert folders(tmp_path, 'y') == folders(tmp_path, 'D,y') == of(
      table, estimator='y')


def test_runs_that_are_missing(tmp_path):
  """They would be other members tomorrow."""
  table = test_comparable.make()
  made(tmp_path, table, skip=2)
  with pytest.raises(InputError, match='2 of the 3 runs of the row x of .* are'
                     ' not finished: .*seed=0.*, .*seed=1.*Finish the sweep'):
    folders(tmp_path, 'x')
  assert len(folders(tmp_path, 'y')) == 3
  path = tmp_path / 'runs' / of(table, estimator='y')[1] / 'results.json'
  path.write_text(json.dumps({test_comparable.AUC: 0.9, 'steps': 3}))
  with pytest.raises(InputError, match='results.json differs from what'):
    folders(tmp_path, 'y')


def test_the_value_that_the_validation_split_chose(tmp_path):
  table = test_comparable.make(
      points=product(
          fixed('config', 'c.py'), sweep('estimator', ['x', 'y']),
          sweep('learning_rate', [1.0, 2.0]), sweep('seed', range(2))),
      choice=Choice('learning_rate', 'valid/ctr/auc', 'max'), baseline=None,
      gain_columns=())
  write_json(str(tmp_path / 'sweep.json'), table_json.dump(table))
  for point in table.points:
    better = {'x': 1.0, 'y': 2.0}[point['estimator']]
    auc = 0.7 if point['learning_rate'] == better else 0.6
    write_run(tmp_path, point, {'valid/ctr/auc': auc, 'steps': 3})
  for estimator, rate in (('x', 1.0), ('y', 2.0)):
    assert folders(tmp_path, estimator) == of(
        table, estimator=estimator, learning_rate=rate)


def write_run(workdir, point, results):
  """A run of an early version, which noted nothing."""
  folder = workdir / 'runs' / run_name(point)
  os.makedirs(folder)
  config = test_comparable.config_of(point)
  (folder / 'config.json').write_text(json.dumps(config))
  (folder / 'results.json').write_text(json.dumps(results))


def test_no_table(tmp_path):
  (tmp_path / 'sweep.json').write_text('{"sweep": "x"}')
  with pytest.raises(InputError, match='sweep.json holds no results table'):
    folders(tmp_path, 'x')
