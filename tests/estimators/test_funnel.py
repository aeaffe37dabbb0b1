"""Longer funnels, values, joint outputs: every number against probabilities."""

import dataclasses
import math

from esmm_jax.estimators import ESTIMATORS
from esmm_jax.estimators.click_space import click_space
from esmm_jax.estimators.conversion_if_clicked import conversion_if_clicked
from esmm_jax.estimators.end_to_end import end_to_end
from esmm_jax.estimators.entire_space import entire_space
from esmm_jax.estimators.funnel import chain_logit, JOINT, outputs, ratio_logit
from esmm_jax.tasks import CART_FUNNEL, CLICK, FUNNEL, spaces, Task
from esmm_jax.types import InputError
from hypothesis import given, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

WATCH = (*FUNNEL, Task('play_time', 'play_time', 'ctr', kind='regression'))
A = np.array([-1.2, 0.4, 2.0, -0.6, 0.9])
B = np.array([0.3, -2.2, 1.5, 0.1, -1.0])
C = np.array([-0.5, 0.8, -1.7, 2.2, 0.6])
CLICKS = np.array([0, 1, 1, 1, 1.0])
CARTS = np.array([0, 0, 1, 1, 1.0])
BOUGHT = np.array([0, 0, 0, 1, 0.0])
WATCHED = np.array([0, 1.5, 0.2, 3.0, 2.0])
WHERE = np.array([1, 1, 1, 1, 0.0])  # The last row is padding.
LABELS = dict(click=CLICKS, cart=CARTS, conversion=BOUGHT, play_time=WATCHED)


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def logit(p):
  return np.log(p) - np.log1p(-p)


P, Q, R = sigmoid(A), sigmoid(B), sigmoid(C)


def bce(p, y):
  return -(y * np.log(p) + (1 - y) * np.log(1 - p))


def mean_parts(losses, rows):
  """(sum, count) over real rows where `rows` is 1."""
  keep = (WHERE * rows) > 0
  return losses[keep].sum(), keep.sum()


def check(terms, expected):
  assert terms.keys() == expected.keys()
  for name, want in expected.items():
    np.testing.assert_allclose(terms[name], want, rtol=2e-5, err_msg=name)


def raw(*columns, tasks):
  return {t.name: jnp.float32(x) for t, x in zip(tasks, columns, strict=True)}


ONE = np.ones(5)
CART_TERMS = {
    'ctr': mean_parts(bce(P, CLICKS), ONE),
    'atr_clicked': mean_parts(bce(Q, CARTS), CLICKS),
    'ctatr': mean_parts(bce(P * Q, CARTS), ONE),
    'ptr_carted': mean_parts(bce(R, BOUGHT), CARTS),
    'cvr_clicked': mean_parts(bce(Q * R, BOUGHT), CLICKS),
    'ctcvr': mean_parts(bce(P * Q * R, BOUGHT), ONE),
}


def test_entire_space_of_click_cart_purchase():
  """ESM2's simple chain: the product of the steps to each event."""
  terms = entire_space(
      raw(A, B, C, tasks=CART_FUNNEL), LABELS, WHERE, tasks=CART_FUNNEL)
  check(terms, CART_TERMS)


def test_click_space_of_click_cart_purchase():
  """Each event where the one before happened."""
  terms = click_space(
      raw(A, B, C, tasks=CART_FUNNEL), LABELS, WHERE, tasks=CART_FUNNEL)
  check(terms, {k: CART_TERMS[k] for k in ('ctr', 'atr_clicked', 'ptr_carted')})


def test_the_bound_trains_the_product_after_the_click():
  labels = dict(LABELS, conversion_if_clicked=CARTS)
  terms = conversion_if_clicked(
      raw(A, B, C, tasks=CART_FUNNEL), labels, WHERE, tasks=CART_FUNNEL)
  check(terms, {
      'ctr': CART_TERMS['ctr'],
      'cvr_entire': mean_parts(bce(Q * R, CARTS), ONE),
  })


