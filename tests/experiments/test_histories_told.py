"""Trained runs say what their histories know wherever a number is shown.

On a small fake of KuaiRand: no history, nightly, live. What results tables say
is in `tests/reporting/test_history_notes.py`.
"""

import contextlib
import io
import json

from esmm_jax import histories
from esmm_jax.reporting.page import mean_page, parts
from esmm_jax.serving import averaged, predictor
from esmm_jax.serving.run_predictions import predict_test, score_test
from esmm_jax.sweeps.points import run_name
from esmm_jax.sweeps.saved_runs import read_run
from esmm_jax.training.loop import train_replicas
from experiments import console, load
from pyarrow import parquet
import pytest

from tests.data.kuairand.test_kuairand import make_raw
from tests.parallel import forking
from tests.reporting.test_history_notes import AUC, KNOWN, LINE, LIVE, points
from tests.reporting.test_history_notes import SPECS

pytestmark = [
    pytest.mark.long, pytest.mark.usefixtures('quick_compilation')]

SMALL = {
    'num_epochs': 1, 'batch_size': 256, 'evals_per_epoch': 1,
    'model.embed_dim': 2, 'model.tower_units': (4,),
    'run.save_predictions': True, 'dataset.check_counts': False,
}


@pytest.fixture(scope='module')
def sweep(tmp_path_factory):
  """Folder of the sweep and data, and what a run of each printed."""
  root = tmp_path_factory.mktemp('histories')
  make_raw(root / 'raw', n=900)
  data, printed = str(root / 'data'), {}
  for name in SPECS:
    some = {run_name(p): load.point(p) for p in points([name])}
    for config in some.values():
      config.update_from_flattened_dict(
          SMALL | {'dataset.raw_dir': str(root / 'raw')})
    for run, config in some.items():  # Seeds of data: a program each.
      out = io.StringIO()
      with contextlib.redirect_stdout(out):
        train_replicas(
            [config], [str(root / 'runs' / run)], data, check_idle=False)
      printed[name] = out.getvalue()
  return root, printed


def folder(root, name, seed=0):
  (point,) = (p for p in points([name]) if p['seed'] == seed)
  return root / 'runs' / run_name(point)


def results(root, name):
  return json.loads((folder(root, name) / 'results.json').read_text())


@pytest.mark.parametrize('name', SPECS)
def test_a_run_says_it(sweep, name):
  """In results.json, in its first lines and in the table of its metrics."""
  root, printed = sweep
  saved = results(root, name)
  assert saved.get('history') == (KNOWN[name] or None)
  # A run without histories has the keys that it had.
  assert set(saved) - set(results(root, 'none')) == (
      {'history'} if KNOWN[name] else set())
  lines = [x for x in printed[name].splitlines() if x.startswith('history: ')]
  meaning = histories.meaning(KNOWN[name])
  assert lines == ([f'history: {meaning}'] if meaning else [])
  first = printed[name].index('step ')
  assert printed[name].find('history: ') < first


@pytest.mark.parametrize('name', SPECS)
def test_the_table_of_a_run_names_it(sweep, name, capsys):
  saved = results(sweep[0], name)
  console.print_results({'a_run': saved})
  out = capsys.readouterr().out
  assert histories.labelled('test split', KNOWN[name]) in out
  assert ('[' in out) == bool(KNOWN[name])
  console.print_results({'a': saved, 'b': {AUC: 0.5}})
  out = capsys.readouterr().out
  assert ('[' in out) == bool(KNOWN[name])
  assert f' {histories.labelled("a", KNOWN[name])} ' in out


@pytest.mark.parametrize('name', SPECS)
def test_predictions_hold_it(sweep, name, tmp_path):
  """Those of the training, and those that a report makes again."""
  root, _ = sweep
  again = tmp_path / 'test.parquet'
  predict_test(str(folder(root, name)), str(root / 'data'), str(again))
  for path in (folder(root, name) / 'predictions' / 'test.parquet', again):
    about = json.loads(parquet.read_schema(path).metadata[b'esmm_jax'])
    assert about.get('history_protocol') == (KNOWN[name] or None)
  told = predictor.load(str(folder(root, name))).about()
  assert told.get('history_protocol') == (KNOWN[name] or None)


def test_a_mean_of_runs(sweep, tmp_path):
  root, _ = sweep
  folders = [str(folder(root, 'today', seed)) for seed in (0, 1)]
  mean = averaged.load(folders)
  assert mean.history_protocol == LIVE == mean.about()['history_protocol']
  path = str(tmp_path / 'test.parquet')
  scores = score_test(mean, str(root / 'data'), path)
  assert json.loads(parquet.read_schema(path).metadata[b'esmm_jax'])[
      'history_protocol'] == LIVE
  members = {f'r{k}': read_run(f) for k, f in enumerate(folders)}
  page = mean_page.make(members, scores, mean.about(), path, str(tmp_path))
  assert page.subtitle.endswith(f'; history {LIVE}')
  assert f'<p>History: {LIVE}: it knows labels' in parts.render(page)


@pytest.fixture(scope='module')
def programs():
  with forking.Program('experiments.evaluate') as evaluate, forking.Program(
      'experiments.table') as tables:
    yield evaluate, tables


@pytest.mark.parametrize('name', SPECS)
def test_evaluate(sweep, programs, name, tmp_path):
  root, _ = sweep
  output = tmp_path / 'e.json'
  done = programs[0].run(
      f'--workdir={folder(root, name)}', '--split=test', f'--output={output}',
      f'--data_dir={root / "data"}')
  assert done.returncode == 0, done.stderr
  assert json.loads(output.read_text()).get('history') == (KNOWN[name] or None)
  assert ('[' + KNOWN[name] in done.stdout) == bool(KNOWN[name])
  assert (f'history: {histories.meaning(KNOWN[name])}' in done.stdout) == (
      bool(KNOWN[name]))


def test_the_program_of_tables_warns(sweep, programs, tmp_path):
  root, _ = sweep
  (tmp_path / 'both.py').write_text(
      'from tests.reporting import test_history_notes as told\n'
      'def get_table(variant=""):\n  return told.table(list(told.SPECS))\n')
  done = programs[1].run(
      f'--sweep={tmp_path / "both.py"}', f'--workdir={root}',
      f'--output={tmp_path / "out"}', '--format=csv')
  assert done.returncode == 0, done.stderr
  assert f'warning: {LINE}' in done.stderr
  assert LINE in (tmp_path / 'out' / 'table.md').read_text()
