"""The published tables and figures: every smoke variant, run and drawn.

All in one working directory: tables share the runs that they have in common.
"""

import csv
import io
import os
import pathlib
import re
import subprocess
import sys

from esmm_jax.reporting import figures, text as report
from esmm_jax.sweeps.results import tabulate
from experiments import load
import matplotlib.image
import pytest

from tests import ROOT

# Table -> its pictures.
TABLES = {
    'esmm_table2': [],
    'esmm_figure3': ['training-size.png'],
    'seesaw_weights': [
        'front-tiny-funnel-click-space.png',
        'front-tiny-funnel-entire-space.png',
    ],
    'seesaw_architectures': [],
    'selection_bias': ['cvr-by-ctr-decile.png'],
    'replicas': [],
    'causal': [
        'gains-test-cvr-entire-auc.png',
        'gains-test-cvr-entire-kl.png',
        'gains-test-cvr-entire-bias-ctr-decile-largest.png',
    ],
    'balancing': [
        'front.png',
        'gains-test-ctr-auc.png',
        'gains-test-cvr-entire-auc.png',
        'gains-test-ctcvr-auc.png',
    ],
}


def sweep(name, workdir, data_dir, *more):
  """Runs a smoke variant; returns how many runs it had to do."""
  done = subprocess.run(
      [
          sys.executable, '-m', 'experiments.sweep',
          f'--sweep=configs/tables/{name}.py:smoke', f'--workdir={workdir}',
          f'--data_dir={data_dir}', *more,
      ],
      cwd=ROOT, capture_output=True, text=True, timeout=500,
      env=dict(
          os.environ, JAX_PLATFORMS='cpu', JAX_DISABLE_MOST_OPTIMIZATIONS='1'))
  assert done.returncode == 0, done.stderr
  return len(done.stdout.splitlines()) - 1


def tabulated(name, workdir):
  """The table's cells by (row, metric), its Markdown and its pictures."""
  table = load.table(f'configs/tables/{name}.py:smoke')
  blocks = tabulate(table, str(workdir))
  drawn = figures.draw(table, blocks, str(workdir))
  assert not drawn.skipped
  text = report.markdown(table, blocks, drawn.paths)
  assert 'missing' not in text and 'Missing' not in text
  assert report.latex(table, blocks)
  rows = list(csv.DictReader(io.StringIO(report.to_csv(table, blocks))))
  for path in drawn.paths:
    assert matplotlib.image.imread(path)[..., :3].std() > 0.02
  assert [os.path.basename(p) for p in drawn.paths] == TABLES[name]
  return rows, text


def cell(rows, metric, column='mean', **names):
  (value,) = [
      r[column]
      for r in rows
      if r['metric'] == metric
      and not r.get('chosen')
      and all(r[k] == v for k, v in names.items())
  ]
  return float(value)


@pytest.mark.long
def test_smoke_variants(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('sweep')
  data_dir = tmp_path_factory.mktemp('data')
  results, texts, did = {}, {}, {}
  for name in TABLES:
    did[name] = sweep(name, workdir, data_dir)
    results[name], texts[name] = tabulated(name, workdir)
  files = (pathlib.Path(ROOT) / 'configs' / 'tables').glob('*.py')
  assert set(TABLES) == {
      p.stem for p in files if 'def get_table' in p.read_text('utf-8')
  } - {'architectures', 'esmm', 'history', 'protocols'}

  # Table 2.
  rows = results['esmm_table2']
  common, own = 'test/ctcvr_common/auc', 'test/ctcvr/auc'
  for method in ('BASE', 'AMAN', 'OVERSAMPLING', 'DIVISION'):
    assert cell(rows, common, method=method) == pytest.approx(
        cell(rows, own, method=method), abs=2e-3)
  ctr = {cell(rows, 'test/ctr/auc', method=m) for m in ('BASE', 'AMAN')}
  assert max(ctr) - min(ctr) < 1e-6
  published = [
      cell(rows, common, f'paper_{k}', method='ESMM') for k in ('mean', 'std')]
  assert published == pytest.approx([0.6532, 0.0049])
  assert cell(rows, common, 'se_test', method='ESMM') > 0
  rates = {r['rate'] for r in rows if r['method'] == 'AMAN'}
  assert rates == {'0.1', '1.0'}
  valid = {
      r['rate']: (float(r['mean']), r['chosen'])
      for r in rows
      if r['method'] == 'AMAN' and r['chosen']
  }
  best = max(valid, key=lambda rate: valid[rate][0])
  assert {k: c for k, (_, c) in valid.items()} == {
      k: str(int(k == best)) for k in valid}

  # Figure 3 shares the runs on all rows.
  three = results['esmm_figure3']
  assert did['esmm_figure3'] < len(
      load.table('configs/tables/esmm_figure3.py:smoke').points)
  for metric in (common, 'test/cvr_clicked/auc'):
    assert cell(three, metric, method='ESMM', share='1.0') == cell(
        rows, metric, method='ESMM')

  # The seesaw; the architectures are points of its curves.
  weights, equal = results['seesaw_weights'], results['seesaw_architectures']
  assert did['seesaw_architectures'] == 0
  for objective in ('click space', 'entire space'):
    one = cell(
        weights, 'test/ctr/auc', 'gain', model='mmoe', ratio='1.0',
        objective=objective)
    assert one == cell(
        equal, 'test/ctr/auc', 'gain', model='mmoe', objective=objective)
  assert '| verdict' in texts['seesaw_weights']
  assert 'front volume gain' in texts['seesaw_weights']

  # The truth is known, and bounds what can be had.
  bias = results['selection_bias']
  for hidden in ('0.0', '1.0'):
    assert cell(
        bias, 'test/cvr_entire/kl', method='bound', hidden=hidden) > 0

  # Eight replicas; alone they give the same.
  eight = results['replicas']
  assert did['replicas'] == 8
  assert cell(eight, 'replicas', ratio='1.0') == 8

  # A method's gain is over its own replay, whose weights are its means.
  rows, text = results['balancing'], texts['balancing']
  for method in ('uncertainty', 'pcgrad'):
    arms = [
        cell(rows, 'test/ctr/auc', method=method, arm=arm)
        for arm in ('method', 'replay')]
    gain = cell(rows, 'test/ctr/auc', 'gain', method=method, arm='method')
    assert gain == pytest.approx(arms[0] - arms[1])
    assert re.search(rf'\| {method} +\| replay +\| 2 +\|[^|]*\[', text)
  assert '### centre, shared_embedding: margins over static' in text