def test_the_bound_needs_cvr():
  with pytest.raises(InputError, match='ctr and cvr'):
    ESTIMATORS['conversion_if_clicked'].weights((CLICK,))


def test_watch_time():
  """Squared error of the value on clicks, of pCTR times it over all."""
  got = entire_space(raw(A, B, C, tasks=WATCH), LABELS, WHERE, tasks=WATCH)
  clicked = mean_parts((C - WATCHED) ** 2, CLICKS)
  check(got, {
      'ctr': CART_TERMS['ctr'],
      'cvr_clicked': mean_parts(bce(Q, BOUGHT), CLICKS),
      'ctcvr': mean_parts(bce(P * Q, BOUGHT), ONE),
      'play_time_clicked': clicked,
      'ctplay_time': mean_parts((P * C - WATCHED) ** 2, ONE),
  })
  got = click_space(raw(A, B, C, tasks=WATCH), LABELS, WHERE, tasks=WATCH)
  check(got, {
      'ctr': CART_TERMS['ctr'],
      'cvr_clicked': mean_parts(bce(Q, BOUGHT), CLICKS),
      'play_time_clicked': clicked,
  })


def test_normalization_of_a_later_space():
  """Carted rows over the impressions."""
  terms = click_space(
      raw(A, B, C, tasks=CART_FUNNEL), LABELS, WHERE, tasks=CART_FUNNEL,
      cvr_normalization='impressions')
  assert float(terms['ptr_carted'][1]) == 4
  np.testing.assert_allclose(
      terms['ptr_carted'][0], CART_TERMS['ptr_carted'][0], rtol=1e-5)


def test_end_to_end():
  """Outputs are of joint events; the calibrator counts rises only."""
  terms = end_to_end(raw(A, B, tasks=FUNNEL), LABELS, WHERE)
  rise = np.maximum(Q - P, 0)
  assert 0 < (rise[:4] > 0).sum() < 4
  check(terms, {
      'ctr': CART_TERMS['ctr'],
      'ctcvr': mean_parts(bce(Q, BOUGHT), ONE),
      'calibrator': mean_parts(rise, ONE),
  })
  three = end_to_end(
      raw(A, B, C, tasks=CART_FUNNEL), LABELS, WHERE, tasks=CART_FUNNEL)
  rise = rise + np.maximum(R - Q, 0)
  np.testing.assert_allclose(
      three['calibrator'], mean_parts(rise, ONE), rtol=1e-5)
  assert set(three) == {'ctr', 'ctatr', 'ctcvr', 'calibrator'}


WEIGHTS = [
    ('entire_space', FUNNEL, {'ctr': 1, 'ctcvr': 1, 'cvr_clicked': 0}),
    ('entire_space', CART_FUNNEL,
     {'ctr': 1, 'atr_clicked': 0, 'ctatr': 1, 'ptr_carted': 0,
      'cvr_clicked': 0, 'ctcvr': 1}),
    ('click_space', FUNNEL, {'ctr': 1, 'cvr_clicked': 1}),
    ('click_space', CART_FUNNEL,
     {'ctr': 1, 'atr_clicked': 1, 'ptr_carted': 1}),
    ('end_to_end', FUNNEL, {'ctr': 1, 'ctcvr': 1, 'calibrator': 0.6}),
    ('conversion_if_clicked', FUNNEL, {'ctr': 1, 'cvr_entire': 1}),
]


@pytest.mark.parametrize('name, tasks, want', WEIGHTS)
def test_default_weights(name, tasks, want):
  assert ESTIMATORS[name].weights(tasks) == want


# What follows from the outputs.


def test_outputs_of_conditional_events():
  predicted = outputs(raw(A, B, C, tasks=CART_FUNNEL), CART_FUNNEL)
  want = {
      'ctr': A, 'atr': B, 'ptr': C, 'ctatr': logit(P * Q),
      'cvr': logit(Q * R), 'ctcvr': logit(P * Q * R)}
  assert predicted.keys() == want.keys() == {
      s.output for s in spaces(CART_FUNNEL)}
  for name, x in want.items():
    np.testing.assert_allclose(predicted[name], x, rtol=1e-5, err_msg=name)


