"""Tables of runs: folders written by hand, numbers worked out by hand."""

import csv
import io
import json
import math
import os

from esmm_jax.metrics.significance import paired, Summary
from esmm_jax.reporting import grid, text as report
from esmm_jax.reporting.gain_grid import verdict
from esmm_jax.reporting.grid import Grid, pipes
from esmm_jax.reporting.tex import tabular
from esmm_jax.sweeps.choice import choose
from esmm_jax.sweeps.points import chain, fixed, product, run_name, sweep
from esmm_jax.sweeps.results import Gain, tabulate
from esmm_jax.sweeps.saved_runs import read_run
from esmm_jax.sweeps.table import Choice, Column, Paper, Table
from esmm_jax.types import InputError
import pytest
from scipy import stats

AUC, LOSS, TIME = 'test/ctr/auc', 'test/ctr/logloss', 'train_seconds'
# Model -> estimator -> AUC by seed.
VALUES = {
    'single': {'x': (0.60, 0.62, 0.61), 'y': (0.50, 0.52, 0.54)},
    'mmoe': {'x': (0.61, 0.64, 0.62), 'y': (0.50, 0.54, 0.55)},
    'ple': {'x': (0.59, 0.61, 0.60), 'y': (0.70, 0.71, 0.72)},
}
ORIGIN = {
    'command': 'python -m experiments.sweep --sweep=T --workdir=w',
    'commit': 'abc', 'device': '1 x cpu', 'data': 'toy/1.0.0, sha256 12',
}


def make(**changes):
  points = product(
      sweep('estimator', 'xy'),
      chain(*(
          product(fixed('@model', m), fixed('config', f'configs/{m}.py'))
          for m in VALUES
      )),
      sweep('seed', range(3)),
  )
  options = dict(
      title='Models',
      note='A note.',
      points=points,
      columns=(
          Column('CTR AUC', AUC), Column('log loss', LOSS, 5, 'lower'),
      ),
      rows=('@model',),
      blocks=('estimator',),
      baseline={'@model': 'single', 'estimator': 'y'},
      gain_columns=(AUC,),
      extra_columns=(Column('seconds', TIME, 1, None),),
  )
  return Table(**(options | changes))


def write(folder, **files):
  os.makedirs(folder, exist_ok=True)
  for name, value in files.items():
    with open(os.path.join(folder, f'{name}.json'), 'w') as f:
      json.dump(value, f)


def write_runs(table, workdir, skip=lambda point: False, **more):
  """A finished run for each point that is not skipped."""
  for point in table.points:
    if skip(point):
      continue
    auc = VALUES[point['@model']][point['estimator']][point['seed']]
    write(
        workdir / 'runs' / run_name(point),
        results={
            AUC: auc, LOSS: 0.5, TIME: 1234.5 + point['seed'],
            'versions': {'jax': '1.2'}, **more,
        },
        config={'seed': point['seed'], 'model': {'name': point['@model']}},
        origin=[ORIGIN],
    )


def test_read_run(tmp_path):
  none = read_run(os.fspath(tmp_path / 'a'))
  assert (none.name, none.results, none.config) == ('a', None, None)
  assert math.isnan(none.value(AUC))
  write(tmp_path / 'a', results={AUC: 0.5, LOSS: None}, config={'seed': 1})
  run = read_run(os.fspath(tmp_path / 'a'))
  assert run.value(AUC) == 0.5 and run.config == {'seed': 1}
  assert math.isnan(run.value(LOSS)) and math.isnan(run.value('absent'))
  (tmp_path / 'a' / 'results.json').write_text('{')
  with pytest.raises(InputError, match='results.json is not JSON'):
    read_run(os.fspath(tmp_path / 'a'))


