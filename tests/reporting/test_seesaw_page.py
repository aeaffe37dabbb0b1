"""The page of a seesaw laboratory against numbers by hand."""

import json
import os

from esmm_jax.reporting.page import parts
from esmm_jax.reporting.seesaw import balances, page, stops
from esmm_jax.sweeps import seesaw
from esmm_jax.sweeps.points import run_name
import pytest

from tests.reporting import test_page
from tests.sweeps.test_results import ORIGIN, write
from tests.sweeps.test_seesaw import design

PAIR = 'ctr|ctcvr'
# (arm, ratio) -> both scores of seed 0; each further seed has .01 more.
TEST = {
    ('single_task', None): (0.60, 0.70),
    ('static', 0.5): (0.58, 0.72),
    ('static', 2.0): (0.62, 0.68),
    ('pcgrad', 'method'): (0.62, 0.72),
    ('pcgrad', 'replay'): (0.60, 0.70),
    ('config', 'as it is'): (0.60, 0.70),
}
# The same of steps 10 and 20 on the validation split; 20 is selected.
VALID = dict.fromkeys(TEST, ((0.5, 0.6), (0.6, 0.7))) | {
    ('static', 0.5): ((0.62, 0.60), (0.58, 0.72)),
    ('static', 2.0): ((0.50, 0.60), (0.62, 0.68)),
}
# Examples/s, runs side by side.
COST = {
    'single_task': (1000.0, 1), 'static': (3000.0, 2), 'pcgrad': (1600.0, 1),
    'config': (2000.0, 1)}  # fmt: skip
# Geometric mean 2, second over first.
RATIO = {0: 32.0, 1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0}


def lab(**changes):
  return design(seeds=5, **changes)


def tables(made):
  return seesaw.tables(made, 'Seesaw of ctr and ctcvr', 'A note.')


def write_runs(folder, made, skip=lambda point: False):
  for point in seesaw.points(made):
    if skip(point):
      continue
    arm, ratio, seed = point['@arm'], point['@ratio'], point['seed']
    x, y = (v + 0.01 * seed for v in TEST[arm, ratio])
    rate, beside = COST[arm]
    results = {
        'test/ctr/auc': x, 'test/cvr_clicked/auc': y, 'test/ctcvr/auc': 0.8,
        'test/ctr/calibration': 1.25, 'selected_step': 20,
        'examples_per_second': rate, 'replicas': beside}
    lines = [
        {'step': step, 'valid/ctr/auc': a + 0.01 * seed,
         'valid/cvr_clicked/auc': b + 0.01 * seed}
        for step, (a, b) in zip((10, 20), VALID[arm, ratio])]
    if ratio == 'method':
      results |= {
          f'balancing/ratio/{PAIR}': RATIO[seed],
          f'balancing/cosine/tables/{PAIR}': -0.25,
          'balancing/degenerate': 0.125}
      for line in lines:
        line[f'train/balancing/ratio/{PAIR}'] = RATIO[seed]
        line[f'train/balancing/conflict/all/{PAIR}'] = 0.25
    run = folder / 'runs' / run_name(point)
    write(run, results=results, config={'seed': seed}, origin=[ORIGIN])
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (run / 'metrics.jsonl').write_text(text)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
  folder = tmp_path_factory.mktemp('lab')
  write_runs(folder, lab())
  return page.make(lab(), tables(lab()), os.fspath(folder), 'the command')


def grids(made, title):
  (section,) = [s for s in made.page.sections if s.title == title]
  return [part.grid for part in section.parts if part.kind == 'table']


def test_what_it_says(made):
  """Above (.5, .5), of means that are .02 above seed 0.

  Static .04 x .20 + .10 x .24, single .12 x .22: .0320 - .0264. pcgrad is
  (.64, .74); on the line from (.60, .74) to (.64, .70) both leads are .02 in
  the middle. Static .5 has at its best step for CTR .62, at the selected one
  .58, and single .60.
  """
  weights, front, methods, stop = made.says
  assert weights == (
      'Static weights against single_task: 2 of 2 ratios seesaw beyond noise'
      ' (seesaw 2).')
  assert front.startswith('Front of static weights: volume +.00560 [')
  assert front.endswith('methods beyond it with their whole interval: pcgrad.')
  assert 'better beyond noise pcgrad; otherwise different none; of 1' in methods
  assert 'of 2 arms that seesaw' in stop
  assert ', 1 do so too' in stop and '1 of the seesaws is made by' in stop


def test_gains_are_of_pairs_of_seeds(made):
  over_single, over_config, over_replay = grids(made, 'Gains')
  verdicts = [(*row[:2], row[-1]) for row in over_single.rows]
  assert verdicts == [
      ('static', '0.5', 'seesaw'), ('static', '2.0', 'seesaw'),
      ('pcgrad', 'method', 'both up'), ('pcgrad', 'replay', 'noise'),
      ('config', 'as it is', 'noise')]
  assert over_single.rows[0][3].startswith('-.0200 [-.0200, ')
  assert over_config.title == 'Gain over config, as it is'
  assert [row[:2] for row in over_config.rows] == [
      ['static', '0.5'], ['static', '2.0'], ['pcgrad', 'method'],
      ['pcgrad', 'replay']]
  (row,) = over_replay.rows
  assert row[:3] == ['pcgrad', 'method', '5'] and row[-1] == 'both up'
  _, margins = grids(made, 'Front')
  assert margins.rows[0][:4] == [
      'pcgrad', 'method', '5', '+.0200 [+.0200, +.0200]']


