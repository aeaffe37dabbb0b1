"""What papers take from a results table: bold means, floats, PDFs, a forest."""

import hashlib
import os
import re

from esmm_jax.reporting import tex, text as report
from esmm_jax.reporting.best import best
from esmm_jax.reporting.forests import forests
from esmm_jax.reporting.gain_grid import gain_grid
from esmm_jax.reporting.grid import Grid
from esmm_jax.reporting.plots import drawing
from esmm_jax.sweeps.points import fixed, product, run_name, sweep
from esmm_jax.sweeps.results import tabulate
from esmm_jax.sweeps.table import Column, Table
import pytest

from tests.sweeps.test_results import write

AUC, LOSS, RATIO = 'test/ctr/auc', 'test/ctr/logloss', 'test/ctr/calibration'
# Model -> AUC and log loss of both seeds; the mean AUCs are .60, .64, .62, .70.
VALUES = {
    'base': ((0.59, 0.61), (0.30, 0.32)),
    'mmoe': ((0.63, 0.65), (0.305, 0.315)),
    'ple_50%': ((0.61, 0.63), (0.28, 0.281)),
    'bound': ((0.70, 0.70), (0.20, 0.20)),
}


def make(**changes):
  points = [
      p | {'estimator': 'conversion_if_clicked' if p['model.name'] == 'bound'
           else 'entire_space'}
      for p in product(
          fixed('config', 'configs/esmm.py'), sweep('model.name', list(VALUES)),
          sweep('seed', range(2)))
  ]
  options = dict(
      title='Models & more', points=points, rows=('model.name',),
      columns=(
          Column('CTR AUC (all)', AUC), Column('log loss', LOSS, 5),
          Column('ratio', RATIO, 2, None)),
      baseline={'model.name': 'base'}, gain_columns=(AUC, LOSS))
  return Table(**(options | changes))


def filled(table, workdir, gone=()):
  for p in table.points:
    name, seed = p['model.name'], p['seed']
    if (name, seed) not in gone:
      auc, loss = VALUES[name]
      write(
          workdir / 'runs' / run_name(p),
          results={AUC: auc[seed], LOSS: loss[seed], RATIO: 1.0 + auc[seed]},
          config={'seed': seed, 'estimator': p['estimator']})
  return tabulate(table, os.fspath(workdir))


def test_best_means(tmp_path):
  """By the metric's direction; the bound, which knows the truth, is not."""
  table = make()
  block, = filled(table, tmp_path)
  chosen = best(table, block)
  assert chosen.cells == {(1, AUC), (2, LOSS)}
  assert chosen.note == (
      'Bold: the best mean of the column; not compared: bound.')
  text = report.markdown(table, [block])
  assert re.findall(r'\*\*(.*?)\*\*', text) == [
      '.6400 ± .0141', '.28050 ± .00071']


def test_best_of_complete_rows(tmp_path):
  """mmoe lacks a seed: the second best is the best that can be compared."""
  table = make()
  block, = filled(table, tmp_path, {('mmoe', 0)})
  chosen = best(table, block)
  assert chosen.cells == {(2, AUC), (2, LOSS)}
  assert 'not compared: mmoe, bound.' in chosen.note


def test_no_best_one(tmp_path):
  """Of one row, of equal numbers as shown, and before anything has run."""
  table = make(columns=(Column('CTR AUC', AUC, 0),), gain_columns=(AUC,))
  for gone in (
      set(), {(m, 0) for m in ('base', 'mmoe')},
      {(m, s) for m in VALUES for s in range(2)}):
    block, = filled(table, tmp_path / str(len(gone)), gone)
    assert best(table, block) == (frozenset(), '')


def test_rows_of_one_baseline_are_compared(tmp_path):
  """Each share of the data has its own baseline, and its own best mean."""
  points = product(
      fixed('config', 'configs/esmm.py'), sweep('@share', [0.1, 1.0]),
      sweep('estimator', ['a', 'b']), fixed('seed', 0))
  points = [p | {'dataset.num_train': p['@share']} for p in points]
  table = make(
      points=points, rows=('estimator', '@share'), baseline={'estimator': 'a'},
      columns=(Column('CTR AUC', AUC),), gain_columns=(AUC,))
  values = {(0.1, 'a'): 0.6, (0.1, 'b'): 0.5, (1.0, 'a'): 0.7, (1.0, 'b'): 0.8}
  for p in points:
    write(
        tmp_path / 'runs' / run_name(p), config={'seed': 0},
        results={AUC: values[p['@share'], p['estimator']]})
  block, = tabulate(table, os.fspath(tmp_path))
  names = [block.rows[k].values for k, _ in best(table, block).cells]
  assert set(names) == {('a', 0.1), ('b', 1.0)}
  assert 'among the rows with one baseline' in best(table, block).note


def environments(text):
  """The environments of LaTeX, which close in the order of their opening."""
  stack, seen = [], []
  for kind, name in re.findall(r'\\(begin|end)\{(\w+\*?)\}', text):
    if kind == 'begin':
      stack.append(name)
      seen.append(name)
    else:
      assert stack.pop() == name
  assert not stack
  return seen