def test_means_and_gains(tmp_path):
  """The gains of both blocks are over single at y, seed by seed."""
  table = make()
  write_runs(table, tmp_path)
  x, y = tabulate(table, tmp_path)
  assert (x.values, y.values) == (('x',), ('y',))
  assert [row.name for row in y.rows] == ['single', 'mmoe', 'ple']
  cell = y.rows[0].cells[AUC]
  assert cell == pytest.approx((0.52, 0.02, 3))
  assert y.rows[0].gains == {}
  gain = y.rows[1].gains[AUC].paired
  d = [0.00, 0.02, 0.01]
  assert (gain.n, gain.mean) == (3, pytest.approx(0.01))
  assert gain.p_t == pytest.approx(stats.ttest_1samp(d, 0).pvalue)
  for row, own in zip(x.rows, VALUES.values()):
    d = [a - b for a, b in zip(own['x'], VALUES['single']['y'])]
    assert row.gains[AUC].paired.mean == pytest.approx(sum(d) / 3)
  p = sorted((r.gains[AUC].paired.p_t, r.gains[AUC].p_holm) for r in x.rows)
  assert p[0][1] == pytest.approx(3 * p[0][0])
  ranked = [
      (r.gains[AUC].paired.p_wilcoxon, r.gains[AUC].p_wilcoxon_holm)
      for r in x.rows
  ]
  assert min(ranked)[1] == pytest.approx(min(1, 3 * min(ranked)[0]))


def test_no_baseline_no_gains(tmp_path):
  table = make(baseline=None, gain_columns=())
  write_runs(table, tmp_path)
  blocks = tabulate(table, tmp_path)
  assert not any(row.gains for block in blocks for row in block.rows)
  assert 'gain' not in report.markdown(table, blocks)


# single: d = .10, .10, .07, mean .09, error .01, t_crit 4.30, p .0121.
MARKDOWN = """\
## Models

A note.

### estimator x

| model  | n |         CTR AUC ↑ |      log loss ↓ | seconds |
|--------|--:|------------------:|----------------:|--------:|
| single | 3 |     .6100 ± .0100 | .50000 ± .00000 | 1,235.5 |
| mmoe   | 3 | **.6233 ± .0153** | .50000 ± .00000 | 1,235.5 |
| ple    | 3 |     .6000 ± .0100 | .50000 ± .00000 | 1,235.5 |

Bold: the best mean of the column.

### estimator x: gain over single (estimator y)

| model  | pairs |               CTR AUC ↑ |     p |
|--------|------:|------------------------:|------:|
| single |     3 | +.0900 [+.0470, +.1330] | .036* |
| mmoe   |     3 | +.1033 [+.0516, +.1550] | .036* |
| ple    |     3 | +.0800 [+.0370, +.1230] | .036* |

Difference to single (estimator y) at the same seed: mean [95 % interval]; p of\
 the paired t test after Holm over the rows of its column, * below .05.

Smallest difference that a paired t test with these seeds finds in 80 of 100\
 cases, median of the rows: CTR AUC .0565.
"""


def test_markdown(tmp_path):
  table = make()
  write_runs(table, tmp_path)
  text = report.markdown(table, tabulate(table, tmp_path))
  assert text.startswith(MARKDOWN)
  assert text.endswith(
      '- Command: python -m experiments.sweep --sweep=T --workdir=w\n'
      '- Commit: abc\n- Data: toy/1.0.0, sha256 12\n- Device: 1 x cpu\n'
      '- Versions: jax 1.2\n- Runs: 18 of 18 finished\n')


def test_missing_runs_are_said_to_be(tmp_path):
  """mmoe lacks a seed at y, ple all; single lacks a seed that mmoe has."""
  table = make()
  gone = {('mmoe', 0), ('single', 2), ('ple', 0), ('ple', 1), ('ple', 2)}
  write_runs(
      table, tmp_path,
      lambda p: p['estimator'] == 'y' and (p['@model'], p['seed']) in gone)
  failed = run_name(
      next(p for p in table.points
           if (p['@model'], p['estimator'], p['seed']) == ('ple', 'y', 1)))
  write(tmp_path / 'failed', **{failed: {'error': 'FloatingPointError'}})
  blocks = tabulate(table, tmp_path)
  mmoe = blocks[1].rows[1]
  assert (mmoe.missing, mmoe.cells[AUC].n) == (1, 2)
  assert mmoe.gains[AUC].paired.n == 1
  text = report.markdown(table, blocks)
  lines = [
      [cell.strip() for cell in line.split('|')[1:-1]]
      for line in text.splitlines()
  ]
  assert ['mmoe', '2, missing 1 of 3', '.5450 ± .0071†'] in [
      line[:3] for line in lines]
  assert ['ple', '0, missing 3 of 3', 'missing'] in [
      line[:3] for line in lines]
  assert ['mmoe', '1, missing 2 of 3', '+.0200', '–'] in lines
  assert ['ple', '0, missing 3 of 3', '–', '–'] in lines
  assert '† of fewer runs than planned' in text
  assert '- Runs: 13 of 18 finished' in text
  assert f'- Missing: {failed}, FloatingPointError, see failed/' in text
  assert text.count('- Missing: ') == 5


