"""Runs of a results table that count, and pairs of them that get a test."""

import json
import math
import os
import pathlib
import shutil

from esmm_jax.reporting import text as report
from esmm_jax.sweeps.points import fixed, product, run_name, sweep
from esmm_jax.sweeps.results import notes, tabulate
from esmm_jax.sweeps.table import Column, Table
from esmm_jax.types import InputError
from esmm_jax.workdir import end_note, manifest
from esmm_jax.workdir.folder import decisive
from esmm_jax.workdir.identity import Stamp
import pytest

from experiments import load
from tests.toy import SCHEMA

AUC = 'test/ctr/auc'
DATA = 'toy/1, sha256 00'


def make(key='estimator', values=('x', 'y'), **changes):
  config = [] if key == 'config' else [fixed('config', 'configs/esmm.py')]
  points = product(sweep(key, values), *config, sweep('seed', range(3)))
  options = dict(
      title='T', points=points, columns=(Column('CTR AUC', AUC),), rows=(key,),
      baseline={key: values[0]}, gain_columns=(AUC,))
  return Table(**(options | changes))


def config_of(point, **changes):
  config = {'batch_size': 64, 'dataset': {'name': 'toy'}, 'estimator': 'x'}
  for key, value in ({**point, **changes}).items():
    section, _, name = key.rpartition('.')
    (config[section] if section else config)[name] = value
  config.pop('config', None)
  return config


def write(workdir, point, data=DATA, name='', **changes):
  """A finished run as training leaves it."""
  folder = os.path.join(workdir, 'runs', name or run_name(point))
  os.makedirs(folder, exist_ok=True)
  config = config_of(point, **changes)
  results = {AUC: 0.6 + 0.01 * point['seed'] ** 2, 'steps': 3}
  if list(point.values())[0] != 'x':
    results[AUC] += 0.05 + 0.001 * point['seed']
  facts = {'data': data, 'encoder_sha256': '', 'encoder_options_sha256': ''}
  began = manifest.make(config, facts, SCHEMA)
  end_note.write(folder, began, results, '', Stamp(began['identity'], 3, ''))
  for file, value in (('config', config), ('results', results)):
    with open(os.path.join(folder, f'{file}.json'), 'w') as f:
      json.dump(value, f)
  return folder


def gains(blocks):
  (block,) = blocks
  return block.rows[1].gains[AUC].paired


def test_runs_that_belong_together(tmp_path, capsys):
  table = make()
  for point in table.points:
    write(tmp_path, point)
  blocks = tabulate(table, str(tmp_path))
  assert gains(blocks).n == 3 and gains(blocks).p_t < 0.05
  assert notes(blocks) == [] and capsys.readouterr().err == ''
  assert '*' in report.markdown(table, blocks)


@pytest.mark.parametrize('num', [1, 3])
def test_pairs_on_other_data_get_no_test(num, tmp_path):
  table = make()
  for point in table.points:
    other = point['estimator'] == 'y' and point['seed'] < num
    write(tmp_path, point, data='toy/1, sha256 ff' if other else DATA)
  blocks = tabulate(table, str(tmp_path))
  assert gains(blocks).n == 3 - num
  (block,) = blocks
  assert [row.cells[AUC].n for row in block.rows] == [3, 3]
  told = [t for t in notes(blocks) if t.startswith('No test: ')]
  assert len(told) == num
  assert 'were trained on different data (sha256 ff and 00)' in told[0]
  page = report.markdown(table, blocks)
  assert all(t in page for t in told)
  if num == 3:
    assert '*' not in page.partition('Gain over')[2].partition('Difference')[0]
    assert math.isnan(gains(blocks).p_t)


@pytest.mark.parametrize('note', ['sweep.json', 'origin.json', ''])
def test_an_override_of_a_key_of_the_points(note, tmp_path):
  """The runs are those of their points, wherever it is noted."""
  table = make()
  for point in table.points:
    folder = write(tmp_path, point, seed=point['seed'] + 10)
    if note == 'origin.json':
      with open(os.path.join(folder, note), 'w') as f:
        json.dump([{'command': "python -m x '--override=seed=1'"}], f)
  if note == 'sweep.json':
    (tmp_path / note).write_text('{"override": ["seed=1"]}')
  told = notes(tabulate(table, str(tmp_path)))
  assert bool(told) == (not note), told


