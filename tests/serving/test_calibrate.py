"""Calibration: the fits themselves, their use, and that of a whole run."""

import json
import math
import os
import subprocess
import sys

from esmm_jax.metrics.by_space import Observed
from esmm_jax.serving import calibrating, calibration
from esmm_jax.types import InputError
import numpy as np
import pytest
from scipy.special import expit as sigmoid
from sklearn import isotonic, linear_model, metrics

pytestmark = pytest.mark.slow

SPACES = ('ctr', 'cvr_clicked', 'ctcvr')


@pytest.fixture(scope='module')
def calibrated(finished, tmp_path_factory):
  run = finished.copy(tmp_path_factory.mktemp('calibrated') / 'run')
  return run, calibrating.calibrate(str(run.folder), str(run.data))


def drawn(num=400, seed=0):
  rng = np.random.default_rng(seed)
  z = rng.normal(-1, 1.5, num).round(2)
  return z, (rng.random(num) < sigmoid(0.6 * z + 0.4)).astype(int)


@pytest.mark.parametrize(
    'z, y, low, high',
    [
        # Two log-odds: the fit goes through the mean target of each.
        ([-1, -1, 1, 1], [0, 0, 1, 1], 1 / 4, 3 / 4),
        # 3 of 7 rows are positive: their target is 4/5, that of others 1/6.
        (
            [-1, -1, -1, -1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 0],
            (3 / 6 + 4 / 5) / 4, (1 / 6 + 8 / 5) / 3,
        ),
        # Falling: the slope is negative.
        ([-1, 1], [1, 0], 2 / 3, 1 / 3),
    ],
)
def test_platt_in_closed_form(z, y, low, high):
  a, b = (math.log(p / (1 - p)) for p in (low, high))
  fit = calibration.platt(np.array(z, np.float32), np.array(y))
  assert fit['slope'] == pytest.approx((b - a) / 2, abs=1e-6)
  assert fit['intercept'] == pytest.approx((a + b) / 2, abs=1e-6)


def test_platt_against_logistic_regression():
  z, y = drawn()
  target = np.where(y == 1, (y.sum() + 1) / (y.sum() + 2),
                    1 / ((1 - y).sum() + 2))
  model = linear_model.LogisticRegression(C=math.inf, tol=1e-10)
  model.fit(
      np.concatenate([z, z])[:, None],
      np.repeat([1, 0], len(z)),
      sample_weight=np.concatenate([target, 1 - target]))
  fit = calibration.platt(z, y)
  assert fit['slope'] == pytest.approx(model.coef_[0, 0], abs=1e-5)
  assert fit['intercept'] == pytest.approx(model.intercept_[0], abs=1e-5)
  assert fit['slope'] == pytest.approx(0.6, abs=0.2)


def test_isotonic_by_hand():
  """0, then 1 and 0 pooled to 1/2, then ones; ends at 1 / (n + 2)."""
  z = np.array([5, 1, 3, 2, 4])
  y = np.array([1, 0, 0, 1, 1])
  fit = calibration.isotonic(z, y)
  assert fit['scores'] == [1, 2, 3, 4, 5]
  np.testing.assert_allclose(
      fit['probabilities'], [1 / 7, 1 / 2, 1 / 2, 6 / 7, 6 / 7])
  # Rows of one value are one: 1/3 at 0 though the first of them is 1.
  fit = calibration.isotonic(np.array([0, 0, 0, 1]), np.array([1, 0, 0, 1]))
  np.testing.assert_allclose(fit['probabilities'], [1 / 3, 5 / 6])


def test_isotonic_against_sklearn():
  z, y = drawn()
  least = 1 / (len(z) + 2)
  model = isotonic.IsotonicRegression(
      y_min=least, y_max=1 - least, out_of_bounds='clip').fit(z, y)
  entry = {'isotonic': calibration.isotonic(z, y)}
  new = np.linspace(-9, 9, 1001)
  got = sigmoid(calibration.calibrated(entry, 'isotonic', new))
  np.testing.assert_allclose(got, model.predict(new), atol=1e-6)
  assert len(entry['isotonic']['scores']) < 60


