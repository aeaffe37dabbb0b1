"""DCMT against its formula, enumerated over all outcomes of world W6."""

from esmm_jax.estimators.contract import Needs
from esmm_jax.estimators.dcmt import dcmt, default_weights, needs, row_weights
from esmm_jax.estimators.entire_space import entire_space
from esmm_jax.estimators.ips import ips
from esmm_jax.tasks import CART_FUNNEL, FUNNEL, Head, Task
from esmm_jax.types import InputError
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.estimators import w6

TWIN = np.array([0.9, 0.7, 0.99, 0.5, 0.95, 0.2])
ONES = np.ones(6)
INVERSE = ('cvr_clicked', 'cvr_counterfactual', 'counterfactual_prior')


def mean(name, x, columns=(), **options):
  return w6.enumerated(
      w6.one_loss(dcmt, name, x, **options), **dict(columns)).mean


def test_expected_values():
  """Every term, where the propensity is right: the risk if all were clicked."""
  x = w6.logits(counterfactual=TWIN)
  options = dict(propensity_floor=1e-6)
  assert mean('cvr_clicked', x, **options) == pytest.approx(0.235337, abs=1e-6)
  assert mean('cvr_clicked', x, **options) == pytest.approx(w6.RISK, rel=1e-6)
  want = w6.entropy(1.0, TWIN).mean()
  assert mean('cvr_counterfactual', x, **options) == pytest.approx(
      want, rel=1e-6)
  want = np.abs(1 - w6.Q - TWIN).mean()
  assert mean('counterfactual_prior', x) == pytest.approx(want, rel=1e-6)


def test_expected_values_of_a_wrong_propensity():
  """Unclicked rows count (1 - p) / (1 - p'); the true column mends both."""
  x = w6.logits(w6.WRONG_P, counterfactual=TWIN)
  assert mean('cvr_clicked', x) == pytest.approx(0.246173, abs=1e-6)
  want = ((1 - w6.P) / (1 - w6.WRONG_P) * w6.entropy(1.0, TWIN)).mean()
  assert mean('cvr_counterfactual', x) == pytest.approx(want, rel=1e-6)
  for source, column in (('true', 'p_ctr'), ('frozen', 'frozen_ctr')):
    columns, options = {column: w6.P}, dict(propensity=source)
    assert mean('cvr_clicked', x, columns, **options) == pytest.approx(
        w6.RISK, rel=1e-6)
    assert mean('cvr_counterfactual', x, columns, **options) == pytest.approx(
        w6.entropy(1.0, TWIN).mean(), rel=1e-6)


def test_the_floor_is_of_both_propensities():
  x = w6.logits(counterfactual=TWIN)
  got = [mean(k, x, propensity_floor=0.5) for k in INVERSE[:2]]
  clicked = np.minimum(w6.P / 0.5, 1) * w6.RISKS
  unclicked = np.minimum((1 - w6.P) / 0.5, 1) * w6.entropy(1.0, TWIN)
  np.testing.assert_allclose(
      got, [clicked.mean(), unclicked.mean()], rtol=1e-6)


def batch(seed=0, size=64, dtype=jnp.float32):
  rng = np.random.default_rng(seed)
  x = {k: jnp.asarray(rng.normal(size=size) - 1, dtype)
       for k in ('ctr', 'cvr', 'counterfactual')}
  click = rng.random(size) < 0.3
  conversion = click & (rng.random(size) < 0.3)
  labels = dict(click=jnp.asarray(click, dtype),
                conversion=jnp.asarray(conversion, dtype))
  return x, labels, jnp.ones(size, dtype)


def test_without_the_twin_it_is_ips_beside_esmm():
  """Value and gradient, to the bit."""
  x, labels, where = batch()
  weights = default_weights(FUNNEL) | dict(
      cvr_counterfactual=0.0, counterfactual_prior=0.0)
  assert weights['ctr'] == weights['ctcvr'] == weights['cvr_clicked'] == 1

  def ours(x):
    return w6.loss(dcmt(x, labels, where), weights)

  def theirs(x):
    terms = entire_space(x, labels, where)
    terms['cvr_clicked'] = ips(x, labels, where)['cvr_clicked']
    return w6.loss(terms, {k: weights[k] for k in weights if k in terms})

  (value, gradient), (want, expected) = (
      jax.value_and_grad(f)(x) for f in (ours, theirs))
  assert value == want
  for name in ('ctr', 'cvr'):
    np.testing.assert_array_equal(gradient[name], expected[name])
  assert not np.any(gradient['counterfactual'])


@pytest.mark.parametrize('prior, q, digits', [
    (1e-3, 0.004995030, 1e-9), (0.1, 0.00454733, 1e-8),
    (0.5, 0.00333705, 1e-8)])
def test_fixed_point_of_free_heads(prior, q, digits):
  """q* becomes 1, q solves q - eta + lambda q (1 - q) = 0, and CTR is right."""
  weights = dict(
      ctr=1.0, cvr_clicked=1.0, cvr_counterfactual=1.0,
      counterfactual_prior=prior)
  value = lambda x, labels: w6.loss(dcmt(x, labels, np.ones(1)), weights)
  start = dict(ctr=[0.1], cvr=[0.1], counterfactual=[0.1])
  got = w6.fixed_point(
      value, start, np.array([0.04]), np.array([0.005]), steps=300)
  assert got['cvr'] == pytest.approx(q, abs=digits)
  assert got['cvr'] - 0.005 + prior * got['cvr'] * (1 - got['cvr']) == (
      pytest.approx(0, abs=1e-12))
  assert got['counterfactual'] > 0.9999
  assert got['ctr'] == pytest.approx(0.04, rel=1e-9)


