"""Fronts of a table, and its pictures: values that are known, files that are.

`plots` itself has tests of its own; here it is what it is given that counts.
"""

import os

from esmm_jax.reporting import figures, plots, text as report
from esmm_jax.reporting.front_grid import curves
from esmm_jax.sweeps import table as tables
from esmm_jax.sweeps.points import chain, fixed, product, run_name, sweep
from esmm_jax.sweeps.results import tabulate
from esmm_jax.sweeps.table import Column, Front, Table
from esmm_jax.types import InputError
import numpy as np
import pytest

from tests.parallel import forking
from tests.sweeps.test_results import write

CTR, CVR = 'test/ctr/auc', 'test/cvr_clicked/auc'
NAN = float('nan')
# Model -> ratio -> (CTR, CVR) at seed 0; seed 1 has .02 more of each.
POINTS = {
    'mmoe': {0.5: (0.60, 0.79), 1.0: (0.64, 0.74), 2.0: (0.69, 0.59)},
    'ple': {0.5: (0.59, 0.69), 1.0: (0.69, 0.79), 2.0: (0.64, 0.74)},
}
SINGLE = (0.59, 0.69)


def row(model, ratio):
  return product(
      fixed('@model', model), fixed('config', f'configs/{model}.py'),
      fixed('@ratio', ratio), fixed('loss_weights.ctr', ratio))


def make_front(**changes):
  rows = chain(
      row('single_task', None),
      *(row(m, r) for m, points in POINTS.items() for r in points))
  options = dict(
      title='Seesaw',
      points=product(rows, sweep('seed', range(2))),
      columns=(Column('CTR AUC', CTR), Column('CVR AUC', CVR, 3)),
      rows=('@model', '@ratio'),
      front=Front('@model', '@ratio', CTR, CVR, 'single_task'),
      figures=('fronts',),
  )
  return Table(**(options | changes))


def write_front(table, workdir, gone=()):
  for point in table.points:
    model, ratio, seed = point['@model'], point['@ratio'], point['seed']
    if (model, ratio, seed) not in gone and (model, seed) not in gone:
      x, y = SINGLE if ratio is None else POINTS[model][ratio]
      write(
          workdir / 'runs' / run_name(point),
          results={CTR: x + 0.02 * seed, CVR: y + 0.02 * seed},
          config={'seed': seed})


def test_front_grid(tmp_path):
  """Above (.5, .5), with the means .01 above seed 0.

  single (.60, .70): .10 x .20 = .020
  mmoe (.61, .80), (.65, .75), (.70, .60): .11 x .30 + .04 x .25 + .05 x .10
    = .048, all three on the front; the ratios' ranks run against each other
  ple (.60, .70), (.70, .80), (.65, .75): .20 x .30 = .060, one on the front,
    on a line of slope 1
  """
  table = make_front()
  write_front(table, tmp_path)
  blocks = tabulate(table, os.fspath(tmp_path))
  grid = report.grids(table, blocks)[-1]
  assert grid.headers == [
      'model', 'n', 'front volume gain ↑', 'best CTR AUC ↑', 'best CVR AUC ↑',
      'on front', 'slope', 'Spearman']
  single, mmoe, ple = grid.rows
  assert single == ['single_task', '2', '–', '.6000', '.700', '–', '–', '–']
  # x less its mean: -.13, -.01, .14 over 3; y less its mean: .25, .10, -.35
  # over 3. The slope is the sum of products over that of squares.
  slope = (-0.13 * 0.25 - 0.01 * 0.10 - 0.14 * 0.35) / (
      0.13**2 + 0.01**2 + 0.14**2)
  assert mmoe[:2] + mmoe[3:] == [
      'mmoe', '2', '.7000', '.800', '3 of 3', f'{slope:.2f}', '-1.00']
  assert ple[:2] + ple[3:] == [
      'ple', '2', '.7000', '.800', '1 of 3', '+1.00', '+1.00']
  assert mmoe[2].startswith('+.02800 [+.0') and mmoe[2].endswith(']')
  # The draws are both seeds, twice the first or twice the second one, a quarter
  # of them each: seed 0 .19 x .29 - .09 x .19, seed 1 .21 x .31 - .11 x .21.
  assert ple[2] == '+.04000 [+.03800, +.04200]'
  text = report.markdown(table, blocks)
  assert '### Fronts' in text and 'above (0.5, 0.5)' in text
  assert 'optimistic' in text


