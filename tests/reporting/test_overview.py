"""Gains of all blocks over a baseline that has chosen its own candidate."""

import os

from esmm_jax.metrics.significance import minimum_detectable_difference
from esmm_jax.reporting import figures, plots, text as report
from esmm_jax.reporting.plots import drawing
from esmm_jax.sweeps.points import chain, fixed, product, run_name, sweep
from esmm_jax.sweeps.results import tabulate
from esmm_jax.sweeps.table import Choice, Column, Table
from esmm_jax.types import InputError
import numpy as np
import pytest
from scipy import stats

from tests.sweeps.test_results import write

AUC, KL = 'test/cvr_entire/auc', 'test/cvr_entire/kl'
VALID = 'valid/ctr/logloss'
# World -> arm -> weight -> (validation log loss, KL of three seeds).
VALUES = {
    'calm': {
        'naive': {1: (0.5, (0.30, 0.32, 0.34)), 2: (0.6, (0.31, 0.33, 0.35))},
        'IPS': {1: (0.9, (0.29, 0.30, 0.31))},
        'DR': {1: (0.9, (0.30, 0.32, 0.34))},
    },
    'rough': {
        'naive': {1: (0.6, (0.40, 0.40, 0.40)), 2: (0.5, (0.50, 0.52, 0.54))},
        'IPS': {1: (0.9, (0.60, 0.62, 0.640001))},
    },
}
DIFFERENCES = {'calm': [-0.01, -0.02, -0.03], 'rough': [0.1, 0.1, 0.100001]}


def make(**changes):
  points = chain(*(
      product(
          fixed('@world', world), fixed('dataset.seed', k), fixed('@arm', arm),
          fixed('config', 'configs/esmm.py'), fixed('estimator', arm),
          sweep('loss_weights.ctr', weights), sweep('seed', range(3)))
      for k, (world, arms) in enumerate(VALUES.items())
      for arm, weights in arms.items()
  ))
  options = dict(
      title='Causal?', points=points, rows=('@arm',), blocks=('@world',),
      columns=(Column('AUC', AUC), Column('KL', KL, 3)),
      baseline={'@arm': 'naive'}, gain_columns=(AUC, KL), overview=(KL,),
      figures=('gains',), choice=Choice('loss_weights.ctr', VALID))
  return Table(**(options | changes))


@pytest.fixture(scope='module')
def blocks(tmp_path_factory):
  table, workdir = make(), tmp_path_factory.mktemp('sweep')
  for p in table.points:
    valid, kl = VALUES[p['@world']][p['@arm']][p['loss_weights.ctr']]
    write(
        workdir / 'runs' / run_name(p), config={'seed': p['seed']},
        results={VALID: valid, KL: kl[p['seed']], AUC: 0.7})
  return tabulate(table, os.fspath(workdir))


def test_each_world_is_compared_with_its_own_choice(blocks):
  """naive takes weight 1 in the first world and 2 in the second one."""
  assert [b.rows[0].chosen.value for b in blocks] == [1, 2]
  for block in blocks:
    paired = block.rows[1].gains[KL].paired
    d = DIFFERENCES[block.values[0]]
    assert paired.mean == pytest.approx(np.mean(d))
    assert paired.p_t == pytest.approx(stats.ttest_1samp(d, 0).pvalue, rel=1e-3)


def test_overview(blocks):
  """A line for each row, a column for each block; * after Holm.

  calm: p .074 and 1 of two rows; .148 after Holm. rough: one row.
  """
  grid = report.grids(make(), blocks)[-1]
  assert grid.title == 'KL ↓: gain over naive, all blocks'
  assert grid.headers == ['arm', 'calm', 'rough']
  # The median of the rows: of .01 and of 0, which is found at once.
  least = minimum_detectable_difference(0.01, 3)
  assert grid.rows == [
      ['IPS', '-.020', '+.100*'],
      ['DR', '+.000', '–'],
      ['detectable', f'{least / 2:.3f}'[1:], '.000'],
  ]
  assert '80 of 100' in grid.notes[0] and 'Holm' in grid.notes[0]
  assert '### KL ↓: gain over naive' in report.markdown(make(), blocks)
  # None of the other metrics; the grids of the blocks are as without it.
  without = report.grids(make(overview=()), blocks)
  assert report.grids(make(), blocks)[:-1] == without