def test_nothing_has_run(tmp_path):
  table = make()
  text = report.markdown(table, tabulate(table, tmp_path))
  assert text.count('0, missing 3 of 3') == 6 + 5
  assert '- Runs: 0 of 18 finished' in text and 'Missing: 8 more' in text
  assert report.to_csv(table, tabulate(table, tmp_path)).count('\n') == 19


def test_a_value_that_is_not_there_is_not_averaged(tmp_path):
  """nan of one seed, one class say: the cell counts for itself."""
  table = make()
  write_runs(table, tmp_path)
  point = table.points[0]
  write(tmp_path / 'runs' / run_name(point), results={AUC: None, LOSS: 0.5})
  text = report.markdown(table, tabulate(table, tmp_path))
  assert '.6150 ± .0071 (n=2)' in text and '+.0850 [' in text


def test_columns_that_a_block_lacks_are_left_out(tmp_path):
  table = make(columns=(Column('CTR AUC', AUC), Column('entire', 'test/e')))
  write_runs(table, tmp_path)
  assert 'entire' not in report.markdown(table, tabulate(table, tmp_path))
  write_runs(table, tmp_path, lambda p: p['estimator'] == 'x', **{'test/e': 1})
  x, y = tabulate(table, tmp_path)
  assert [c.header for c in x.columns] == ['CTR AUC']
  assert [c.header for c in y.columns] == ['CTR AUC', 'entire']


def test_runs_that_differ_in_more_than_the_seed_are_refused(tmp_path):
  table = make()
  write_runs(table, tmp_path)
  name = run_name(table.points[1])
  write(tmp_path / 'runs' / name,
        config={'seed': 1, 'model': {'name': 'single'}, 'batch_size': 7})
  with pytest.raises(InputError, match=f'{name}.*batch_size is 7 here'):
    tabulate(table, tmp_path)
  write(tmp_path / 'runs' / name,
        config={'seed': 1, 'model': {'name': 'other'}})
  with pytest.raises(InputError, match='config file was changed'):
    tabulate(table, tmp_path)


def test_csv(tmp_path):
  table = make()
  write_runs(table, tmp_path)
  rows = list(csv.DictReader(
      io.StringIO(report.to_csv(table, tabulate(table, tmp_path)))))
  assert len(rows) == 2 * 3 * 3
  row = next(r for r in rows if (r['estimator'], r['model'], r['metric'])
             == ('y', 'mmoe', AUC))
  assert (row['planned'], row['n'], row['pairs']) == ('3', '3', '3')
  assert float(row['mean']) == pytest.approx(0.53)
  assert float(row['gain']) == pytest.approx(0.01)
  d = [0.00, 0.02, 0.01]
  assert float(row['p_t']) == pytest.approx(stats.ttest_1samp(d, 0).pvalue)
  # One of the two differences that are not 0 could as well be negative.
  assert float(row['p_wilcoxon']) == 0.5
  single = next(r for r in rows if (r['estimator'], r['model'], r['metric'])
                == ('y', 'single', AUC))
  assert single['gain'] == '' and single['paper_mean'] == ''