def test_a_curve_counts_its_whole_seeds(tmp_path):
  """mmoe lacks a point of seed 1, ple all; seed 1 has no single task."""
  table = make_front()
  gone = {('mmoe', 2.0, 1), ('ple', 0), ('ple', 1)}
  write_front(table, tmp_path, gone)
  blocks = tabulate(table, os.fspath(tmp_path))
  single, mmoe, ple = report.grids(table, blocks)[-1].rows
  assert single[1] == '2' and mmoe[1] == '1, missing 1 of 2'
  # Of seed 0: .10 x .29 + .04 x .24 + .05 x .09 - .09 x .19.
  assert mmoe[2:4] == ['+.02600', '.6900']
  assert ple == ['ple', '0, missing 2 of 2', 'missing', *'–––––']
  found = curves(table, blocks[0])
  assert found.along == [0.5, 1.0, 2.0]
  assert list(found.series) == ['mmoe', 'ple']
  assert found.series['mmoe'].shape == (2, 3, 2)
  assert np.isnan(found.series['mmoe'][1]).tolist() == [
      [False] * 2, [False] * 2, [True] * 2]
  other = tmp_path / 'other'
  write_front(table, other, {('single_task', 0)})
  single, mmoe, _ = report.grids(table, tabulate(table, other))[-1].rows
  assert single[1] == mmoe[1] == '1, missing 1 of 2'
  assert mmoe[3] == '.7100'
  none = report.grids(table, tabulate(table, tmp_path / 'none'))[-1].rows
  assert none[0] == ['single_task', '0, missing 2 of 2', *'––––––']


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(rows=('@ratio', '@model', 'config')), 'make other keys blocks'),
        (
            dict(front=Front('@model', '@ratio', CTR, 'test/cvr', 'x')),
            "'test/cvr' in front is not one of",
        ),
        (
            dict(front=Front('@model', '@ratio', CTR, CVR, 'mmoe')),
            "single='mmoe' must be one row",
        ),
        (
            dict(points=chain(
                row('single_task', None), row('mmoe', 1.0), row('ple', 2.0))),
            "'ple' is .* and that of 'mmoe' another set",
        ),
        (
            dict(points=chain(
                row('single_task', None), row('mmoe', 1.0),
                row('mmoe', 'high'))),
            'curves are ordered by numbers',
        ),
    ],
)
def test_fronts_that_cannot_be(changes, words):
  if 'points' in changes:
    changes['points'] = product(changes['points'], fixed('seed', 0))
  with pytest.raises(InputError, match=words):
    make_front(**changes)


def make_points(**changes):
  """mmoe is the curve; A has a method and its replay, at POINTS_OF_A."""
  rows = chain(
      row('single_task', None), *(row('mmoe', r) for r in POINTS['mmoe']),
      row('A', 'method'), row('A', 'replay'))
  options = dict(
      points=product(rows, sweep('seed', range(2))),
      baseline={'@ratio': 'replay'}, gain_columns=(CTR,))
  return make_front(**(options | changes))


# At seed 0; seed 1 has .02 more of each.
POINTS_OF_A = {'method': (0.68, 0.74), 'replay': (0.63, 0.73)}


def write_points(table, workdir, gone=()):
  POINTS['A'] = POINTS_OF_A
  try:
    write_front(table, workdir, gone)
  finally:
    del POINTS['A']