def test_pairs_that_differ_in_a_key_of_no_point(tmp_path):
  table = make()
  for point in table.points:
    rate = 0.1 if point['estimator'] == 'y' else 0.01
    write(tmp_path, point, learning_rate=rate)
  blocks = tabulate(table, str(tmp_path))
  assert gains(blocks).n == 0
  told = 'different learning_rate (0.1 and 0.01), which their points do not set'
  assert told in notes(blocks)[0]


@pytest.mark.parametrize('key, values', [
    ('estimator', ('x', 'y')), ('learning_rate', (0.1, 0.2)),
    ('dataset.rho', (0.5, -0.5)),
])
def test_a_key_of_the_points_may_differ(key, values, tmp_path):
  """And so may the data, where the key is one of the data."""
  table = make(key, values)
  for point in table.points:
    by_data = key.startswith('dataset.') and point[key] == values[1]
    write(tmp_path, point, data='toy/2, sha256 ff' if by_data else DATA)
  blocks = tabulate(table, str(tmp_path))
  assert gains(blocks).n == 3 and notes(blocks) == []


def test_a_mean_over_other_data_is_told(tmp_path):
  table = make()
  for point in table.points:
    write(tmp_path, point, data=f'toy/1, sha256 0{point["seed"] // 2}')
  blocks = tabulate(table, str(tmp_path))
  assert gains(blocks).n == 3  # Each pair is on its own data.
  assert 'are averaged, and were trained on different data' in notes(blocks)[0]


@pytest.mark.parametrize('known', [True, False])
def test_a_folder_under_the_name_of_another_point(known, tmp_path):
  """Its config is not the point's, so it counts as missing."""
  table = make()
  for point in table.points[:-1]:
    folder = write(tmp_path, point)
  shutil.copytree(
      folder, tmp_path / 'runs' / run_name(table.points[-1]))
  configs = {run_name(p): decisive(config_of(p)) for p in table.points}
  blocks = tabulate(table, str(tmp_path), configs if known else None)
  (block,) = blocks
  assert [row.cells[AUC].n for row in block.rows] == [3, 2]
  (note,) = notes(blocks)
  assert 'is not the run of its point: seed is 1 here and 2 there' in note
  assert note in report.markdown(table, blocks)


@pytest.mark.parametrize(
    'override', [[], ['batch_size=32'], ['rate=1', 'batch_size = 32']])
def test_a_key_of_the_points_that_the_sweep_overrode(tmp_path, override):
  """Runs have the value of --override, which sweep.json tells."""
  one = fixed('batch_size', 64)
  table = make(points=product(make().points, one))
  for point in table.points:
    write(tmp_path, point, batch_size=32)
  (tmp_path / 'sweep.json').write_text(json.dumps({'override': override}))
  (block,) = tabulate(table, str(tmp_path))
  counts = [row.cells[AUC].n for row in block.rows]
  assert counts == ([3, 3] if override else [0, 0])


def test_a_folder_of_another_config_file(tmp_path):
  """Which no key of the points shows, but the file itself."""
  table = make('config', ('configs/esmm.py', 'configs/mmoe.py'))
  for point in table.points:
    write(tmp_path, point, estimator='x')  # All of the first file.
  of = {'configs/esmm.py': 'x', 'configs/mmoe.py': 'y'}
  configs = {
      run_name(p): decisive(config_of(p, estimator=of[p['config']]))
      for p in table.points}
  blocks = tabulate(table, str(tmp_path), configs)
  (block,) = blocks
  assert [row.cells[AUC].n for row in block.rows] == [3, 0]
  assert 'estimator is x here and y there' in notes(blocks)[0]


def test_a_config_file_that_was_changed_since(tmp_path):
  """All runs differ from it alike, so they are told and compared."""
  table = make()
  for point in table.points:
    write(tmp_path, point)
  configs = {
      run_name(p): decisive(config_of(p, batch_size=7)) for p in table.points}
  blocks = tabulate(table, str(tmp_path), configs)
  assert gains(blocks).n == 3
  assert notes(blocks) == [
      'The config file was changed after these runs: batch_size is 64 here and'
      ' 7 there, in the file.']