def test_outputs_of_joint_events():
  """Each over what came before; `cvr` is purchase over click."""
  p = [0.5, 0.3, 0.06]
  x = [np.array([logit(q)]) for q in p]
  predicted = outputs(raw(*x, tasks=CART_FUNNEL), CART_FUNNEL, JOINT)
  want = {
      'ctr': 0.5, 'ctatr': 0.3, 'ctcvr': 0.06, 'atr': 0.3 / 0.5,
      'ptr': 0.06 / 0.3, 'cvr': 0.06 / 0.5}
  assert predicted.keys() == want.keys()
  for name, q in want.items():
    np.testing.assert_allclose(sigmoid(predicted[name]), q, rtol=1e-5)


def test_outputs_of_a_value():
  predicted = outputs(raw(A, B, C, tasks=WATCH), WATCH)
  np.testing.assert_allclose(predicted['play_time'], C, rtol=1e-6)
  np.testing.assert_allclose(predicted['ctplay_time'], P * C, rtol=1e-6)
  predicted = outputs(raw(A, B, C, tasks=WATCH), WATCH, JOINT)
  np.testing.assert_allclose(predicted['ctplay_time'], C, rtol=1e-6)
  np.testing.assert_allclose(predicted['play_time'], C / P, rtol=1e-5)


def test_a_third_event_without_a_joint_name_of_its_own():
  """It is not taken for the event given the one before."""
  tasks = tuple(dataclasses.replace(t, joint='') for t in CART_FUNNEL)
  predicted = outputs(raw(A, B, C, tasks=tasks), tasks)
  np.testing.assert_allclose(predicted['ptr'], C, rtol=1e-6)
  np.testing.assert_allclose(
      predicted['ptr_given_click'], logit(Q * R), rtol=1e-5)
  np.testing.assert_allclose(predicted['ctptr'], logit(P * Q * R), rtol=1e-5)


def test_chain_at_extreme_logits():
  """In the range where float64 under- or overflows: -log(expm1(sum))."""
  for x in ([50, 60, 70], [-50, -60, -70], [88, -88, 0], [1e3, 1e3, -1e3]):
    got = chain_logit([jnp.float32(v) for v in x])
    want = -np.logaddexp(-x[0], np.logaddexp(-x[1], -x[0] - x[1]))
    want = -np.logaddexp(-want, np.logaddexp(-x[2], -want - x[2]))
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


@given(st.floats(-20, 20, width=32), st.floats(-20, 20, width=32))
def test_ratio_undoes_the_product(a, b):
  """In the range of float32: pCVR again from pCTCVR and pCTR."""
  joint = chain_logit([jnp.float32(a), jnp.float32(b)])
  got = sigmoid(float(ratio_logit(joint, jnp.float32(a))))
  assert got == pytest.approx(sigmoid(b), rel=2e-3, abs=2e-6)


def test_ratio_above_one_still_ranks():
  """DIVISION: more over less is more, and the probability nearly 1."""
  before = jnp.full(4, logit(0.1), jnp.float32)
  joint = jnp.float32(logit(np.array([0.09, 0.1, 0.12, 0.4])))
  got = ratio_logit(joint, before)
  assert (np.diff(got) > 0).all()
  np.testing.assert_allclose(sigmoid(got[0]), 0.9, rtol=1e-5)
  assert (np.asarray(got[1:]) > logit(1 - 2e-6)).all()
  # One more in the logarithm of the ratio is one more here.
  np.testing.assert_allclose(
      got[3] - got[2], math.log(0.4 / 0.12), rtol=1e-4)


def test_gradients_of_the_ratio_are_finite():
  grid = jnp.float32([-1e4, -88, -3, 0, 3, 88, 1e4])
  a, c = jnp.meshgrid(grid, grid)
  total = lambda c, a: ratio_logit(c, a).sum()
  for g in jax.grad(total, argnums=(0, 1))(c, a):
    assert np.isfinite(g).all()