def test_points_beside_a_curve(tmp_path):
  """The curve (.61, .80), (.65, .75), (.70, .60) and two points near it.

  method (.69, .75) is .04 right of the bend, whose next line falls by 3: the
    lead is equal where .04 - x = 3 x. replay (.64, .74) is .01 below and left
    of the bend; nothing is better by more in both.
  """
  table = make_points()
  write_points(table, tmp_path)
  blocks = tabulate(table, os.fspath(tmp_path))
  _, gains, front, margins = report.grids(table, blocks)
  assert [line[0] for line in front.rows] == ['single_task', 'mmoe']
  assert margins.title == 'Margins over mmoe'
  assert margins.headers == [
      'model', 'ratio', 'n', 'margin ↑', 'CTR AUC', 'CVR AUC']
  first, second = margins.rows
  assert first == [
      'A', 'method', '2', '+.0300 [+.0300, +.0300]', '.6900', '.750']
  assert second == [
      'A', 'replay', '2', '-.0100 [-.0100, -.0100]', '.6400', '.740']
  # Gains of a row are over its own replay; the curve has none.
  assert [line[:2] for line in gains.rows] == [['A', 'method']]
  assert gains.rows[0][3].startswith('+.0500 [')
  text = report.markdown(table, blocks)
  assert '### Margins over mmoe' in text
  assert list(curves(table, blocks[0]).points) == ['A']


def test_points_with_missing_runs(tmp_path):
  table = make_points()
  write_points(table, tmp_path, {('A', 'method', 1), ('mmoe', 1.0, 0)})
  margins = report.grids(table, tabulate(table, tmp_path))[-1]
  assert margins.rows[0] == [
      'A', 'method', '0, missing 2 of 2', 'missing', '–', '–']
  assert margins.rows[1][2:4] == ['1, missing 1 of 2', '-.0100']


@pytest.mark.parametrize(
    'more, words',
    [
        (('ple',), r"of 'A' is a text, .* has 2 curves"),
        ((), r"of 'A' is a text, .* has 0 curves"),
    ],
)
def test_points_are_compared_with_one_curve(more, words):
  rows = [row('single_task', None), row('A', 'method'), row('A', 'replay')]
  if more:
    rows += [row(m, r) for m in ('mmoe', *more) for r in (0.5, 1.0)]
  with pytest.raises(InputError, match=words):
    make_points(points=product(chain(*rows), fixed('seed', 0)))


# Pictures.


@pytest.fixture
def drawn(monkeypatch):
  """What each function of `plots` is given, which draws nothing."""
  calls = []
  for name in ('fronts', 'training_size', 'cvr_by_ctr_decile_panels'):
    monkeypatch.setattr(
        plots, name, lambda *args, **_: calls.append(args))
  return calls


def test_the_names_are_those_a_table_may_have():
  assert tuple(figures.FIGURES) == tables.FIGURES


def is_png(path):
  with open(path, 'rb') as f:
    return f.read(8) == b'\x89PNG\r\n\x1a\n'


def test_a_picture_of_the_front(tmp_path):
  table = make_front()
  write_front(table, tmp_path, {('mmoe', 2.0, 1)})
  blocks = tabulate(table, os.fspath(tmp_path))
  made = figures.draw(table, blocks, os.fspath(tmp_path))
  assert made == ([os.fspath(tmp_path / 'front.png')], [])
  assert is_png(made.paths[0])
  text = report.markdown(table, blocks, made.paths)
  assert '![front](front.png)' in text


def test_a_front_for_each_block(tmp_path, drawn):
  """The one without a run is skipped, and is said to be."""
  points = product(
      sweep('dataset.rho', [0.6, -0.6]), make_front().points)
  table = make_front(points=points, blocks=('dataset.rho',))
  for point in points:
    if point['dataset.rho'] > 0 and point['@model'] != 'ple':
      write(
          tmp_path / 'runs' / run_name(point), config={},
          results={CTR: 0.6, CVR: 0.7})
  blocks = tabulate(table, os.fspath(tmp_path))
  made = figures.draw(table, blocks, 'w')
  assert made.paths == [os.path.join('w', 'front-rho-0.6.png')]
  assert made.skipped == [
      'front-rho--0.6.png is not drawn: no run of it is finished.']
  series, along, single, path, *labels = drawn[0]
  assert list(series) == ['mmoe', 'ple'] and along == [0.5, 1.0, 2.0]
  assert np.isnan(series['ple']).all() and not np.isnan(series['mmoe']).any()
  assert single.tolist() == [[0.6, 0.7]] * 2 and path == made.paths[0]
  assert labels == ['Seesaw: rho 0.6', 'CTR AUC', 'CVR AUC']


