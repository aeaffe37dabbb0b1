"""Noise of the test rows: two runs' predictions, and the gains made of them."""

import csv
import io
import math
import os
import pathlib

from esmm_jax.metrics.significance import delong
from esmm_jax.reporting import grid, text as report
from esmm_jax.sweeps import row_noise
from esmm_jax.sweeps.points import chain, fixed, product, run_name, sweep
from esmm_jax.sweeps.results import tabulate
from esmm_jax.sweeps.table import Column, Table, TEST_NOISE
from esmm_jax.types import InputError
from esmm_jax.workdir import predictions
from esmm_jax.workdir.folder import predictions_file
from esmm_jax.workdir.identity import Stamp
import numpy as np
from pyarrow import parquet
import pyarrow as pa
import pytest

from tests.sweeps.test_results import write
from tests.damaged import cells

N = 400
CTR, CVR = 'test/ctr/auc', 'test/cvr_clicked/auc'


def make_rows(seed):
  """Predictions and labels of N rows; the labels are the same at all seeds."""
  labels, rng = np.random.default_rng(7), np.random.default_rng(seed)
  click = labels.random(N) < 0.4
  conversion = click & (labels.random(N) < 0.5)
  columns = {
      name: np.float32(rng.random(N))
      for name in ('p_ctr', 'p_cvr', 'p_ctcvr', 'p_ctcvr_common')
  }
  return columns | {
      'click': click.astype(np.int8), 'conversion': conversion.astype(np.int8)}


def save(folder, columns):
  path = predictions_file(os.fspath(folder))
  os.makedirs(os.path.dirname(path), exist_ok=True)
  parquet.write_table(pa.table(columns), path)
  return os.fspath(folder)


def test_the_known_metrics_are_those_a_table_may_name():
  assert set(row_noise.SPACES) == set(TEST_NOISE)


def test_it_is_delong_on_the_rows_of_the_space(tmp_path):
  a, b = make_rows(1), make_rows(2)
  run, baseline = save(tmp_path / 'a', a), save(tmp_path / 'b', b)
  click, both = a['click'], a['click'] * a['conversion']
  expected = {
      CTR: delong(a['p_ctr'], b['p_ctr'], click),
      CVR: delong(a['p_cvr'], b['p_cvr'], a['conversion'], where=click),
      'test/ctcvr/auc': delong(a['p_ctcvr'], b['p_ctcvr'], both),
      'test/ctcvr_common/auc': delong(
          a['p_ctcvr_common'], b['p_ctcvr_common'], both),
  }
  for metric, value in expected.items():
    assert row_noise.auc_difference(run, baseline, metric) == value
    assert value.error > 0
  assert len({value.error for value in expected.values()}) == 4


def test_a_conversion_without_a_click_is_no_ctcvr(tmp_path):
  a, b = make_rows(1), make_rows(2)
  a['conversion'] = b['conversion'] = np.ones(N, np.int8)
  run, baseline = save(tmp_path / 'a', a), save(tmp_path / 'b', b)
  result = row_noise.auc_difference(run, baseline, 'test/ctcvr/auc')
  assert result == delong(a['p_ctcvr'], b['p_ctcvr'], a['click'])


@pytest.mark.parametrize('harm', ['empty', 'cut', 'other_type', 'edited'])
def test_damaged_predictions_are_a_warning(harm, tmp_path, capsys):
  """One torn file does not cost the table of a sweep."""
  folders = [os.fspath(tmp_path / name) for name in 'ab']
  for folder, seed in zip(folders, (1, 2)):
    predictions.write(predictions_file(folder), make_rows(seed), Stamp())
  assert row_noise.auc_difference(*folders, CTR).error > 0
  if harm == 'other_type':  # Without the columns it is no file of predictions.
    with pytest.raises(InputError, match='has no column'):
      assert cells.harm(harm, pathlib.Path(predictions_file(folders[1])))
      row_noise.auc_difference(*folders, CTR)
    return
  assert cells.harm(harm, pathlib.Path(predictions_file(folders[1])))
  assert all(map(math.isnan, row_noise.auc_difference(*folders, CTR)))
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith('warning: ') and predictions_file(folders[1]) in line


def test_without_predictions_it_is_nan(tmp_path):
  run = save(tmp_path / 'a', make_rows(1))
  for pair in ((run, 'none'), ('none', run)):
    assert all(map(math.isnan, row_noise.auc_difference(*pair, CTR)))


