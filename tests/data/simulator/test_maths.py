"""The numerics of the simulator."""

from esmm_jax.data.simulator.maths import cart_probability, expected_auc
from esmm_jax.data.simulator.maths import fit_logit, hidden_quadrature, sigmoid
from esmm_jax.data.simulator.maths import zipf
import numpy as np
import pytest
from scipy import special


def test_a_cart_probability_is_between_p_and_1():
  for dtype in (np.float32, np.float64):
    top = 1 - np.finfo(dtype).epsneg
    p = np.array([1e-35, 1e-9, 0.02, 0.5, top - np.finfo(dtype).epsneg, top])
    p = p.astype(dtype)
    for gamma in (0.33, 0.45, 0.57, 0.999):
      cart = cart_probability(p, np.full(len(p), gamma, dtype))
      assert cart.dtype == dtype
      assert (cart >= p).all() and (cart < 1).all()
      np.testing.assert_allclose(cart, p.astype(float) ** gamma, 1e-5)


def test_zipf():
  rng = np.random.default_rng(0)
  for exponent in (0.0, 0.85, 1.0, 1.5):
    draw = zipf(rng, 1000, (2, 50_000), exponent)
    assert draw.shape == (2, 50_000) and draw.dtype == np.int32
    assert draw.min() == 0 and draw.max() <= 999
    x = np.arange(1, 1002.0)
    power = 1 - exponent
    ends = np.log(x) if not power else (x**power - 1) / power
    expected = (ends[100] - ends[0]) / (ends[-1] - ends[0])
    assert (draw < 100).mean() == pytest.approx(expected, abs=0.01)


def test_sigmoid_has_no_limits():
  for dtype in (np.float32, np.float64):
    logits = np.array([-1e6, -90, -20, 0, 3, 20, 1e6], dtype)
    p = sigmoid(logits)
    assert p.dtype == dtype
    assert (p > 0).all() and (p < 1).all()
    np.testing.assert_allclose(p[2:5], special.expit(logits[2:5]), 1e-6)


@pytest.mark.parametrize('hidden', [0.3, 1.0, 2.0, 3.0])
def test_quadrature(hidden):
  logits = np.linspace(-12, 4, 50)[:, None]
  h = np.linspace(-9, 9, 4001)
  density = np.exp(-h * h / 2) / np.exp(-h * h / 2).sum()
  expected = (special.expit(logits + hidden * h) * density).sum(axis=1)
  nodes, weights = hidden_quadrature(hidden)
  found = (special.expit(logits + nodes) * weights).sum(axis=1)
  np.testing.assert_allclose(found, expected, 1e-5)


def test_expected_auc_is_over_all_pairs():
  p = np.random.default_rng(0).random(200).round(1) * 0.5 + 0.1
  wins = np.sign(p[:, None] - p) / 2 + 0.5
  pairs = p[:, None] * (1 - p)
  expected = np.sum(wins * pairs) / np.sum(pairs)
  assert expected_auc(np.sort(p)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('hidden', [0.0, 1.0])
def test_fit_logit(hidden):
  score = np.random.default_rng(0).standard_normal(1 << 16)
  intercept, spread = fit_logit(score, 0.1, 0.7, hidden)
  nodes, weights = hidden_quadrature(hidden)
  logits = intercept + spread * score[:, None] + nodes
  p = (special.expit(logits) * weights).sum(axis=1)
  assert p.mean() == pytest.approx(0.1, rel=1e-3)
  assert expected_auc(np.sort(p)) == pytest.approx(0.7, abs=1e-4)