def make_sizes(**changes):
  points = product(
      fixed('@data', 'tiny funnel'), fixed('config', 'configs/esmm.py'),
      sweep('estimator', ['click_space', 'entire_space']),
      sweep('dataset.train_split', ['train[:10%]', 'train']),
      sweep('seed', range(2)))
  names = {'click_space': 'BASE', 'entire_space': 'ESMM'}
  points = [
      p | {
          '@method': names[p['estimator']],
          '@share': 1.0 if p['dataset.train_split'] == 'train' else 0.1,
      }
      for p in points
  ]
  options = dict(
      title='Sizes', points=points, rows=('@method', '@share'),
      blocks=('@data',), figures=('training_size',),
      columns=(
          Column('CTR AUC', CTR), Column('CVR AUC', CVR),
          Column('log loss', 'test/ctr/logloss', 5, 'lower')),
      baseline={'@method': 'BASE'}, gain_columns=(CVR, 'test/ctr/logloss'),
  )
  return Table(**(options | changes))


def test_training_size(tmp_path, monkeypatch):
  """The panels are the AUCs that have gains; missing runs are nan."""
  table = make_sizes()
  for point in table.points:
    if (point['@share'], point['seed']) != (0.1, 1):
      value = 0.5 + point['@share'] / 10 + point['seed'] / 100
      write(tmp_path / 'runs' / run_name(point), config={}, results={
          CTR: 0.5, CVR: value, 'test/ctr/logloss': 0.1})
  blocks = tabulate(table, os.fspath(tmp_path))
  made = figures.draw(table, blocks, os.fspath(tmp_path))
  assert made == ([os.fspath(tmp_path / 'training-size.png')], [])
  assert is_png(made.paths[0])
  calls = []
  monkeypatch.setattr(plots, 'training_size', lambda *a: calls.append(a))
  figures.draw(table, blocks, 'w')
  (panels, _, title), = calls
  assert list(panels) == ['CVR AUC'] and title == 'Sizes: tiny funnel'
  assert list(panels['CVR AUC']) == ['BASE', 'ESMM']
  by_share = panels['CVR AUC']['ESMM']
  np.testing.assert_allclose(by_share[1.0], [0.6, 0.61])
  np.testing.assert_allclose(by_share[0.1], [0.51, NAN])


def test_pictures_without_their_rows_are_refused(tmp_path):
  table = make_front(figures=('training_size',))
  with pytest.raises(InputError, match="needs the rows '@method' and '@share'"):
    figures.draw(table, tabulate(table, tmp_path), 'w')
  table = make_sizes(figures=('fronts',))
  with pytest.raises(InputError, match=r'needs front=Front\(...\)'):
    figures.draw(table, tabulate(table, tmp_path), 'w')


def make_deciles():
  points = product(
      sweep('dataset.rho', [0.0, 0.6]),
      sweep('dataset.hidden', [0, 1]), fixed('config', 'configs/esmm.py'),
      chain(
          product(fixed('@method', 'BASE'), fixed('estimator', 'click_space')),
          product(fixed('@method', 'ESMM'), fixed('estimator', 'entire_space')),
      ),
      sweep('seed', range(2)))
  return Table(
      title='Bias', points=points, rows=('@method',),
      blocks=('dataset.rho', 'dataset.hidden'), figures=('cvr_by_ctr_decile',),
      columns=(Column('KL', 'test/cvr_entire/kl', 5, 'lower'),))


