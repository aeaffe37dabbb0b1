"""The programs with several runs: what they write, and what they refuse."""

import json
import os
import subprocess
import sys

import esmm_jax
from esmm_jax.serving import exporting, run_predictions
from esmm_jax.serving.model_inputs import features
from esmm_jax.workdir import predictions
import numpy as np
from pyarrow import parquet
import pytest

from tests import ROOT
from tests.parallel import forking
from tests.reporting import test_page

pytestmark = pytest.mark.long
PROGRAMS = ('predict', 'evaluate', 'export', 'calibrate', 'report')
SCORES = ('p_ctr', 'p_cvr', 'p_ctcvr')


@pytest.fixture(scope='module')
def run(finished):
  """Runs a program with the data of the runs."""
  programs = {
      name: forking.Program(f'experiments.{name}').__enter__()
      for name in PROGRAMS
  }
  yield lambda name, *arguments: programs[name].run(
      *arguments, f'--data_dir={finished.data}')
  for program in programs.values():
    program.__exit__()


@pytest.fixture(scope='module')
def mean(group):
  return esmm_jax.load(group[1])


def good(done):
  assert done.returncode == 0, done.stderr
  return done.stdout


def test_predict(run, group, mean, finished, tmp_path):
  """Several names, and the row of the sweep: the same file of scores."""
  parquet.write_table(finished.table(), tmp_path / 'in.parquet')
  outputs = [str(tmp_path / f'{k}.parquet') for k in range(3)]
  named = f'--workdir={",".join(group[1])}'
  of_row = (f'--workdir={group[0]}', '--row=ESMM')
  rows = f'--input={tmp_path}/in.parquet'
  assert '3,000 rows' in good(
      run('predict', named, '--split=test', f'--output={outputs[0]}'))
  good(run('predict', *of_row, '--split=test', f'--output={outputs[1]}'))
  good(run('predict', *of_row, rows, f'--output={outputs[2]}'))
  want = mean.predict(finished.table())
  for output in outputs:
    about = json.loads(parquet.read_schema(output).metadata[predictions.KEY])
    assert about['run'] == mean.stamp.to_dict()
    assert list(about['members']) == list(map(os.path.basename, group[1]))
    table = parquet.read_table(output)
    for name in SCORES:
      np.testing.assert_allclose(table[name].to_numpy(), want[name], rtol=1e-5)
  first, second = (parquet.read_table(o) for o in outputs[:2])
  assert first.equals(second)


def test_evaluate(run, group, mean, finished, tmp_path):
  output = str(tmp_path / 'e.json')
  done = run('evaluate', f'--workdir={",".join(group[1])}', '--split=test')
  assert done.returncode == 2 and '--output is not set: the mean' in done.stderr
  text = good(run(
      'evaluate', f'--workdir={group[0]}', '--split=test',
      f'--output={output}'))
  assert 'mean of 2' in text
  with open(output, encoding='utf-8') as f:
    saved = json.load(f)
  want = run_predictions.score_test(
      mean, str(finished.data), str(tmp_path / 'x.parquet'))
  assert saved['ctr/auc'] == want['test/ctr/auc']
  assert saved['run'] == group[1] and saved['selected_step'] is None
  assert len(saved['members']) == 2
  assert not os.path.exists(group[0] / 'evaluation.json')
  # The file is the program's own, so that it is replaced.
  good(run(
      'evaluate', f'--workdir={group[1][0]}', '--split=test',
      f'--output={output}'))
  with open(output, encoding='utf-8') as f:
    saved = json.load(f)
  assert 'members' not in saved and saved['run'] == group[1][0]


def test_export(run, group, mean, finished, tmp_path):
  output = str(tmp_path / 'x')
  text = good(run('export', f'--workdir={group[0]}', f'--output={output}'))
  assert 'parameters' in text
  call, params = exporting.load(output)
  columns = finished.columns(0, 40)
  got = call(params, features(mean.schema, columns))
  for name, value in mean.predict(columns).items():
    np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-7)