def test_floats(tmp_path):
  table = make()
  text = report.latex(table, filled(table, tmp_path))
  body = '\n'.join(k for k in text.splitlines() if not k.startswith('%'))
  seen = environments(body)
  assert seen.count('tabular') == 3  # One of them in `twolines`.
  assert seen.count('table') + seen.count('table*') == 2
  assert re.findall(r'\\caption\{(.*)\}', body) == [
      r'Models \& more.', r'Models \& more (Gain over name base).']
  assert re.findall(r'\\label\{(.*)\}', body) == [
      'tab:models-more', 'tab:models-more-gain-over-name-base']
  assert r'mmoe & 2 & \textbf{.6400 $\pm$ .0141} & .31000 $\pm$' in body
  # The difference of ple_50% is .02 at both seeds: t is infinite, p 0.
  assert r'ple\_50\% & \twolines{+.0200*}{[+.0200, +.0200]}' in body
  assert r'\textbf{Models' not in body and 'Pairs of runs: 2.' in body
  assert '* p of the paired t test after Holm' in body
  # Braces, but for those that are escaped.
  plain = re.sub(r'(?<!\\)\\[{}]', '', body)
  assert plain.count('{') == plain.count('}')
  for line in body.splitlines():
    if line.endswith(r' \\'):
      assert not re.search(r'(?<!\\)[%#_]', line)


def test_gains_fit_a_column(tmp_path):
  """Six metrics of gains take several floats; no number is left out."""
  metrics = [f'test/ctr/{k}' for k in 'abcdef']
  table = make(
      columns=tuple(Column(f'AUC {m[-1]}', m, 4, 'higher') for m in metrics),
      gain_columns=tuple(metrics))
  for p in table.points:
    auc, _ = VALUES[p['model.name']]
    write(
        tmp_path / 'runs' / run_name(p), config={'seed': p['seed']},
        results={m: auc[p['seed']] + k / 100 for k, m in enumerate(metrics)})
  blocks = tabulate(table, os.fspath(tmp_path))
  text = report.latex(table, blocks)
  parts = re.findall(r'part (\d) of (\d)\)', text)
  assert len(parts) == int(parts[0][1]) > 1
  assert [k for k, _ in parts] == [str(k + 1) for k in range(len(parts))]
  labels = re.findall(r'\\label\{(.*)\}', text)
  assert len(set(labels)) == len(labels)
  gains = text[text.index('part 1'):]
  assert r'\begin{table*}' not in gains
  assert gains.count(r'\twolines') == 3 * len(metrics)
  for m in metrics:
    assert gains.count(f'AUC {m[-1]} ') == 1 + 1  # A header, and the notes.
  assert gains.count(f'Notes: see part {len(parts)}.') == len(parts) - 1
  grid = gain_grid(table, blocks[0], blocks[0].columns, narrow=True)
  assert tex.width(grid) > tex.COLUMN  # As a whole it would not.


@pytest.mark.parametrize(
    'text, want',
    [
        ('a_b & 50 % #1', r'a\_b \& 50 \% \#1'),
        ('--flag', '-{}-flag'),
        ('-.5 [-.7, +1]', '$-$.5 [$-$.7, +1]'),
        ('2026-01-02', '2026-01-02'),
        ('x | "y"', r"x \textbar{} ''y''"),
        ('`z`', r'\textasciigrave{}z\textasciigrave{}'),
        (r'\input{x}', r'\textbackslash{}input\{x\}'),
        ('≥ − × …', r'$\ge$ $-$ $\times$ \ldots{}'),
    ],
)
def test_escapes(text, want):
  assert tex.escaped(text) == want


def test_a_row_is_no_option_of_the_line_before():
  grid = Grid('', ['[a]', 'n'], [['*x', '1'], ['y', '2 [1, 3] (n=2)']], 1, [],
              frozenset({(0, 0), (1, 1)}))
  assert tex.tabular(grid).splitlines()[2:6] == [
      r'{}[a] & n \\', r'\midrule', r'\textbf{*x} & 1 \\',
      r'y & \twolines{\textbf{2}}{[1, 3] (n=2)} \\']


def test_labels_differ():
  labels = set()
  grid = Grid('漢字', ['a', 'b'], [['x', '1']], 1, [])
  texts = [tex.floats(grid, '漢', labels, False) for _ in range(2)]
  assert labels == {'tab:results', 'tab:results-2'}
  assert r'\label{tab:results-2}' in texts[1] and 'minipage' not in texts[0]


def test_forest_as_png_and_pdf(tmp_path):
  """Both have the same bytes each time; the PDF's fonts are of type 42."""
  table = make()
  blocks = filled(table, tmp_path / 'sweep')
  hashes = []
  for k in range(2):
    folder = str(tmp_path / str(k))
    with drawing.pdf_too():
      path, = forests(table, blocks, folder)
    assert sorted(os.listdir(folder)) == ['gains.pdf', 'gains.png']
    assert path == os.path.join(folder, 'gains.png')
    with open(drawing.pdf_of(path), 'rb') as f:
      content = f.read()
    assert content.startswith(b'%PDF') and b'CreationDate' not in content
    assert b'/Type3' not in content
    with open(path, 'rb') as f:
      hashes.append(hashlib.sha256(content + f.read()).hexdigest())
  assert hashes[0] == hashes[1]
  assert forests(table, blocks, str(tmp_path / 'png')) and os.listdir(
      tmp_path / 'png') == ['gains.png']
  nothing = tabulate(table, os.fspath(tmp_path / 'none'))
  assert forests(table, nothing, str(tmp_path / 'no')) == []