def test_ratio_and_conflict(made):
  """The loss weights are 2 : 1, and 2 / 2 is 1; the same in all runs."""
  (grid,) = grids(made, balances.TITLE)
  assert grid.rows == [
      ['pcgrad', 'weights', '1', '–', '–', '–'],
      ['pcgrad', 'tables', '–', '-0.25', '–', '–']]
  (section,) = [s for s in made.page.sections if s.title == balances.TITLE]
  assert 'In 12.5 % of the steps pcgrad' in section.parts[1].what
  lines = [
      [{'step': s, f'train/balancing/ratio/{PAIR}': r,
        f'train/balancing/conflict/all/{PAIR}': 0.25} for s in (10, 20)]
      for r in RATIO.values()]
  found = balances.curves(('ctr', 'ctcvr'), 2.0, lines)
  assert found['weight ratio'] == ([10, 20], pytest.approx([1.0, 1.0]))
  assert found['conflict rate'] == ([10, 20], [0.25, 0.25])
  # Named the other way round it is the inverse.
  turned = balances.curves(('ctcvr', 'ctr'), 1.0, lines)
  assert turned['weight ratio'][1] == pytest.approx([2.0, 2.0])
  assert balances.curves(('ctr', 'other'), 1.0, lines) == {}


def test_steps_and_costs(made):
  steps, gains = grids(made, 'AUC by step')
  # (.62, .60), (.58, .72): the first is best for CTR, .04 above the selected.
  assert steps.rows[1] == [
      'static', '0.5', '5', '20', '10', '20', '.0400', '.0000']
  assert gains.rows[0] == [
      'static', '0.5', '5', '-.0200*', '+.0200*', '+.0200*', '+.0200*',
      'seesaw', 'both up']
  (costs,) = grids(made, 'Cost')
  assert [(row[0], row[-2], row[-1]) for row in costs.rows] == [
      ('single_task', '1', '2.00'), ('static', '2', '–'), ('static', '2', '–'),
      ('pcgrad', '1', '1.25'), ('pcgrad', '1', '1.25'), ('config', '1', '1.00')]
  (calibration,) = grids(made, 'Calibration')
  assert calibration.rows[0] == ['single_task', '–', '5', '1.2500 ± .0000']


def test_the_numbers_of_the_page(made):
  numbers = json.loads(json.dumps(made.numbers, allow_nan=False))
  assert numbers['losses'] == ['ctr', 'ctcvr']
  assert numbers['front_volume']['value'] == pytest.approx(0.0056)
  assert numbers['margins']['pcgrad']['method']['value'] == pytest.approx(0.02)
  first = numbers['arms'][1]
  assert (first['arm'], first['ratio']) == ('static', 0.5)
  assert first['test_auc']['2'] == pytest.approx([0.60, 0.74])
  assert first['over_single_task'] == 'seesaw' and first['over_replay'] is None
  stop = numbers['by_step'][0]['seeds']['0']
  assert stop == {
      'selected': 20, 'at': [0.58, 0.72], 'steps': [10, 20],
      'best': [0.62, 0.72]}
  assert numbers['cost'][1]['static_times'] is None


def test_the_file(made, tmp_path):
  parts.write(made.page, str(tmp_path / 'seesaw.html'))
  read = test_page.Page((tmp_path / 'seesaw.html').read_text('utf-8'))
  assert len(read.tables) == 11
  pictures = [link for link in read.links if link.startswith('data:image')]
  assert len(pictures) == 4


def test_a_laboratory_that_is_not_finished(tmp_path):
  """Without any run, with one seed, and without methods."""
  none = page.make(lab(), tables(lab()), os.fspath(tmp_path), 'the command')
  missing = [
      part for s in none.page.sections for part in s.parts
      if part.kind == 'missing']
  assert missing[0].what.startswith('0 of 30 runs') and missing[0].command
  assert 'no seed has all static weights' in none.says[1]
  write_runs(tmp_path / 'two', lab(), skip=lambda p: p['seed'] > 1)
  two = page.make(
      lab(), tables(lab()), os.fspath(tmp_path / 'two'), 'the command')
  assert two.says[1].endswith('2 seeds are too few to judge by such an'
                              ' interval.')
  few = lab(arms=())
  write_runs(tmp_path, few, skip=lambda p: p['seed'] > 0)
  one = page.make(few, tables(few), os.fspath(tmp_path), 'the command')
  assert one.says[0] == 'Static weights: with one seed there is no test.'
  assert 'with one seed it has no interval' in one.says[1]
  assert one.says[2] == 'Methods: none was asked for.'
  assert one.says[3] == 'One early stop: with one seed there is no test.'
  parts.render(one.page)


def test_scores_without_a_number():
  lines = [{'step': 5, 'a': None, 'b': 0.5}, {'step': 9, 'a': 0.7, 'b': 0.5}]
  assert stops.curve(lines, 'a') == ([9], [0.7])
  found = stops.stop(lines, 9, ('a', 'b'))
  assert found.steps == (9, 5) and found.best == (0.7, 0.5)
  assert stops.stop(lines, 9, ('a', 'c')) is None