def test_what_override_changed_is_no_other_point(tmp_path):
  """A key of the points too; and keys of the machine may differ."""
  table = make('learning_rate', (0.1, 0.2))
  configs = {}
  for point in table.points:
    name = run_name(point)
    folder = write(tmp_path, point, learning_rate=0.7)
    configs[name] = decisive(config_of(point, learning_rate=0.7))
    edit(pathlib.Path(folder, 'config.json'), run={'log_every': 9})
  assert notes(tabulate(table, str(tmp_path), configs)) == []
  told = notes(tabulate(table, str(tmp_path)))
  assert len(told) == 6 and 'learning_rate is 0.7 here and 0.1' in told[0]


def test_one_run_alone_is_still_the_one_of_its_point(tmp_path):
  table = make()
  folder = write(tmp_path, table.points[0])
  os.rename(folder, tmp_path / 'runs' / run_name(table.points[1]))
  configs = {run_name(p): decisive(config_of(p)) for p in table.points}
  (note,) = notes(tabulate(table, str(tmp_path), configs))
  assert 'seed is 0 here and 1 there' in note


HARMS = {
    'results': lambda f: edit(f / 'results.json', **{AUC: 0.99}),
    'results cut': lambda f: (f / 'results.json').write_text('{"te'),
    'results of another': lambda f: shutil.copy(
        next(f.parent.glob('*seed=0*')) / 'results.json', f),
    'config': lambda f: edit(f / 'config.json', batch_size=7),
    'config gone': lambda f: (f / 'config.json').unlink(),
    'config a list': lambda f: (f / 'config.json').write_text('[]'),
    'manifest': lambda f: edit(f / 'manifest.json', config_sha256='0' * 64),
}


def edit(path, **changes):
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize('harm', HARMS)
def test_a_damaged_run_is_a_missing_one(harm, tmp_path):
  table = make()
  for point in table.points:
    folder = write(tmp_path, point)
  HARMS[harm](tmp_path / 'runs' / os.path.basename(folder))
  blocks = tabulate(table, str(tmp_path))
  (block,) = blocks
  assert [row.cells[AUC].n for row in block.rows] == [3, 2]
  assert gains(blocks).n == 2
  (note,) = notes(blocks)
  assert folder in note and '\n' not in note


@pytest.mark.parametrize('text', ['{', '{}', '[3]', 'null'])
def test_a_torn_origin_costs_no_number(text, tmp_path):
  table = make()
  for point in table.points:
    folder = write(tmp_path, point)
  with open(os.path.join(folder, 'origin.json'), 'w') as f:
    f.write(text)
  blocks = tabulate(table, str(tmp_path))
  assert gains(blocks).n == 3 and notes(blocks) == []
  assert 'Command: not recorded' in report.markdown(table, blocks)


def test_runs_of_earlier_versions_count(tmp_path, capsys):
  table = make()
  for point in table.points:
    folder = write(tmp_path, point)
    os.remove(os.path.join(folder, 'manifest.json'))
  blocks = tabulate(table, str(tmp_path))
  assert gains(blocks).n == 3 and notes(blocks) == []
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 1 and '6 of 6 runs' in lines[0]


def test_the_configs_of_today(tmp_path, root, monkeypatch, capsys):
  monkeypatch.chdir(root)
  table = make('estimator', ('click_space', 'entire_space'))
  path = tmp_path / 'sweep.json'
  assert load.todays_configs(table, str(tmp_path)) is None
  path.write_text(json.dumps({'sweep': 'x'}))  # Of an earlier version.
  assert load.todays_configs(table, str(tmp_path)) is None
  path.write_text(json.dumps({'override': ['learning_rate=0.5']}))
  configs = load.todays_configs(table, str(tmp_path))
  assert list(configs) == [run_name(p) for p in table.points]
  first, last = list(configs.values())[:: len(configs) - 1]
  assert (first['learning_rate'], first['seed']) == (0.5, 0)
  assert (last['estimator'], last['seed']) == ('entire_space', 2)
  assert capsys.readouterr().err == ''
  path.write_text(json.dumps({'override': ['no_such_key=0.5']}))
  assert load.todays_configs(table, str(tmp_path)) is None
  assert 'no_such_key' in capsys.readouterr().err


def test_a_row_of_changed_configs_is_still_refused(tmp_path):
  table = make()
  for point in table.points:
    write(tmp_path, point, batch_size=64 + (point['seed'] == 2))
  with pytest.raises(InputError, match='batch_size is 65 here and 64 there'):
    tabulate(table, str(tmp_path))