def test_what_runs_record_of_balancing_is_in_csv(tmp_path):
  """A line for each record, after the columns; one of them may be a column."""
  share, ratio = 'balancing/share/ctr', 'balancing/ratio/ctr|ctcvr'
  table = make(extra_columns=(Column('share', share, 2, None),))
  write_runs(table, tmp_path, lambda p: p['@model'] != 'mmoe',
             **{share: 0.25, ratio: 2.0})
  write_runs(table, tmp_path, lambda p: p['@model'] == 'mmoe')
  rows = list(csv.DictReader(
      io.StringIO(report.to_csv(table, tabulate(table, tmp_path)))))
  cells = [(r['n'], r['mean'], r['std'], r['pairs']) for r in rows
           if (r['estimator'], r['model'], r['metric']) == ('y', 'mmoe', ratio)]
  assert cells == [('3', '2.0', '0.0', '')]
  assert [r['model'] for r in rows if r['metric'] == ratio] == ['mmoe'] * 2
  assert [r['metric'] for r in rows if r['model'] == 'mmoe'] == [
      AUC, LOSS, share, ratio] * 2


def test_papers_numbers_stand_beside_ours(tmp_path):
  paper = Paper('Some paper, Table 2, other data', {
      ('single', AUC): (0.6623, 0.0037), ('mmoe', AUC): 0.66})
  table = make(paper=paper)
  write_runs(table, tmp_path)
  blocks = tabulate(table, tmp_path)
  text = report.markdown(table, blocks)
  assert ' .6100 ± .0100 | .6623 ± .0037 |' in text
  assert '| **.6233 ± .0153** |         .6600 |' in text
  assert ' .6000 ± .0100 |             – |' in text
  assert 'paper: Some paper, Table 2, other data.' in text
  assert ',0.6623,0.0037,' in report.to_csv(table, blocks)


def cells(text):
  """The cells of Markdown tables, without rules and bold type."""
  return [
      [cell.strip().replace('**', '') for cell in line.split('|')[1:-1]]
      for line in text.splitlines()
      if line.startswith('|') and not line.startswith('|-')
  ]


# What the validation split chooses.

VALID = 'valid/ctr/auc'
# Rate -> (valid, test) by seed: .1 is best on valid, .01 on test.
RATES = {
    0.01: ((0.70, 0.72, 0.71), (0.69, 0.68, 0.70)),
    0.1: ((0.73, 0.74, 0.72), (0.61, 0.62, 0.63)),
    1.0: ((0.73, 0.73, 0.73), (0.50, 0.50, 0.50)),
}


def make_choice(**changes):
  rates = sweep('@rate', list(RATES))
  points = product(
      chain(
          product(
              fixed('@method', 'BASE'), fixed('config', 'configs/base.py'),
              fixed('@rate', None)),
          product(
              fixed('@method', 'ESMM'), fixed('config', 'configs/esmm.py'),
              rates),
      ),
      sweep('seed', range(3)),
  )
  # The label's value is a key of the config too.
  points = [
      p if p['@rate'] is None else p | {'learning_rate': p['@rate']}
      for p in points
  ]
  options = dict(
      points=points,
      columns=(Column('CTR AUC', AUC),),
      rows=('@method',),
      blocks=(),
      baseline={'@method': 'BASE'},
      extra_columns=(),
      choice=Choice('@rate', VALID, 'max'),
  )
  return make(**(options | changes))


def write_choice(table, workdir, gone=(), **values):
  """BASE is .6 on both splits; `gone` are the (rate, seed) without a run."""
  for point in table.points:
    rate, seed = point['@rate'], point['seed']
    if (rate, seed) in gone:
      continue
    valid, test = (0.6, 0.6)
    if rate is not None:
      valid, test = (x[seed] for x in values.get('rates', RATES)[rate])
    write(
        workdir / 'runs' / run_name(point), results={
            table.choice.metric: valid, AUC: test},
        config={'seed': seed, 'learning_rate': rate}, origin=[ORIGIN])