def test_no_overview_before_a_run(tmp_path):
  """Only where no row has a baseline; runs that are missing are said to be."""
  table = make(baseline=None, gain_columns=(), overview=(), figures=())
  assert 'all blocks' not in report.markdown(table, tabulate(table, tmp_path))
  grid = report.grids(make(), tabulate(make(), tmp_path))[-1]
  assert [line[1:] for line in grid.rows] == [['–', '–']] * 3


def test_an_overview_is_of_gains():
  with pytest.raises(InputError, match="'test/ctr/auc' in overview is not one"):
    make(overview=('test/ctr/auc',))


def test_gains_of_all_blocks_are_drawn(blocks, tmp_path, monkeypatch):
  made = figures.draw(make(), blocks, os.fspath(tmp_path))
  assert [os.path.basename(p) for p in made.paths] == [
      'gains-test-cvr-entire-auc.png', 'gains-test-cvr-entire-kl.png']
  assert not made.skipped and all(map(os.path.exists, made.paths))
  calls = []
  monkeypatch.setattr(plots, 'gains', lambda *a, **b: calls.append((a, b)))
  figures.draw(make(), blocks, 'w')
  (panels, _, title), options = calls[1]
  assert title == 'Causal?\nKL: gain over naive'
  assert options['lower_is_better'] and options['x_label'] == 'KL ↓'
  assert not calls[0][1]['lower_is_better']
  assert list(panels) == ['calm', 'rough']
  mean, low, high, p = panels['calm']['IPS']
  half = stats.t.ppf(0.975, 2) * 0.01 / np.sqrt(3)
  assert (mean, low, high) == pytest.approx((-0.02, -0.02 - half, -0.02 + half))
  assert p == pytest.approx(2 * stats.ttest_1samp([-0.01, -0.02, -0.03], 0)[1])
  assert np.isnan(panels['rough']['DR']).all()
  # The weight that naive did not take: .01 worse, and .12 better.
  assert options['others']['calm'] == pytest.approx([0.01])
  assert options['others']['rough'] == pytest.approx([-0.12])


def test_no_picture_of_gains_before_a_run(tmp_path):
  made = figures.draw(make(), tabulate(make(), tmp_path), 'w')
  assert made.paths == [] and len(made.skipped) == 2


def test_panels_of_gains(tmp_path):
  """Three panels in two columns; blue is what is better."""
  rows = {'a': [-0.01, -0.02, 0.0, 0.01], 'b': [0.02, 0.01, 0.03, 0.2]}
  figure = plots.gains(
      {'x': rows, 'y': rows, 'z': rows}, str(tmp_path / 'a.png'), 'T',
      columns=2, lower_is_better=True, others={'y': [0.015]}, x_label='KL')
  x, y, z, blank = figure.axes
  assert not blank.axison and z.axison and z.get_xlabel() == 'KL'
  points = [line for line in x.get_lines() if len(line.get_xdata()) == 1]
  assert [p.get_color() for p in points] == list(drawing.COLOURS[:2])
  grey = [[line.get_xdata()[0] for line in axes.get_lines()
           if line.get_color() == '0.8'] for axes in (x, y)]
  assert grey == [[], [0.015]]


def test_intervals_that_are_cut_off(tmp_path):
  """At five times the largest mean, .1, and a margin; 'b' ends before."""
  rows = {'a': [0.02, -0.3, 0.05, 0.4], 'b': [0.01, -0.01, 0.03, 0.3]}
  figure = plots.gains({'x': rows}, str(tmp_path / 'a.png'), 'T')
  axes, = figure.axes
  heads = [(line.get_marker(), *line.get_xydata()[0])
           for line in axes.get_lines() if line.get_marker() in ('<', '>')]
  assert heads == [('<', axes.get_xlim()[0], 0)]
  assert axes.get_xlim()[0] == pytest.approx(-0.1 - 0.06 * 0.15)
