"""Calibration of a whole run, and the commands that use it."""

import json
import os
import subprocess
import sys

from esmm_jax.checksums import sealed_content
from esmm_jax.metrics.by_space import Observed
from esmm_jax.serving import calibrate, calibrator_fits, calibrators
from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.types import InputError
from esmm_jax.workdir.identity import Stamp
import numpy as np
import pytest
from sklearn import metrics

from tests.serving.served import small_config

pytestmark = pytest.mark.slow

SPACES = ('ctr', 'cvr_clicked', 'ctcvr')


@pytest.fixture(scope='module')
def calibrated(finished, tmp_path_factory):
  run = finished.copy(tmp_path_factory.mktemp('calibrated') / 'run')
  return run, calibrate.calibrate(str(run.folder), str(run.data))


def test_a_run_is_fitted_on_its_validation_split_alone(calibrated):
  run, found = calibrated
  predictor, builder = run.predictor(), run.builder()
  outputs = predictor.split_outputs(builder, 'valid')
  valid = builder.as_data_source('valid').read(0, 6000)
  clicked = valid['click'] == 1
  for space, logits, labels in (
      ('ctr', outputs['ctr'], valid['click']),
      ('cvr_clicked', outputs['cvr'][clicked], valid['conversion'][clicked]),
      ('ctcvr', outputs['ctcvr'], valid['conversion']),
  ):
    assert found['rows'][space] == len(labels)
    entry = found['tasks'][space]
    assert entry['platt'] == calibrator_fits.fit_platt(logits, labels)
    assert entry['isotonic'] == calibrator_fits.fit_isotonic(logits, labels)
  assert set(found['tasks']) == set(SPACES)
  assert json.loads((run.folder / 'calibration.json').read_text()) == found
  assert found['version'] == 2 and found['fitted_on'] == 'valid'
  assert found['run'] == predictor.stamp.to_dict()


def test_what_the_test_split_says(calibrated):
  run, found = calibrated
  test = run.builder().as_data_source('test').read(0, 3000)
  columns = run.columns()
  predictor = run.predictor()
  results = json.loads((run.folder / 'results.json').read_text())
  assert set(found['test']) == {*SPACES, 'ctcvr_product'}
  for name in ('logloss', 'auc', 'ece', 'calibration'):
    for space in SPACES:
      before = found['test'][space]['none'][name]
      assert before == pytest.approx(results[f'test/{space}/{name}'])
    assert found['test']['ctcvr_product']['none'][name] == pytest.approx(
        results[f'test/ctcvr/{name}'])
  for kind in ('platt', 'isotonic'):
    for joint, key in (('own', 'ctcvr'), ('product', 'ctcvr_product')):
      scores = predictor.predict(columns, kind, joint)
      loss = metrics.log_loss(test['click'], scores['p_ctr'].astype(float))
      assert found['test']['ctr'][kind]['logloss'] == pytest.approx(
          loss, rel=1e-5)
      p = scores['p_ctcvr'].astype(float)
      loss = metrics.log_loss(test['conversion'], p)
      assert found['test'][key][kind]['logloss'] == pytest.approx(
          loss, rel=1e-5)
      product = scores['p_ctr'] * scores['p_cvr']
      assert np.allclose(product, p, rtol=1e-5) == (joint == 'product')
  # The run stopped early on purpose: it predicts far too many clicks.
  ctr = found['test']['ctr']
  assert ctr['none']['calibration'] > 2
  for kind in ('platt', 'isotonic'):
    assert ctr[kind]['calibration'] == pytest.approx(1, abs=0.3)
    assert ctr[kind]['logloss'] < ctr['none']['logloss']
  assert ctr['platt']['ece'] < ctr['none']['ece']
  text = calibrate.table(found)
  assert f'| ctr | none | {ctr["none"]["logloss"]:.5f} |' in text
  assert len(text.splitlines()) == 2 + 4 * 3


@pytest.mark.parametrize('kind', ['platt', 'isotonic'])
def test_frames_are_calibrated_alike(kind, calibrated):
  run, _ = calibrated
  predictor, table = run.predictor(), run.table(0, 40)
  scores = predictor.predict(table, kind, 'own')
  for frame in (table.to_pandas(), table.to_reader(7), table.to_pylist()):
    for name, values in predictor.predict(frame, kind, 'own').items():
      np.testing.assert_array_equal(values, scores[name])
  assert (scores['p_ctr'] != predictor.predict(table)['p_ctr']).all()


def test_what_cannot_be_calibrated(finished, tmp_path):
  with pytest.raises(InputError, match='First run python -m experiments.cali'):
    finished.predictor().predict(finished.columns(0, 3), 'platt')
  with pytest.raises(InputError, match="'plat'; it must be one of none, platt"):
    finished.predictor().predict(finished.columns(0, 3), 'plat')
  labels = {
      'click': np.array([0, 1, 1]), 'conversion': np.array([0, 0, 0])}
  outputs = {k: np.array([0.1, 0.2, 0.3]) for k in ('ctr', 'cvr', 'ctcvr')}
  with pytest.raises(InputError, match='cvr_clicked: its 2 rows have one lab'):
    calibrate.fit(outputs, Observed(labels, None, {}))
  (tmp_path / 'calibration.json').write_text('{')
  with pytest.raises(InputError, match='is not JSON'):
    calibrators.read(str(tmp_path), 'platt', Stamp())
  (tmp_path / 'calibration.json').write_text('{"version": 7}')
  with pytest.raises(InputError, match='is of version 7, not 2'):
    calibrators.read(str(tmp_path), 'platt', Stamp())
  config = small_config(**{
      'dataset.valid_split': '', 'dataset.test_split': 'test[:9%]',
      'selection.metric': '', 'save_predictions': False, 'num_epochs': 1})
  run = str(tmp_path / 'run')
  train_and_evaluate(config, run, str(finished.data))
  with pytest.raises(InputError, match="dataset.valid_split=''"):
    calibrate.calibrate(run, str(finished.data))


def test_a_test_split_without_conversions():
  """What is not defined there is shown as such."""
  labels = {
      'click': np.array([0, 1, 1, 0]), 'conversion': np.array([0, 0, 1, 0])}
  outputs = {k: np.array([0.1, 0.2, 0.3, -1]) for k in ('ctr', 'cvr', 'ctcvr')}
  fitted, _ = calibrate.fit(outputs, Observed(labels, None, {}))
  labels['conversion'] = np.zeros(4)
  test = calibrate.compare(fitted, outputs, Observed(labels, None, {}))
  # In memory and as the file has it.
  for content in ({'test': test}, sealed_content({'test': test})):
    lines = calibrate.table(content).splitlines()
    (line,) = [s for s in lines if s.startswith('| ctcvr | none ')]
    assert line.endswith(' | – |') and line.count(' – ') == 2


@pytest.mark.long
def test_the_commands(finished, tmp_path, root):
  run = finished.copy(tmp_path / 'run')

  def command(program, *more):
    done = subprocess.run(
        [
            sys.executable, '-m', f'experiments.{program}',
            f'--workdir={run.folder}', f'--data_dir={run.data}', *more],
        cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout

  assert '| ctcvr_product | isotonic | ' in command('calibrate')
  out = f'--output={tmp_path}/x'
  assert 'x: program ' in command('export', out, '--calibrated=platt')
  assert os.path.isdir(tmp_path / 'x' / 'params')
  out = f'--output={tmp_path}/s.parquet'
  assert '3,000 rows' in command(
      'predict', out, '--split=test', '--calibrated=isotonic', '--joint=own')
