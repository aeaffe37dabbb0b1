"""Results tables in the folder of their sweep."""

import copy
import dataclasses
import json

from esmm_jax.sweeps import table_json
from esmm_jax.sweeps.points import fixed, product, sweep
from esmm_jax.sweeps.table import Choice, Column, Front, Paper, Table
from esmm_jax.types import InputError
import pytest

from experiments import load
from tests import ROOT

AUC, CVR = 'test/ctr/auc', 'test/cvr_clicked/auc'
COLUMNS = (Column('CTR', AUC), Column('CVR', CVR, 3, None))
CONFIG = fixed('config', 'configs/esmm.py')
FULL = Table(
    title='All <parts>\n', note='A note.\nOf two lines.', seed='seed',
    points=product(
        CONFIG, sweep('@model', ['a', 'b']), sweep('batch_size', [1, None]),
        sweep('learning_rate', [1e-3, 0.1]),
        sweep('model.tower_units', [(8,), (8, 4)]), sweep('seed', range(2))),
    columns=COLUMNS, rows=('@model', 'batch_size'),
    blocks=('model.tower_units',), baseline={'@model': 'a', 'batch_size': None},
    gain_columns=(AUC,), extra_columns=(Column('s', 'train_seconds', 1, None),),
    paper=Paper('A paper', {('a, 1', AUC): 0.7, ('b, 1', AUC): (0.8, 0.01)}),
    choice=Choice('learning_rate', 'valid/ctr/auc'), test_noise=(AUC,),
    overview=(AUC,))
FRONT = Table(
    title='Front', points=[
        {'config': 'x.py', '@m': m, 'w': w, 'seed': 0}
        for m, w in (('a', 1), ('a', 2.5), ('one', None))],
    columns=(Column('CTR', AUC), Column('CVR', CVR)), rows=('@m', 'w'),
    baseline={'@m': 'one', 'w': None}, gain_columns=(AUC, CVR),
    verdict=(AUC, CVR), front=Front('@m', 'w', AUC, CVR, 'one'),
    figures=('fronts',))
OURS = sorted(
    p.stem + {'protocols': '.py:nise'}.get(p.stem, '.py')
    for p in (ROOT / 'configs/tables').glob('[a-z]*.py')
    if 'def get_table' in p.read_text('utf-8'))


def through(table):
  return table_json.load(json.loads(json.dumps(table_json.dump(table))))


@pytest.mark.parametrize('table', [FULL, FRONT], ids=lambda t: t.title.strip())
def test_the_same_table_comes_back(table):
  assert through(table) == table


def test_a_table_of_an_earlier_version_has_no_overview():
  data = json.loads(json.dumps(table_json.dump(FULL)))
  del data['overview']
  assert table_json.load(data) == dataclasses.replace(FULL, overview=())


@pytest.mark.parametrize('name', OURS)
def test_our_tables_come_back(name):
  table = load.table(f'configs/tables/{name}')
  assert through(table) == table and len(table.points) > 1


def places(value, path=()):
  """Yields the path of every value in what JSON holds."""
  yield path
  items = value.items() if isinstance(value, dict) else (
      enumerate(value) if isinstance(value, list) else ())
  for key, inner in items:
    yield from places(inner, (*path, key))


def changed(value, path, new):
  value = copy.deepcopy(value)
  if not path:
    return new
  inner = value
  for key in path[:-1]:
    inner = inner[key]
  inner[path[-1]] = new
  return value


@pytest.mark.parametrize('table', [FULL, FRONT], ids=lambda t: t.title.strip())
@pytest.mark.parametrize('new', [
    None, True, -1, 1e400, 0.5, 'x', '../../x', [], [[]], ['x'], {}, {'x': {}}],
    ids=str)
def test_any_value_in_it_is_read_or_refused(table, new):
  """And a run has the name of its point alone, whatever stands beside it."""
  data = json.loads(json.dumps(table_json.dump(table)))
  if table is FULL:
    data['points'] = data['points'][:3] + data['points'][-2:]
  tried = refused = 0
  for path in places(data):
    tried += 1
    try:
      read = table_json.load(changed(data, path, new))
    except InputError as e:
      refused += 1
      assert '\n' not in str(e).replace('All <parts>\n', '')
    else:
      assert all(isinstance(c.header, str) for c in read.columns)
      assert all('/' not in n for n in map(table_json.run_name, read.points))
  assert tried > 50 and refused > tried / 3


def test_a_point_of_another_run_is_refused():
  data = json.loads(json.dumps(table_json.dump(FULL)))
  data['points'][0]['name'] = '../../elsewhere'
  with pytest.raises(InputError, match='is not that of the run beside it'):
    table_json.load(data)