def test_validation_chooses_whatever_the_test_split_says(tmp_path):
  """.1 and 1. tie at .73; .01 would be best on test. d = .01, .02, .03."""
  table = make_choice()
  write_choice(table, tmp_path)
  blocks = tabulate(table, tmp_path)
  base, esmm = blocks[0].rows
  assert (base.chosen.value, esmm.chosen.value) == (None, 0.1)
  assert not esmm.chosen.fewer and esmm.chosen.seeds == 3
  assert esmm.cells[AUC] == pytest.approx((0.62, 0.01, 3))
  assert esmm.gains[AUC].paired.mean == pytest.approx(0.02)
  assert set(esmm.candidates) == set(RATES)
  text = report.markdown(table, blocks)
  lines = cells(text)
  assert lines[0] == ['method', 'rate', 'n', 'CTR AUC ↑']
  assert lines[1] == ['BASE', '–', '3', '.6000 ± .0000']
  assert lines[2] == ['ESMM', '0.1', '3', '.6200 ± .0100']
  assert lines[3:8] == [
      ['method', 'rate', 'n', VALID],
      ['BASE', '–', '3', '.60000 ± .00000*'],
      ['ESMM', '0.01', '3', '.71000 ± .01000'],
      ['ESMM', '0.1', '3', '.73000 ± .01000*'],
      ['ESMM', '1.0', '3', '.73000 ± .00000'],
  ]
  assert '### Choice of rate' in text and f'largest mean of {VALID}' in text
  assert 'chosen on' not in text and '†' not in text
  assert '- Runs: 12 of 12 finished' in text
  assert r'\begin{tabular}{@{}llrr@{}}' in report.latex(table, blocks)


def test_the_smallest_may_be_the_best(tmp_path):
  table = make_choice(choice=Choice('@rate', 'valid/ctr/logloss'))
  write_choice(table, tmp_path)
  block, = tabulate(table, tmp_path)
  assert block.rows[1].chosen.value == 0.01
  assert block.rows[1].cells[AUC].mean == pytest.approx(0.69)
  assert 'smallest mean' in report.markdown(table, [block])


def test_a_choice_on_fewer_seeds(tmp_path):
  """Without seed 2 of .01: .735 of seeds 0 and 1; all three test runs count."""
  table = make_choice()
  write_choice(table, tmp_path, gone={(0.01, 2)})
  blocks = tabulate(table, tmp_path)
  chosen = blocks[0].rows[1].chosen
  assert (chosen.value, chosen.seeds, chosen.planned) == (0.1, 2, 3)
  assert chosen.means[0.1].mean == pytest.approx(0.735)
  text = report.markdown(table, blocks)
  assert ['ESMM', '0.1†', '3', '.6200 ± .0100'] in cells(text)
  assert '† of rate: ESMM chosen on 2 of 3 seeds.' in text
  assert ['ESMM', '0.1', '2, missing 1 of 3', '.73500 ± .00707*'] in cells(text)
  assert '- Runs: 11 of 12 finished' in text and 'rate=0.01-seed=2-' in text


def test_without_a_common_seed_there_is_no_choice(tmp_path):
  table = make_choice()
  write_choice(table, tmp_path, gone={(0.01, 0), (0.1, 1), (1.0, 2)})
  blocks = tabulate(table, tmp_path)
  assert not blocks[0].rows[1].chosen.taken
  text = report.markdown(table, blocks)
  assert ['ESMM', 'missing†', '0, missing 3 of 3', 'missing'] in cells(text)
  assert ['ESMM', '0, missing 3 of 3', '–', '–'] in cells(text)
  assert 'ESMM chosen on 0 of 3 seeds' in text
  assert ['ESMM', '0.1', '0, missing 3 of 3', '–'] in cells(text)
  assert '- Runs: 9 of 12 finished' in text


def test_the_baseline_chooses_too(tmp_path):
  """BASE against ESMM at .1, the one that validation chose."""
  table = make_choice(baseline={'@method': 'ESMM'})
  write_choice(table, tmp_path)
  base, esmm = tabulate(table, tmp_path)[0].rows
  assert esmm.gains == {}
  assert base.gains[AUC].paired.mean == pytest.approx(-0.02)
  other = tmp_path / 'other'
  write_choice(table, other, gone={(r, s) for r in RATES for s in range(3)})
  text = report.markdown(table, tabulate(table, other))
  assert ['BASE', '0, missing 3 of 3', '–', '–'] in cells(text)