def test_use():
  """The joint output is the product, or calibrated by itself."""
  half = {'isotonic': {'scores': [0.0, 1.0], 'probabilities': [0.25, 0.5]}}
  entries = {
      'ctr': half | {'platt': {'slope': 2.0, 'intercept': 1.0}},
      'cvr_clicked': half | {'platt': {'slope': 0.0, 'intercept': 0.0}},
      'ctcvr': half | {'platt': {'slope': 1.0, 'intercept': -1.0}},
  }
  outputs = {
      'ctr': np.array([0.0, 9], np.float32),
      'cvr': np.array([0.4, -9], np.float32),
      'ctcvr': np.array([-1.0, 2], np.float32),
  }
  tasks = Observed({}, None, {}).tasks

  def p(kind, joint):
    made = calibration.apply(entries, kind, joint, outputs, tasks)
    return {k: sigmoid(v) for k, v in made.items()}

  made = p('platt', 'product')
  ctr = 1 / (1 + np.exp([-1.0, -19]))
  np.testing.assert_allclose(made['ctr'], ctr, rtol=1e-6)
  np.testing.assert_allclose(made['cvr'], [0.5, 0.5], rtol=1e-6)
  np.testing.assert_allclose(made['ctcvr'], ctr / 2, rtol=1e-6)
  made = p('platt', 'own')
  np.testing.assert_allclose(
      made['ctcvr'], 1 / (1 + np.exp([2.0, -1])), rtol=1e-6)
  made = p('isotonic', 'product')
  np.testing.assert_allclose(made['ctr'], [0.25, 0.5], rtol=1e-6)
  np.testing.assert_allclose(made['cvr'], [0.35, 0.25], rtol=1e-6)
  np.testing.assert_allclose(made['ctcvr'], [0.0875, 0.125], rtol=1e-6)
  with pytest.raises(InputError, match='joint is .both.*product, own'):
    p('platt', 'both')


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
    assert entry['platt'] == calibration.platt(logits, labels)
    assert entry['isotonic'] == calibration.isotonic(logits, labels)
  assert set(found['tasks']) == set(SPACES)
  assert json.loads((run.folder / 'calibration.json').read_text()) == found
  assert found['version'] == 1 and found['fitted_on'] == 'valid'


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
  text = calibrating.table(found)
  assert f'| ctr | none | {ctr["none"]["logloss"]:.5f} |' in text
  assert len(text.splitlines()) == 2 + 4 * 3


def test_what_cannot_be_calibrated(finished, tmp_path):
  with pytest.raises(InputError, match='First run python -m experiments.cali'):
    finished.predictor().predict(finished.columns(0, 3), 'platt')
  with pytest.raises(InputError, match="'plat'; it must be one of none, platt"):
    finished.predictor().predict(finished.columns(0, 3), 'plat')
  labels = {
      'click': np.array([0, 1, 1]), 'conversion': np.array([0, 0, 0])}
  outputs = {k: np.array([0.1, 0.2, 0.3]) for k in ('ctr', 'cvr', 'ctcvr')}
  with pytest.raises(InputError, match='cvr_clicked: its 2 rows have one lab'):
    calibration.fit(outputs, Observed(labels, None, {}))
  (tmp_path / 'calibration.json').write_text('{')
  with pytest.raises(InputError, match='is not JSON'):
    calibration.read(str(tmp_path), 'platt')
  (tmp_path / 'calibration.json').write_text('{"version": 7}')
  with pytest.raises(InputError, match='is of version 7, not 1'):
    calibration.read(str(tmp_path), 'platt')
  run = finished.copy(tmp_path / 'run')
  path = run.folder / 'config.json'
  config = json.loads(path.read_text())
  config['dataset']['valid_split'] = ''
  path.write_text(json.dumps(config))
  with pytest.raises(InputError, match="dataset.valid_split=''"):
    calibrating.calibrate(str(run.folder), str(run.data))


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