def test_other_losses_of_public_code_are_not_this_one():
  """What they give in W6, and that no term here has it."""
  x = w6.logits(counterfactual=TWIN)

  def zero(labels):
    """q* trained to 0."""
    losses = jax.nn.softplus(x['counterfactual']) / (1 - w6.P)
    return jnp.mean((1 - labels['click']) * losses)

  def divided(labels):
    """Weights divided by their sum over all rows, then a mean over them."""
    weights = labels['click'] / w6.P
    weights = weights / jnp.maximum(weights.sum(), 1e-6)
    losses = jax.nn.softplus(x['cvr']) - x['cvr'] * labels['conversion']
    return jnp.mean(weights * losses)

  wrong = w6.enumerated(zero).mean, w6.enumerated(divided).mean
  want = w6.entropy(0.0, TWIN).mean(), 0.318457 / 6
  np.testing.assert_allclose(wrong, want, rtol=1e-5)
  ours = mean('cvr_counterfactual', x), mean('cvr_clicked', x)
  assert all(abs(a / b - 1) > 0.3 for a, b in zip(ours, wrong))


def test_a_weight_divided_by_its_sum_would_shrink_with_the_batch():
  """A batch twice over has the same mean of each term here."""
  one = batch()
  two = jax.tree.map(lambda x: jnp.concatenate([x, x]), one)
  for name, (total, count) in dcmt(*one).items():
    double, rows = dcmt(*two)[name]
    np.testing.assert_allclose(double / rows, total / count, rtol=1e-6)


def test_no_gradient_reaches_the_propensity():
  x, labels, where = batch()
  for name in INVERSE:
    gradient = jax.grad(lambda y, k=name: dcmt(y, labels, where)[k][0])(x)
    assert not np.any(gradient['ctr'])
    assert any(np.any(g) for g in gradient.values())


def test_clicked_rows_do_not_train_the_twin_but_by_the_prior():
  x, labels, where = batch()
  gradients = {
      name: jax.grad(lambda y, k=name: dcmt(y, labels, where)[k][0])(x)
      for name in INVERSE}
  clicked = np.asarray(labels['click']) > 0
  twin = gradients['cvr_counterfactual']['counterfactual']
  assert not np.any(twin[clicked]) and np.all(twin[~clicked] < 0)
  assert not np.any(gradients['cvr_counterfactual']['cvr'])
  assert not np.any(gradients['cvr_clicked']['counterfactual'])
  q, other = (jax.nn.sigmoid(x[k]) for k in ('cvr', 'counterfactual'))
  sign = jnp.sign(q + other - 1)
  for name, p in (('cvr', q), ('counterfactual', other)):
    np.testing.assert_allclose(
        gradients['counterfactual_prior'][name], sign * p * (1 - p), rtol=1e-5)


@pytest.mark.parametrize('click', [0.0, 1.0])
@pytest.mark.parametrize('logit', [-30.0, 0.0, 30.0])
def test_batches_of_one_kind_are_finite(click, logit):
  """No clicks, or clicks alone, where the propensity says the opposite."""
  x, labels, where = batch()
  x['ctr'] = jnp.full_like(x['ctr'], logit)
  labels = dict(click=jnp.full_like(where, click), conversion=0 * where)
  value = lambda y: w6.loss(dcmt(y, labels, where))
  loss, gradient = jax.value_and_grad(value)(x)
  assert np.isfinite(loss)
  assert all(np.isfinite(g).all() for g in gradient.values())
  empty = 'cvr_counterfactual' if click else 'cvr_clicked'
  assert dcmt(x, labels, where)[empty][0] == 0


def test_row_weights_are_those_of_the_loss():
  x, labels, where = batch()
  slope = jax.grad(
      lambda y: dcmt(y, labels, where, propensity_floor=0.2)['cvr_clicked'][0])
  clicked = np.asarray(labels['click']) > 0
  error = jax.nn.sigmoid(x['cvr']) - labels['conversion']
  p = {'ctr': np.asarray(jax.nn.sigmoid(x['ctr']))}
  (weights,) = row_weights(p, labels, propensity_floor=0.2).values()
  np.testing.assert_allclose(
      (slope(x)['cvr'] / error)[clicked], weights[clicked], rtol=1e-5)


def test_other_tasks_have_their_entire_space_loss():
  tasks = (*FUNNEL, Task('play_time', 'play_time', 'ctr', kind='regression'))
  x, labels, where = batch()
  x['play_time'], labels['play_time'] = x['cvr'], 3 * labels['click']
  got = dcmt(x, labels, where, tasks=tasks)
  want = entire_space(x, labels, where, tasks=tasks)
  assert set(got) == set(default_weights(tasks))
  for name in set(want) - {'cvr_clicked'}:
    assert got[name] == want[name]
    assert default_weights(tasks)[name] == float('clicked' not in name)


def test_needs():
  head = (Head('counterfactual', like='cvr'),)
  assert needs() == Needs(head, trained=('ctr',))
  assert needs(propensity='true') == Needs(head, ('p_ctr',))
  assert needs(propensity='frozen') == Needs(head, (), ('ctr',))


def test_tasks_that_do_not_suit():
  with pytest.raises(InputError, match='dcmt.*right after it'):
    default_weights(CART_FUNNEL)