def test_the_choice_in_csv(tmp_path):
  table = make_choice()
  write_choice(table, tmp_path, gone={(0.01, 2)})
  rows = list(csv.DictReader(
      io.StringIO(report.to_csv(table, tabulate(table, tmp_path)))))
  shown = [
      (r['method'], r['rate'], r['metric'], r['n'], r['planned'], r['chosen'])
      for r in rows
  ]
  assert shown == [
      ('BASE', '', AUC, '3', '3', ''),
      ('BASE', '', VALID, '3', '3', '1'),
      ('ESMM', '0.1', AUC, '3', '3', ''),
      ('ESMM', '0.01', VALID, '2', '3', '0'),
      ('ESMM', '0.1', VALID, '2', '3', '1'),
      ('ESMM', '1.0', VALID, '2', '3', '0'),
  ]
  assert float(rows[4]['mean']) == pytest.approx(0.735)
  assert float(rows[2]['gain']) == pytest.approx(0.02)
  assert rows[4]['gain'] == ''


def test_runs_of_a_row_on_other_meshes(tmp_path):
  """A run may be resumed on another mesh, so its numbers may be averaged."""
  table = make()
  write_runs(table, tmp_path)
  before = tabulate(table, tmp_path)
  for point in table.points:
    config = {'seed': point['seed'], 'model': {'name': point['@model']}}
    mesh = {'data': point['seed'] + 1, 'replicas': 1, 'rows': point['seed']}
    write(tmp_path / 'runs' / run_name(point), config=config | {'mesh': mesh})
  for old, new in zip(before, tabulate(table, tmp_path), strict=True):
    assert [r.cells for r in new.rows] == [r.cells for r in old.rows]
  point = table.points[1]
  config |= {'seed': point['seed'], 'batch_size': 7}
  write(tmp_path / 'runs' / run_name(point), config=config)
  with pytest.raises(InputError, match='batch_size is'):
    tabulate(table, tmp_path)


@pytest.mark.parametrize('order', [1, -1])
def test_a_key_that_only_some_points_set(order, tmp_path):
  """It may differ in the row's configs, whichever point comes first."""
  points = [
      {'config': 'configs/esmm.py', 'learning_rate': 0.02, 'seed': 0},
      {'config': 'configs/esmm.py', 'seed': 1},
  ]
  for point, rate in zip(points, (0.02, 0.01)):
    write(
        tmp_path / 'runs' / run_name(point),
        results={AUC: 0.6 + 0.1 * point['seed']},
        config={'learning_rate': rate, 'seed': point['seed']},
    )
  table = Table(
      'T', points[::order], (Column('CTR AUC', AUC),), rows=('config',))
  (block,) = tabulate(table, tmp_path)
  assert block.rows[0].cells[AUC][::2] == (pytest.approx(0.65), 2)


def test_candidates_with_another_config_are_refused(tmp_path):
  """Also those that are not chosen."""
  table = make_choice()
  write_choice(table, tmp_path)
  point = next(p for p in table.points if p['@rate'] == 0.01 and p['seed'] == 1)
  write(tmp_path / 'runs' / run_name(point), config={
      'seed': 1, 'learning_rate': 0.01, 'batch_size': 7})
  with pytest.raises(InputError, match='config file was changed'):
    tabulate(table, tmp_path)


def test_choose():
  nan = math.nan
  one = choose({None: {0: nan, 1: 0.5}}, 'max')
  assert (one.value, one.taken, one.seeds, one.fewer) == (None, True, 1, False)
  tied = choose({'a': {0: 0.5}, 'b': {0: 0.5}}, 'min')
  assert tied.value == 'a'
  # On seed 1 alone; b's other seeds do not help it.
  few = choose({'a': {0: None, 1: 0.6}, 'b': {0: 0.9, 1: 0.5, 2: 0.9}}, 'max')
  assert (few.value, few.seeds, few.planned, few.fewer) == ('a', 1, 3, True)
  assert few.undefined == ()


def test_a_metric_that_is_null_in_a_finished_run_is_told(tmp_path):
  """.1 would be chosen by its other seeds."""
  table = make_choice()
  rates = RATES | {0.1: ((None, 0.9, 0.9), RATES[0.1][1])}
  write_choice(table, tmp_path, rates=rates)
  blocks = tabulate(table, tmp_path)
  esmm = blocks[0].rows[1]
  assert esmm.chosen.value == 1.0 and esmm.chosen.undefined == (0.1,)
  said = report.markdown(table, blocks)
  assert (f'ESMM: {VALID} is no number in a finished run of 0.1, which cannot'
          ' be chosen.') in ' '.join(said.split())


