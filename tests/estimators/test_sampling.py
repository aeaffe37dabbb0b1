"""Sampling of CVR's training set, and UNBIAS, against their formulas."""

import functools
import math

from esmm_jax.estimators import ESTIMATORS
from esmm_jax.estimators import sampling
from esmm_jax.estimators.click_space import click_space
from esmm_jax.estimators.losses import ROWS
from esmm_jax.estimators.sampling import cvr_rows, Sampling
from esmm_jax.estimators.unbias import default_weights, unbias
from esmm_jax.tasks import CART_FUNNEL
from esmm_jax.types import InputError
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training import test_step as steps

# Un-clicked below and above the rate, clicked, converted; converted without a
# click, which counts as un-clicked.
CLICK = [0, 0, 1, 1, 0]
CONVERSION = [0, 0, 0, 1, 1]
UNIFORM = [0.1, 0.6, 0.9, 0.3, 0.2]
KEY = f'cvr_clicked{ROWS}'


def labels():
  arrays = dict(click=CLICK, conversion=CONVERSION, uniform=UNIFORM)
  return {k: jnp.asarray(v, jnp.float32) for k, v in arrays.items()}


@pytest.mark.parametrize(
    'rates, expected',
    [
        (Sampling(), [0, 0, 1, 1, 0]),
        (Sampling(0.5), [1, 0, 1, 1, 1]),
        (Sampling(0.15), [1, 0, 1, 1, 0]),
        (Sampling(1.0), [1, 1, 1, 1, 1]),
        (Sampling(0.0, 5.0), [0, 0, 1, 5, 0]),
        (Sampling(0.15, 2.5), [1, 0, 1, 2.5, 0]),
    ],
)
def test_how_often_a_row_counts(rates, expected):
  got = cvr_rows(labels(), labels()['uniform'], rates)
  np.testing.assert_array_equal(got, np.float32(expected))


def test_a_rate_is_kept_and_rates_are_nested():
  click = jnp.zeros(20_000)
  drawn = sampling.draw(
      jax.random.key(0), {'click': click, 'conversion': click}, 20_000)
  taken = [
      np.asarray(cvr_rows(drawn, drawn['uniform'], Sampling(rate)))
      for rate in (0.1, 0.2, 0.5)
  ]
  for rate, rows in zip((0.1, 0.2, 0.5), taken):
    error = math.sqrt(rate * (1 - rate) / 20_000)
    assert abs(rows.mean() - rate) < 5 * error
  assert (taken[0] <= taken[1]).all() and (taken[1] <= taken[2]).all()


def logits(batch=5):
  rng = np.random.default_rng(0)
  make = lambda: jnp.asarray(rng.normal(size=batch), jnp.float32)
  return dict(ctr=make(), cvr=make())


def loss(x, inputs):
  total, count = click_space(x, inputs, jnp.ones(len(inputs['click'])))[
      'cvr_clicked']
  return total / count