def test_deciles(tmp_path, monkeypatch):
  table = make_deciles()
  for point in table.points:
    if (point['dataset.rho'], point['seed']) != (0.6, 1):
      write(tmp_path / 'runs' / run_name(point), config={}, results={
          f'test/cvr_entire/ratio_ctr_decile_{d}': 1 + d / 10 + point['seed']
          for d in range(1, 11)})
  blocks = tabulate(table, os.fspath(tmp_path))
  made = figures.draw(table, blocks, os.fspath(tmp_path))
  assert made == ([os.fspath(tmp_path / 'cvr-by-ctr-decile.png')], [])
  assert is_png(made.paths[0])
  calls = []
  monkeypatch.setattr(
      plots, 'cvr_by_ctr_decile_panels', lambda *a: calls.append(a))
  figures.draw(table, blocks, 'w')
  (panels, _, title), = calls
  assert title == 'Bias' and list(panels) == [
      ('hidden 0', 'rho 0.0'), ('hidden 1', 'rho 0.0'),
      ('hidden 0', 'rho 0.6'), ('hidden 1', 'rho 0.6')]
  first, last = (panels[cell] for cell in (list(panels)[0], list(panels)[-1]))
  assert list(first) == ['BASE', 'ESMM'] and first['BASE'].shape == (2, 10)
  np.testing.assert_allclose(first['BASE'][:, 9], [2.0, 3.0])
  np.testing.assert_allclose(last['ESMM'][:, 0], [1.1, NAN])


@pytest.mark.parametrize('make', [make_front, make_sizes, make_deciles])
def test_nothing_has_run(make, tmp_path):
  table = make()
  blocks = tabulate(table, os.fspath(tmp_path))
  made = figures.draw(table, blocks, os.fspath(tmp_path))
  assert made.paths == [] and os.listdir(tmp_path) == []
  assert [line.split(': ')[1] for line in made.skipped] == [
      'no run of it is finished.']
  assert report.markdown(table, blocks, made.paths).count('![') == 0


FILE = """
from esmm_jax.sweeps.points import fixed, product, sweep
from esmm_jax.sweeps.table import Column, Table

def get_table(variant=''):
  return Table(
      title='T', rows=('@method',), blocks=('@data',),
      points=product(
          fixed('config', 'configs/esmm.py'), sweep('@data', ['a', 'b']),
          fixed('@method', 'ESMM'), fixed('seed', 0)),
      columns=(Column('CTR AUC', 'test/ctr/auc'),),
      figures=('cvr_by_ctr_decile',))
"""


@pytest.mark.slow
def test_the_program_draws_them_beside_the_table(tmp_path):
  (tmp_path / 'small.py').write_text(FILE)
  workdir = tmp_path / 'w'
  (workdir / 'runs').mkdir(parents=True)
  command = (f'--sweep={tmp_path / "small.py"}', f'--workdir={workdir}')
  program = forking.Program('experiments.table')
  done = program.run(*command)
  assert done.returncode == 0 and 'no run of it is finished' in done.stderr
  name = run_name({'config': 'configs/esmm.py', 'seed': 0})
  config = {'dataset': {}, 'model': {}}
  write(workdir / 'runs' / name, config=config, results={
      f'test/cvr_entire/ratio_ctr_decile_{d}': 1.0 for d in range(1, 11)})
  done = program.run(*command)
  picture = workdir / 'cvr-by-ctr-decile.png'
  assert done.returncode == 0 and is_png(picture)
  assert os.fspath(picture) in done.stderr.splitlines()
  pdf = picture.with_suffix('.pdf')  # For papers.
  assert os.fspath(pdf) in done.stderr.splitlines()
  assert pdf.read_bytes().startswith(b'%PDF')
  assert '![cvr-by-ctr-decile](cvr-by-ctr-decile.png)' in done.stdout
  assert done.stdout == (workdir / 'table.md').read_text()