@pytest.mark.parametrize('mode', ['max', 'min'])
@pytest.mark.parametrize('where', ['first', 'last'])
def test_a_candidate_without_a_number_is_not_chosen(where, mode):
  """Neither by its good seeds nor because it is the first."""
  nan, best = math.nan, {'max': 0.99, 'min': 0.01}[mode]
  values = {'bad': {0: best, 1: nan}, 'good': {0: 0.5, 1: 0.6}}
  if where == 'last':
    values = dict(reversed(values.items()))
  chosen = choose(values, mode)
  assert (chosen.value, chosen.seeds, chosen.undefined) == (
      'good', 2, ('bad',))
  assert chosen.means['good'].mean == 0.55 and chosen.means['bad'].n == 0
  assert list(chosen.means) == list(values)
  # The runs of the others need not be finished.
  values['good'][1] = None
  chosen = choose(values, mode)
  assert (chosen.value, chosen.seeds, chosen.fewer) == ('good', 1, True)
  none = choose({'a': {0: nan}, 'b': {0: nan}}, mode)
  assert (none.taken, none.undefined) == (False, ('a', 'b'))


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(choice=Choice('@rate', 'test/ctr/auc')), "begin with 'valid/'"),
        (dict(choice=Choice('@rate', VALID, 'best')), "'best' is not 'max'"),
        (dict(choice=Choice('@rat', VALID)), "'@rat' is in none of the points"),
        (dict(choice=Choice('seed', VALID)), 'in rows, in blocks or the seed'),
        (dict(choice=None), 'two points are'),
        (dict(verdict=(AUC, AUC)), 'name two metrics'),
        (dict(verdict=(AUC, LOSS)), f"'{LOSS}' in verdict is not one"),
        (dict(figures=('front',)), "'front' in figures.* fronts, training_si"),
    ],
)
def test_what_a_table_refuses(changes, words):
  with pytest.raises(InputError, match=words):
    make_choice(**changes)


# Verdicts.


def gain_of(mean, p):
  d = {0: mean, 1: mean}
  return Gain(paired(d, {0: 0.0, 1: 0.0}), p, math.nan)


@pytest.mark.parametrize(
    'ctr, cvr, words',
    [
        ((0.1, 0.01), (-0.1, 0.01), 'seesaw'),
        ((-0.1, 0.01), (0.1, 0.01), 'seesaw'),
        ((0.1, 0.01), (0.1, 0.01), 'both up'),
        ((-0.1, 0.01), (-0.1, 0.01), 'both down'),
        ((0.1, 0.01), (-0.1, 0.05), 'CTR up'),
        ((-0.1, 0.01), (0.1, 0.2), 'CTR down'),
        ((0.1, 0.2), (0.1, 0.049), 'CVR up'),
        ((0.1, 0.2), (-0.1, 0.049), 'CVR down'),
        ((0.1, 0.05), (-0.1, 0.5), 'noise'),
        ((0.1, 0.01), (-0.1, math.nan), '–'),
    ],
)
def test_verdict(ctr, cvr, words):
  assert verdict([('CTR', gain_of(*ctr)), ('CVR', gain_of(*cvr))]) == words


def test_verdicts_in_the_table(tmp_path):
  """ple at y gains .18 or .19 on CTR and loses as much on CVR: a seesaw."""
  cvr = 'test/cvr_clicked/auc'
  table = make(
      columns=(Column('CTR AUC', AUC), Column('CVR AUC (clicked)', cvr)),
      gain_columns=(AUC, cvr), verdict=(AUC, cvr))
  for point in table.points:
    auc = VALUES[point['@model']][point['estimator']][point['seed']]
    write(tmp_path / 'runs' / run_name(point), results={AUC: auc, cvr: 1 - auc},
          config={'seed': point['seed']})
  blocks = tabulate(table, tmp_path)
  text = report.markdown(table, blocks)
  shown = {(line[0], line[-1]) for line in cells(text.split('### ')[4])}
  assert ('ple', 'seesaw') in shown and ('mmoe', 'noise') in shown
  assert ('model', 'verdict') in shown
  assert 'Verdict on CTR AUC and CVR AUC (clicked): a gain counts' in text