def test_runs_of_other_rows_are_refused(tmp_path):
  rows = make_rows(1)
  run = save(tmp_path / 'a', rows)
  short = save(tmp_path / 'b', {k: v[:-1] for k, v in rows.items()})
  with pytest.raises(InputError, match='400 rows.* 399.*one test split'):
    row_noise.auc_difference(run, short, CTR)
  other = save(tmp_path / 'c', rows | {'click': 1 - rows['click']})
  for metric in row_noise.SPACES:
    with pytest.raises(InputError, match="'click' not the same"):
      row_noise.auc_difference(run, other, metric)
  other = save(tmp_path / 'd', rows | {'conversion': rows['click']})
  with pytest.raises(InputError, match="'conversion' not the same"):
    row_noise.auc_difference(run, other, CVR)
  with pytest.raises(InputError, match="'test/ctr/kl' is known, only of test/"):
    row_noise.auc_difference(run, run, 'test/ctr/kl')
  del rows['p_cvr']
  other = save(tmp_path / 'e', rows)
  with pytest.raises(InputError, match="no column 'p_cvr', only p_ctr, p"):
    row_noise.auc_difference(run, other, CVR)


def make_table(**changes):
  options = dict(
      title='T',
      points=product(
          chain(*(
              product(fixed('@model', m), fixed('config', f'configs/{m}.py'))
              for m in ('single', 'mmoe')
          )),
          sweep('seed', range(2)),
      ),
      columns=(Column('CTR AUC', CTR), Column('CVR AUC', CVR)),
      rows=('@model',),
      baseline={'@model': 'single'},
      gain_columns=(CTR, CVR),
      test_noise=(CTR,),
  )
  return Table(**(options | changes))


def write_runs(table, workdir, predictions=lambda point: True):
  """single .60 at both seeds; mmoe .61 and .65, so d = .01, .05."""
  aucs = {'single': (0.60, 0.60), 'mmoe': (0.61, 0.65)}
  errors = {}
  for point in table.points:
    model, seed = point['@model'], point['seed']
    folder = workdir / 'runs' / run_name(point)
    value = aucs[model][seed]
    write(folder, results={CTR: value, CVR: value}, config={'seed': seed})
    rows = make_rows(10 * len(model) + seed)
    errors[model, seed] = rows
    if predictions(point):
      save(folder, rows)
  return [
      delong(errors['mmoe', s]['p_ctr'], errors['single', s]['p_ctr'],
             errors['mmoe', s]['click']).error
      for s in range(2)
  ]


def test_gains_with_both_errors(tmp_path):
  """d = .01, .05: mean .03, deviation .0283, error over seeds .02."""
  table = make_table()
  errors = write_runs(table, tmp_path)
  blocks = tabulate(table, os.fspath(tmp_path))
  gain = blocks[0].rows[1].gains[CTR]
  assert gain.seed_error == pytest.approx(0.02)
  assert gain.test_error.mean == pytest.approx(sum(errors) / 2)
  half = 1.96 * math.sqrt(0.02**2 + (sum(errors) / 2) ** 2)
  assert gain.combined == pytest.approx((0.03 - half, 0.03 + half))
  assert blocks[0].rows[1].gains[CVR].test_error.n == 0

  text = report.markdown(table, blocks)
  assert text.count('SE: seeds / test') == 1
  cell = f'.0200 / {grid.number(sum(errors) / 2, 4)} |'
  assert cell in text and 'SE: standard errors of the difference' in text
  assert 'save_predictions' not in text

  rows = list(csv.DictReader(io.StringIO(report.to_csv(table, blocks))))
  row = next(r for r in rows if (r['model'], r['metric']) == ('mmoe', CTR))
  assert float(row['se_seeds']) == pytest.approx(0.02)
  assert float(row['se_test']) == pytest.approx(sum(errors) / 2)
  assert float(row['combined_low']) == pytest.approx(0.03 - half)
  assert float(row['combined_high']) == pytest.approx(0.03 + half)
  others = [r for r in rows if (r['model'], r['metric']) != ('mmoe', CTR)]
  assert {r['se_seeds'] + r['combined_low'] for r in others} == {''}


def test_predictions_that_were_not_saved(tmp_path):
  """At one seed: the mean is of the other one, and says so. At none: a dash."""
  table = make_table()
  errors = write_runs(table, tmp_path / 'a', lambda p: p['seed'] == 1)
  one = report.markdown(table, tabulate(table, os.fspath(tmp_path / 'a')))
  assert f'/ {grid.number(errors[1], 4)} (n=1) |' in one
  write_runs(table, tmp_path / 'b', lambda p: False)
  blocks = tabulate(table, os.fspath(tmp_path / 'b'))
  none = report.markdown(table, blocks)
  assert '.0200 / – |' in none
  for text in (one, none):
    assert 'save_predictions was off in a run' in text
  rows = list(csv.DictReader(io.StringIO(report.to_csv(table, blocks))))
  assert {r['se_test'] + r['combined_low'] for r in rows} == {''}


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(test_noise=('test/ctr/kl',)), "'test/ctr/kl' in test_noise"),
        (dict(gain_columns=(CVR,)), f"'{CTR}' in test_noise.*{CVR}"),
    ],
)
def test_what_a_table_refuses(changes, words):
  with pytest.raises(InputError, match=words):
    make_table(**changes)
