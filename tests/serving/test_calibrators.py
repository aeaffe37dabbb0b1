"""Calibrators: the fits against formulas and scikit-learn, and their use."""

import math

from esmm_jax.metrics.by_space import Observed
from esmm_jax.serving import calibrator_fits, calibrators
from esmm_jax.types import InputError
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit as sigmoid
from sklearn import isotonic, linear_model


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
  fit = calibrator_fits.fit_platt(np.array(z, np.float32), np.array(y))
  assert fit['slope'] == pytest.approx((b - a) / 2, abs=1e-6)
  assert fit['intercept'] == pytest.approx((a + b) / 2, abs=1e-6)


@pytest.mark.parametrize('z', [-1.9, 0.0, 3.25, -60.0])
@pytest.mark.parametrize('noise', [0, 3e-8])
def test_platt_of_constant_log_odds_moves_the_intercept_alone(z, noise):
  """Slope 1; 3 of 12 rows are positive, of targets 4/5 and 1/11."""
  logits = np.full(12, z) + noise * np.arange(12)
  fit = calibrator_fits.fit_platt(logits, np.arange(12) < 3)
  assert fit['slope'] == 1
  mean = (3 * 4 / 5 + 9 / 11) / 12
  assert sigmoid(z + fit['intercept']) == pytest.approx(mean, rel=1e-6)


def test_platt_against_logistic_regression():
  z, y = drawn()
  target = np.where(y == 1, (y.sum() + 1) / (y.sum() + 2),
                    1 / ((1 - y).sum() + 2))
  model = linear_model.LogisticRegression(C=math.inf, tol=1e-10)
  model.fit(
      np.concatenate([z, z])[:, None],
      np.repeat([1, 0], len(z)),
      sample_weight=np.concatenate([target, 1 - target]))
  fit = calibrator_fits.fit_platt(z, y)
  assert fit['slope'] == pytest.approx(model.coef_[0, 0], abs=1e-5)
  assert fit['intercept'] == pytest.approx(model.intercept_[0], abs=1e-5)
  assert fit['slope'] == pytest.approx(0.6, abs=0.2)


def test_isotonic_by_hand():
  """0, then 1 and 0 pooled to 1/2, then ones; ends at 1 / (n + 2)."""
  z = np.array([5, 1, 3, 2, 4])
  y = np.array([1, 0, 0, 1, 1])
  fit = calibrator_fits.fit_isotonic(z, y)
  # The line from (1, 0) to (2, 1/2) passes 1/7 at 1 + 2/7, and so on.
  np.testing.assert_allclose(
      fit['scores'], [1, 1 + 2 / 7, 2, 3, 3 + 5 / 7, 4, 5])
  np.testing.assert_allclose(
      fit['probabilities'], [1 / 7, 1 / 7, 1 / 2, 1 / 2, 6 / 7, 6 / 7, 6 / 7])
  # Rows of one value are one: 1/3 at 0 though the first of them is 1.
  fit = calibrator_fits.fit_isotonic(
      np.array([0, 0, 0, 1]), np.array([1, 0, 0, 1]))
  np.testing.assert_allclose(fit['probabilities'], [1 / 3, 5 / 6, 5 / 6])


def test_isotonic_against_sklearn():
  z, y = drawn()
  least = 1 / (len(z) + 2)
  model = isotonic.IsotonicRegression(out_of_bounds='clip').fit(z, y)
  entry = {'isotonic': calibrator_fits.fit_isotonic(z, y)}
  new = np.linspace(-9, 9, 1001)
  got = sigmoid(calibrators.calibrate_logits(entry, 'isotonic', new))
  want = np.clip(model.predict(new), least, 1 - least)
  np.testing.assert_allclose(got, want, atol=1e-6)
  assert len(entry['isotonic']['scores']) < 60


@pytest.mark.parametrize('width', [0.1, 1.0, 7.0])
def test_isotonic_lines_are_clipped_and_not_bent(width):
  """Ones above zeros: the line between, clipped to 1 / (n + 2)."""
  z, y = np.array([0.0, width]), np.array([0, 1])
  fit = calibrator_fits.fit_isotonic(z, y)
  assert fit['scores'][0] == 0 and fit['scores'][-1] == width
  got = np.interp(z[1] * np.linspace(-1, 2, 13), *fit.values())
  want = np.clip(np.linspace(-1, 2, 13), 1 / 4, 3 / 4)
  np.testing.assert_allclose(got, want, atol=1e-12)


def test_isotonic_log_odds_of_many_rows_are_finite_in_float32():
  least = 1 / (10**9 + 2)
  entry = {'isotonic': {
      'scores': [-1.0, 1.0], 'probabilities': [least, 1 - least]}}
  for xp in (np, jnp):
    got = calibrators.calibrate_logits(
        entry, 'isotonic', np.array([-2.0, 0.0, 2.0]), xp)
    np.testing.assert_allclose(got, [-20.723, 0, 20.723], atol=1e-3)


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
    made = calibrators.calibrate_outputs(entries, kind, joint, outputs, tasks)
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


def test_maps():
  """sigmoid(2 logit(p) + 1) and lines between three points."""
  found = calibrators.probability_maps({
      'tasks': {
          'ctr': {'platt': {'slope': 2.0, 'intercept': 1.0}},
          'cvr_clicked': {
              'isotonic': {
                  'scores': [-2.0, 0.0, 2.0],
                  'probabilities': [0.1, 0.1, 0.3],
              }
          },
      }
  })
  p = np.array([0.0, 0.5, 0.8, 1.0])
  e = np.e
  np.testing.assert_allclose(
      found['ctr']['platt'](p), [0, e / (1 + e), 16 * e / (1 + 16 * e), 1]
  )
  np.testing.assert_allclose(
      found['cvr_clicked']['isotonic'](p), [0.1, 0.1, 0.1 + np.log(4) / 10, 0.3]
  )


@pytest.mark.parametrize('calibrator', [
    {'platt': {'slope': 1.0}},
    {'platt': {'slope': None, 'intercept': 1.0}},
    {'isotonic': {'scores': [], 'probabilities': []}},
    {'isotonic': {'scores': [0.0, 1.0], 'probabilities': [0.5]}},
])
def test_wrong_maps(calibrator):
  with pytest.raises(InputError, match='maps of ctr cannot be read'):
    calibrators.probability_maps({'tasks': {'ctr': calibrator}})