def test_a_method_is_a_row_beside_the_papers(tmp_path):
  paper = Paper('Ma et al., Table 2', {('ESMM', AUC): (0.6623, 0.0037)})
  table = make_choice(paper=paper)
  write_choice(table, tmp_path)
  lines = cells(report.markdown(table, tabulate(table, tmp_path)))
  assert ['ESMM', '0.1', '3', '.6200 ± .0100', '.6623 ± .0037'] in lines
  assert ['BASE', '–', '3', '.6000 ± .0000', '–'] in lines


def test_pictures_are_named(tmp_path):
  table = make()
  write_runs(table, tmp_path)
  blocks = tabulate(table, tmp_path)
  text = report.markdown(table, blocks, ['w/front.png', 'w/front-rho-0.6.png'])
  named = ('![front](front.png)', '![front-rho-0.6](front-rho-0.6.png)')
  assert '\n\n'.join(['', *named, '- ']) in text


def test_latex(tmp_path):
  table = make()
  write_runs(table, tmp_path)
  text = report.latex(table, tabulate(table, tmp_path))
  assert text.count(r'\begin{tabular}{@{}lrrrr@{}}') == 2
  assert r'mmoe & 3 & \textbf{.6233 $\pm$ .0153} & .50000 $\pm$ .00000' in text
  assert r'CTR AUC $\uparrow$ & log loss $\downarrow$' in text
  body = [s for s in text.splitlines() if not s.startswith('%')]
  assert all(ord(c) < 128 for line in body for c in line)
  assert '% Commit: abc' in text


def test_what_markdown_and_latex_cannot_hold_is_escaped():
  grid = Grid('', ['a_b', 'n'], [['50 % | x & y', '-.5 [-.7, +1]'],
                                 ['t-x', '<.001*']], 1, [])
  assert pipes(grid) == (
      '| a_b           |             n |\n'
      '|---------------|--------------:|\n'
      '| 50 % \\| x & y | -.5 [-.7, +1] |\n'
      '| t-x           |        <.001* |')
  assert tabular(grid) == (
      '\\begin{tabular}{@{}lr@{}}\n\\toprule\na\\_b & n \\\\\n\\midrule\n'
      '50 \\% \\textbar{} x \\& y & \\twolines{$-$.5}{[$-$.7, +1]} \\\\\n'
      't-x & $<$.001* \\\\\n\\bottomrule\n\\end{tabular}')


@pytest.mark.parametrize(
    'value, decimals, sign, text',
    [
        (0.73168, 4, '', '.7317'),
        (1.0, 4, '', '1.0000'),
        (0.99999, 4, '', '1.0000'),
        (-0.0003, 4, '+', '-.0003'),
        (0.0012, 4, '+', '+.0012'),
        (12345.6, 0, '', '12,346'),
        (0.0, 0, '', '0'),
        (10.25, 2, '', '10.25'),
        (float('nan'), 4, '', '–'),
    ],
)
def test_number(value, decimals, sign, text):
  assert grid.number(value, decimals, sign) == text


def test_spread():
  assert grid.spread(Summary(0.7317, 0.0005, 3), 4) == '.7317 ± .0005'
  assert grid.spread(Summary(0.7317, math.nan, 1), 4) == '.7317'
  assert grid.spread(Summary(math.nan, math.nan, 0), 4) == '–'


def test_runs_begun_under_several_commits_say_so(tmp_path):
  table = make()
  write_runs(table, tmp_path)
  name = run_name(table.points[0])
  write(tmp_path / 'runs' / name,
        origin=[ORIGIN, ORIGIN | {'commit': 'def (changed)'}])
  lines = report.provenance(tabulate(table, tmp_path))
  assert 'Commit: abc (17 of 18 runs)' in lines
  assert 'Commit: abc then def (changed) (1 of 18 runs)' in lines
  os.remove(tmp_path / 'runs' / name / 'origin.json')
  lines = report.provenance(tabulate(table, tmp_path))
  assert 'Data: not recorded (1 of 18 runs)' in lines