def test_report(run, group, mean, finished, tmp_path):
  output = str(tmp_path / 'r.html')
  done = run('report', f'--workdir={group[0]}', '--row=ESMM')
  assert done.returncode == 2 and '--output is not set: the mean' in done.stderr
  for flag in ('--nopredict', '--runs', '--sweep=x.py'):
    done = run(
        'report', f'--workdir={",".join(group[1])}', f'--output={output}', flag)
    assert done.returncode == 2
    assert f'{flag.partition("=")[0]} is not for the mean of' in done.stderr
  text = good(run(
      'report', f'--workdir={group[0]}', '--row=ESMM', f'--output={output}'))
  assert '| averaged | mean member |' in ' '.join(text.split())
  with open(output, encoding='utf-8') as f:
    page = test_page.Page(f.read())
  want = run_predictions.score_test(
      mean, str(finished.data), str(tmp_path / 'x.parquet'))
  every = []
  for folder in group[1]:
    with open(os.path.join(folder, 'results.json'), encoding='utf-8') as f:
      every.append(json.load(f)['test/ctr/auc'])
  line = next(r for r in page.tables[0] if r[:2] == ['ctr', 'AUC ↑'])
  assert line[2] == f'{want["test/ctr/auc"]:.4f}'
  assert line[4] == f'{want["test/ctr/auc"] - np.mean(every):+.4f}'
  assert [r[0] for r in page.tables[1][1:]] == list(
      map(os.path.basename, group[1]))
  assert mean.stamp.identity in page.words
  # The folder of the sweep alone is still the page of the sweep.
  good(run('report', f'--workdir={group[0]}', f'--output={tmp_path}/s.html'))
  with open(tmp_path / 's.html', encoding='utf-8') as f:
    assert 'Mean and members' not in f.read()


REFUSED = {
    'calibrate': ((), 'a calibration belongs to one run, but --workdir nam'),
    'predict': (
        ('--split=test', '--output=x.parquet', '--calibrated=platt'),
        'calibrated=platt: a calibration belongs to one run, but this is'),
    'evaluate': (
        ('--split=test', '--output=x.json', '--calibrated=isotonic'),
        'calibrated=isotonic: a calibration belongs to one run'),
    'export': (
        ('--output=x', '--calibrated=platt'),
        'calibrated=platt: a calibration belongs to one run'),
}


@pytest.mark.parametrize('program', REFUSED)
def test_calibration_is_refused(program, run, group):
  flags, text = REFUSED[program]
  done = run(program, f'--workdir={",".join(group[1])}', *flags)
  assert done.returncode == 1 and text in done.stderr, done.stderr
  assert done.stderr.count('\n') == 1


def test_a_flag_for_each_run(run, group, tmp_path):
  """As a shell makes it of --workdir=runs/{a,b}: told, the last one counts."""
  output = str(tmp_path / 's.parquet')
  done = run(
      'predict', *(f'--workdir={f}' for f in group[1]), '--split=test',
      f'--output={output}')
  good(done)
  assert '--workdir is given 2 times, and the last one counts' in done.stderr
  alone = esmm_jax.load(group[1][1])
  assert predictions.KEY in parquet.read_schema(output).metadata
  about = json.loads(parquet.read_schema(output).metadata[predictions.KEY])
  assert about['run'] == alone.stamp.to_dict() and 'members' not in about


REFITS = """
from types import SimpleNamespace as Of
from experiments import evaluate

def member(folder, split, **results):
  config = Of(dataset=Of(train_split=split))
  return Of(folder=folder, config=config, results=results)

def warn(*members):
  shared = lambda trained, split: 7 if split in trained else 0
  evaluate._warn_of_trained(
      Of(members=members), Of(num_shared=shared), 'valid')

refit = member('b', 'train+valid', refit_of='a')
warn(member('a', 'train'), refit)
warn(member('a', 'train+valid'))
warn(refit)
"""


def test_a_refit_among_the_members():
  """Its rows of validation are told, whatever the first member is."""
  done = subprocess.run(
      [sys.executable, '-c', REFITS], cwd=ROOT, capture_output=True, text=True,
      check=True)
  lines = done.stderr.splitlines()
  assert len(lines) == 2
  assert "warning: b is a refit, trained on 'train+valid': 7 rows" in lines[0]
  assert 'warning: this run is a refit, trained on' in lines[1]


def test_folders_that_hold_no_run(run, group):
  done = run(
      'predict', f'--workdir={group[1][0]},nothing', '--split=test',
      '--output=x.parquet')
  assert done.returncode == 1
  assert '--workdir=nothing is not the folder of a run' in done.stderr
