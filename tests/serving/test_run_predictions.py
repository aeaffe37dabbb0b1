"""Predictions made later are those that the run would have saved."""

import json
import os
import shutil

from esmm_jax import checksums
from esmm_jax.serving import run_predictions
from esmm_jax.sweeps.saved_runs import read_run
from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.types import InputError
from experiments import load
import numpy as np
from pyarrow import parquet
import pytest

pytestmark = [
    pytest.mark.slow, pytest.mark.usefixtures('quick_compilation')]


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A run whose chosen step is not its last one; and its data."""
  folder = tmp_path_factory.mktemp('run')
  config = load.config('configs/shared_bottom.py:smoke')
  config.dataset.num_train = 20_000
  config.dataset.num_valid = 1000
  config.dataset.num_test = 2000
  config.evals_per_epoch = 3
  config.selection = dict(
      metric='valid/ctr/auc', mode='min', patience=0)  # The first.
  config.save_predictions = True
  workdir, data_dir = str(folder / 'run'), str(folder / 'data')
  results = train_and_evaluate(config, workdir, data_dir)
  return workdir, data_dir, results


def test_predictions_are_those_of_the_run(run, tmp_path):
  workdir, data_dir, results = run
  assert results['selected_step'] < results['steps']
  copy = str(tmp_path / 'copy')
  shutil.copytree(workdir, copy)
  shutil.rmtree(os.path.join(copy, 'predictions'))
  path = run_predictions.predict_test(copy, data_dir)
  kept = os.path.join(workdir, 'predictions', 'test.parquet')
  ours, theirs = parquet.read_table(path), parquet.read_table(kept)
  assert ours.num_rows == 2000
  assert ours.equals(theirs, check_metadata=True)  # The stamp too.


def test_truth_is_of_the_same_rows(run):
  """Its ratio to the predictions is that of results.json."""
  workdir, data_dir, results = run
  truth = run_predictions.open_truth(
      read_run(workdir).config, workdir, data_dir)
  true = np.concatenate(
      [truth(0, 700)['p_cvr'], truth(700, 2000)['p_cvr']])
  path = os.path.join(workdir, 'predictions', 'test.parquet')
  table = parquet.read_table(path)
  click = table['click'].to_numpy() == 1
  p = table['p_cvr'].to_numpy().astype(np.float64)
  for key, rows in (('ratio_clicked', click), ('ratio_unclicked', ~click)):
    np.testing.assert_allclose(
        p[rows].mean() / true[rows].mean(), results[f'test/cvr_entire/{key}'],
        rtol=1e-5)


def as_of_old(folder, **changes):
  """The manifest of an earlier version, which had no identity."""
  began = json.loads((folder / 'manifest.json').read_text())
  old = {k: began[k] for k in ('config_sha256', 'data', 'versions')}
  (folder / 'manifest.json').write_text(json.dumps(old | changes))


def test_truth_of_other_data(run, tmp_path):
  workdir, data_dir, _ = run
  shutil.copy(os.path.join(workdir, 'manifest.json'), tmp_path)
  as_of_old(tmp_path, data='synthetic_funnel/other, sha256 0f')
  with pytest.raises(InputError, match='trained on the data .*, sha256 0f'):
    run_predictions.open_truth(
        read_run(workdir).config, str(tmp_path), data_dir)


def test_no_checkpoint(run, tmp_path):
  workdir, data_dir, _ = run
  copy = tmp_path / 'copy'
  shutil.copytree(workdir, copy)
  shutil.rmtree(copy / 'checkpoints')
  with pytest.raises(InputError, match='has no intact checkpoint'):
    run_predictions.predict_test(str(copy), data_dir)


def test_no_test_split(run, tmp_path):
  workdir, data_dir, _ = run
  copy = tmp_path / 'copy'
  shutil.copytree(workdir, copy)
  config = json.loads((copy / 'config.json').read_text())
  config['dataset']['test_split'] = ''
  (copy / 'config.json').write_text(json.dumps(config))
  as_of_old(copy)  # Otherwise the config that was changed is refused.
  with pytest.raises(InputError, match='names no test split'):
    run_predictions.predict_test(str(copy), data_dir)


def test_a_checkpoint_of_another_version(run, tmp_path):
  workdir, data_dir, _ = run
  copy = str(tmp_path / 'copy')
  shutil.copytree(workdir, copy)
  for path in list((tmp_path / 'copy' / 'checkpoints').iterdir()):
    if path.is_dir():
      shutil.rmtree(path / 'tables')
      checksums.seal(str(path))  # Sound, but without a part that is read.
  with pytest.raises(InputError, match='another version wrote it'):
    run_predictions.predict_test(copy, data_dir)