def test_a_weight_is_so_many_copies():
  """Value and gradient of a batch in which the rows stand so often."""
  counts = np.array([1, 0, 1, 3, 2])
  inputs = labels() | {KEY: jnp.asarray(counts, jnp.float32)}
  value, gradient = jax.value_and_grad(loss)(logits(), inputs)
  rows = np.repeat(np.arange(5), counts)
  # Copies of the rows, all of them in the loss.
  copied = {k: v[rows] for k, v in labels().items()}
  copied['click'] = jnp.ones(len(rows))
  x = {k: v[rows] for k, v in logits().items()}
  want, want_gradient = jax.value_and_grad(loss)(x, copied)
  np.testing.assert_allclose(value, want, rtol=1e-6)
  added = np.zeros(5)
  np.add.at(added, rows, np.asarray(want_gradient['cvr']))
  np.testing.assert_allclose(gradient['cvr'], added, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize('form', ['rejection', 'weighting'])
def test_unbias_against_its_formula(form):
  x, inputs = logits(), labels()
  floor = 0.3
  terms = unbias(
      x, inputs, jnp.ones(5), form=form, propensity_floor=floor)
  p, q = (1 / (1 + np.exp(-np.float64(x[k]))) for k in ('ctr', 'cvr'))
  expected = 0.0
  for i in (2, 3):
    accepted = min(1.0, floor / p[i])
    accepted = float(UNIFORM[i] < accepted) if form == 'rejection' else accepted
    y = CONVERSION[i]
    expected -= accepted * (y * math.log(q[i]) + (1 - y) * math.log(1 - q[i]))
  np.testing.assert_allclose(terms['cvr_clicked'], (expected, 2), rtol=1e-5)
  want = click_space(x, inputs, jnp.ones(5))['ctr']
  np.testing.assert_allclose(terms['ctr'], want)


def test_the_weight_is_the_mean_of_the_rejection():
  n = 4000
  inputs = dict(
      click=jnp.ones(n), conversion=jnp.zeros(n),
      uniform=jax.random.uniform(jax.random.key(1), (n,)))
  x = dict(ctr=jnp.full(n, 0.4), cvr=jnp.full(n, -1.0))
  total = lambda form: float(
      unbias(x, inputs, jnp.ones(n), form=form, propensity_floor=0.2)[
          'cvr_clicked'][0])
  p = 0.2 / (1 / (1 + math.exp(-0.4)))
  error = math.sqrt(n * p * (1 - p)) * math.log1p(math.exp(-1))
  assert abs(total('rejection') - total('weighting')) < 5 * error


@pytest.mark.parametrize('form', ['rejection', 'weighting'])
def test_the_propensity_has_no_gradient(form):
  def cvr_loss(ctr):
    x = logits() | {'ctr': ctr}
    return unbias(x, labels(), jnp.ones(5), form=form)['cvr_clicked'][0]

  np.testing.assert_array_equal(jax.grad(cvr_loss)(logits()['ctr']), 0)


def test_unbias_refuses():
  with pytest.raises(InputError, match="form is 'reject'"):
    unbias(logits(), labels(), jnp.ones(5), form='reject')
  with pytest.raises(InputError, match='one after the other'):
    default_weights(CART_FUNNEL)


# In the step.


def sampled_hyper(rates, copies):
  hyper = steps.make_hyper(
      [0.5] * len(rates),
      {'ctr': [1.0] * len(rates), 'cvr_clicked': [1.0] * len(rates)})
  stack = lambda x: jnp.asarray(x, jnp.float32)
  return hyper._replace(sampling=dict(
      unclicked_rate=stack(rates), conversion_copies=stack(copies)))


def sampled_plan(**options):
  plan = steps.make_plan(name='single_task', **options)
  terms = ESTIMATORS['click_space'].terms
  return plan._replace(terms=terms, needs_uniform=True, sampled=True)


def begin(plan, seeds):
  state = steps.start(plan, seeds)
  sums = {k: v for k, v in state.sums.items() if k != 'ctcvr'}
  return state.replace(sums=sums)


@pytest.mark.slow
@pytest.mark.usefixtures('quick_test')
@pytest.mark.parametrize('parts', [
    pytest.param(1, marks=pytest.mark.long), 4])
def test_neutral_rates_change_nothing(parts):
  batches = [steps.make_batch(k) for k in range(3)]
  sampled = sampled_plan(micro_batches=parts)
  plain = sampled._replace(needs_uniform=False, sampled=False)
  hyper = sampled_hyper([0.0], [1.0])
  a = steps.steps(plain, begin(plain, [0]), hyper, batches)
  b = steps.steps(sampled, begin(sampled, [0]), hyper, batches)
  steps.assert_close(steps.parameters(a), steps.parameters(b), 1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures('quick_test')
def test_rates_of_replicas_and_the_common_ctr_network():
  """Each replica has its own rate; their CTR networks are one."""
  batches = [steps.make_batch(k) for k in range(4)]
  plan = sampled_plan()
  state = steps.steps(
      plan,
      begin(plan, [3, 3, 3]),
      sampled_hyper([0.0, 1.0, 0.0], [1.0, 1.0, 5.0]),
      batches,
  )
  tower = lambda name, r: [
      np.asarray(x[r]) for x in jax.tree.leaves(state.net[f'tower_{name}'])]
  for r in (1, 2):
    for a, b in zip(tower('ctr', 0), tower('ctr', r)):
      np.testing.assert_allclose(a, b, atol=1e-6)
    assert max(
        abs(a - b).max() for a, b in zip(tower('cvr', 0), tower('cvr', r))
    ) > 1e-3


@pytest.mark.slow
@pytest.mark.usefixtures('quick_test')
def test_aman_at_100_percent_is_cvr_over_all_impressions():
  """With no draw left, the mean over all rows with the joint label."""
  batch = steps.make_batch(2)
  plan = sampled_plan()
  state = steps.steps(
      plan, begin(plan, [1]), sampled_hyper([1.0], [1.0]), [batch])
  start = begin(plan, [1])
  small = start.table[np.minimum(batch.rows, steps.SCHEMA.num_rows - 1), 0]
  net = jax.tree.map(lambda x: x[0], start.net)
  out = plan.model.apply({'params': net}, small, batch)['cvr']
  q = 1 / (1 + np.exp(-np.float64(out)))
  y = batch.labels['conversion']
  losses = -(y * np.log(q) + (1 - y) * np.log1p(-q))
  want = losses[batch.where > 0].mean()
  np.testing.assert_allclose(state.sums['cvr_clicked'][0], want, rtol=1e-5)


def test_drawing_is_a_function_of_the_key():
  draw = functools.partial(sampling.draw, labels={}, num=8)
  a, b = draw(jax.random.key(1)), draw(jax.random.key(1))
  np.testing.assert_array_equal(a['uniform'], b['uniform'])
  assert (a['uniform'] != draw(jax.random.key(2))['uniform']).any()
