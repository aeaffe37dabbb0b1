"""IPS and SNIPS on the world W6, by enumeration, and against their identities.

Numbers are those of a table that was made apart from this code, to 1e-6.
"""

import functools

from esmm_jax.estimators.click_space import click_space
from esmm_jax.estimators.contract import Needs
from esmm_jax.estimators.ips import default_weights, ips, row_weights
from esmm_jax.estimators.losses import cross_entropy
from esmm_jax.estimators.propensity import (
    from_probabilities, inverse, needs, propensities)
from esmm_jax.tasks import CART_FUNNEL, CLICK, CLICKED, FUNNEL, Task
from esmm_jax.types import InputError
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.estimators import w6

NAIVE = functools.partial(click_space, cvr_normalization='impressions')
LOW = {'propensity_floor': 1e-6}
KINDS = ('impressions', 'clicks', 'self')


def moments(terms, p=w6.P, **options):
  return w6.enumerated(
      w6.one_loss(terms, 'cvr_clicked', w6.logits(p), **options),
      p_ctr=w6.P, frozen_ctr=w6.WRONG_P)


TABLE = {
    'naive': (NAIVE, w6.P, {}, 0.092608, 0.160),
    'true p': (ips, w6.WRONG_P, {'propensity': 'true'}, 0.235337, 0.832),
    'own p, right': (ips, w6.P, LOW, 0.235337, 0.832),
    'own p, wrong': (ips, w6.WRONG_P, LOW, 0.246173, 1.088),
    'frozen p, wrong':
        (ips, w6.P, LOW | {'propensity': 'frozen'}, 0.246173, 1.088),
    'floor': (ips, w6.P, {'propensity_floor': 0.1}, 0.216042, 0.544),
    'cap': (ips, w6.P, LOW | {'weight_cap': 10.0}, 0.216042, 0.544),
    'divided by clicks':
        (ips, w6.P, LOW | {'normalization': 'clicks'}, 0.811435, 2.687),
    'snips': (ips, w6.P, LOW | {'normalization': 'self'}, 0.318457, 0.646),
}


@pytest.mark.parametrize('row', TABLE)
def test_expected_value_and_deviation(row):
  terms, p, options, mean, sd = TABLE[row]
  got = moments(terms, p, **options)
  assert got.mean == pytest.approx(mean, abs=1e-6)
  assert got.sd == pytest.approx(sd, abs=6e-4)


def test_the_right_propensity_is_unbiased():
  assert w6.RISK == pytest.approx(0.235337, abs=1e-6)
  assert moments(ips, **LOW).mean == pytest.approx(w6.RISK, abs=1e-14)


def test_the_bias_in_closed_form():
  """mean (p - p^) / p^ risk, and below a floor p / floor of the risk."""
  bias = (w6.P - w6.WRONG_P) / w6.WRONG_P * w6.RISKS
  got = moments(ips, w6.WRONG_P, **LOW).mean
  assert got == pytest.approx(w6.RISK + bias.mean(), abs=1e-14)
  got = moments(ips, propensity_floor=0.3).mean
  want = (np.minimum(w6.P / 0.3, 1) * w6.RISKS).mean()
  assert got == pytest.approx(want, abs=1e-14)


# Formulas of public code, each with what it gives.


def by_clicks(x, labels, where):
  """Divides by the clicks."""
  weights = labels['click'] / jax.nn.sigmoid(x['ctr'])
  d = cross_entropy(x['cvr'], labels['conversion'])
  return {'cvr_clicked': (jnp.sum(weights * d), labels['click'].sum())}


def scalar_first(x, labels, where):
  """Reduces the loss to a scalar before the weight."""
  d = jnp.sum(labels['click'] * cross_entropy(x['cvr'], labels['conversion']))
  weight = jnp.mean(1 / jax.nn.sigmoid(x['ctr']))
  return {'cvr_clicked': (weight * d, jnp.sum(where))}


def clipped_product(x, labels, where):
  """Clips the loss over p, not p."""
  d = cross_entropy(x['cvr'], labels['conversion'])
  loss = jnp.clip(d / jax.nn.sigmoid(x['ctr']), 0, 10)
  return {'cvr_clicked': (jnp.sum(labels['click'] * loss), jnp.sum(where))}


def not_stopped(x, labels, where):
  """Lets a gradient into p."""
  d = cross_entropy(x['cvr'], labels['conversion'])
  loss = labels['click'] * d / jax.nn.sigmoid(x['ctr'])
  return {'cvr_clicked': (jnp.sum(loss), jnp.sum(where))}


@pytest.mark.parametrize('wrong, options, value', [
    (by_clicks, {}, 0.811435),
    (scalar_first, {}, None),
    (clipped_product, {'weight_cap': 10.0}, None),
])
def test_wrong_formulas_are_told_from_ours(wrong, options, value):
  right = 0.216042 if options else 0.235337
  bad = moments(wrong).mean
  assert abs(bad - right) > 0.01
  if value:
    assert bad == pytest.approx(value, abs=1e-6)
  ours = moments(ips, **LOW | options).mean
  assert ours == pytest.approx(right, abs=1e-6)


@pytest.mark.parametrize('propensity', ['own', 'frozen', 'true'])
@pytest.mark.parametrize('normalization', KINDS)
def test_no_gradient_reaches_the_propensity(propensity, normalization):
  """In no outcome; a formula that does not stop it moves the CTR."""
  options = LOW | dict(propensity=propensity, normalization=normalization)
  slope = lambda terms, **more: w6.enumerated(
      w6.gradient(terms, 'cvr_clicked', w6.logits(), **more),
      p_ctr=w6.P, frozen_ctr=w6.WRONG_P)
  got = slope(ips, **options)
  assert not got.mean['ctr'].any() and not got.sd['ctr'].any()
  assert got.mean['cvr'].all()
  assert (slope(not_stopped).mean['ctr'] < -1e-3).all()


# Fixed points of free heads, one impression of CTR .04 and CVR .005.


def trained(*estimators, p=0.04, eta=0.005):
  """CTR and CVR that the terms `ctr` and `cvr_clicked` end at."""

  def value(x, labels):
    where = jnp.ones(1)
    terms = {}
    for terms_of in estimators:
      terms |= terms_of(x, labels, where)
    return w6.loss(terms, {'ctr': 1.0, 'cvr_clicked': 1.0})

  got = w6.fixed_point(
      value, dict(ctr=[0.1], cvr=[0.1]), [p], [eta], p_ctr=[p],
      frozen_ctr=[2 * p])
  return float(got['ctr'][0]), float(got['cvr'][0])


@pytest.mark.parametrize('options', [
    {}, {'propensity': 'true'}, {'propensity': 'frozen'},
    {'propensity_floor': 0.5}, {'normalization': 'self'},
], ids=str)
def test_free_heads_end_at_the_truth(options):
  """Whatever the weights are: PCOC is 1.00 for CTR and for CVR."""
  ctr, cvr = trained(functools.partial(ips, **options))
  assert ctr / 0.04 == pytest.approx(1, abs=1e-6)
  assert cvr / 0.005 == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize('eta, too_high', [
    (0.005, 0.0598), (0.02, 0.0832), (0.1, 0.1283)])
def test_a_gradient_into_the_propensity_would_raise_ctr(eta, too_high):
  ctr, cvr = trained(click_space, not_stopped, eta=eta)
  assert ctr == pytest.approx(too_high, abs=6e-5)
  assert cvr == pytest.approx(eta, abs=1e-6)
  ctr, _ = trained(ips, eta=eta)
  assert ctr == pytest.approx(0.04, abs=1e-8)


# Identities, batch by batch.


def batch(seed=0, n=40, dtype=jnp.float32, ctr=0.4):
  rng = np.random.default_rng(seed)
  click = rng.random(n) < ctr
  conversion = click & (rng.random(n) < 0.3)
  x = dict(ctr=rng.normal(size=n) - 1, cvr=rng.normal(size=n))
  labels = dict(
      click=click, conversion=conversion, p_ctr=rng.uniform(0.05, 0.9, n),
      frozen_ctr=rng.uniform(0.05, 0.9, n))
  as_type = lambda tree: {k: jnp.asarray(v, dtype) for k, v in tree.items()}
  return as_type(x), as_type(labels), jnp.ones(n, dtype)


def loss_and_gradient(terms, x, labels, where, **options):
  value = lambda x: w6.loss(
      terms(x, labels, where, **options), {'cvr_clicked': 1.0})
  return jax.value_and_grad(value)(x)


def assert_equal(one, two, exact=True):
  compare = np.testing.assert_array_equal if exact else (
      functools.partial(np.testing.assert_allclose, rtol=2e-6, atol=1e-8))
  jax.tree.map(compare, one, two)


@pytest.mark.parametrize('p, exact', [(0.25, True), (0.04, False)])
def test_snips_is_the_naive_loss_per_click_where_p_is_constant(p, exact):
  """To the bit for a power of two."""
  for seed in range(5):
    x, labels, where = batch(seed)
    labels['p_ctr'] = jnp.full(len(where), p, jnp.float32)
    got = loss_and_gradient(
        ips, x, labels, where, propensity='true', normalization='self')
    assert_equal(got, loss_and_gradient(click_space, x, labels, where), exact)
    # And IPS is the naive loss over impressions times 1 / p.
    got = loss_and_gradient(ips, x, labels, where, propensity='true')
    want = loss_and_gradient(NAIVE, x, labels, where)
    want = jax.tree.map(lambda v: v / p, want)
    assert_equal(got, want, exact)


@pytest.mark.parametrize('options', [
    {'propensity_floor': 1.0}, {'weight_cap': 1.0},
    {'warmup_steps': 7.0, 'step': 0}], ids=str)
def test_weights_of_1_are_the_naive_loss_to_the_bit(options):
  x, labels, where = batch()
  for normalization, naive in (
      ('impressions', NAIVE), ('clicks', click_space), ('self', click_space)):
    assert_equal(
        loss_and_gradient(
            ips, x, labels, where, normalization=normalization, **options),
        loss_and_gradient(naive, x, labels, where))


def test_snips_is_free_of_the_scale_of_weights_and_of_the_zero_of_losses():
  with jax.enable_x64(True):
    x, labels, where = batch(dtype=jnp.float64)
    run = functools.partial(
        loss_and_gradient, ips, propensity='true', normalization='self',
        propensity_floor=1e-6)
    want, slope = run(x, labels, where)
    thirds = labels | {'p_ctr': labels['p_ctr'] / 3}
    tripled, tripled_slope = run(x, thirds, where)
    assert tripled == pytest.approx(float(want), rel=1e-14)
    np.testing.assert_allclose(tripled_slope['cvr'], slope['cvr'], rtol=1e-13)
    # The loss is x - x y and so on: a label of y - 1 / x adds 1 to it.
    more = labels | {'conversion': labels['conversion'] - 1 / x['cvr']}
    assert run(x, more, where)[0] - want == pytest.approx(1, abs=1e-13)
    # IPS moves by the mean weight, which is not 1.
    moved = [
        loss_and_gradient(ips, x, y, where, propensity='true')[0]
        for y in (labels, more)]
    assert abs(moved[1] - moved[0] - 1) > 0.01


@pytest.mark.parametrize('normalization', KINDS)
@pytest.mark.parametrize('propensity', ['own', 'frozen', 'true'])
def test_a_batch_without_clicks_is_0(normalization, propensity):
  x, labels, where = batch(ctr=0.0)
  x['ctr'] = x['ctr'].at[:3].set(jnp.array([-1e4, 1e4, 0.0]))
  value, slope = loss_and_gradient(
      ips, x, labels, where, normalization=normalization, propensity=propensity)
  assert value == 0
  for leaf in slope.values():
    np.testing.assert_array_equal(leaf, 0)


@pytest.mark.parametrize('normalization', KINDS)
@pytest.mark.parametrize('cuts', [[20], [1, 2, 39]], ids=str)
def test_parts_of_a_batch_have_the_gradient_of_the_whole(normalization, cuts):
  """The rows that are not of a part are its padding."""
  x, labels, where = batch(3)
  run = functools.partial(
      ips, normalization=normalization, step=3, warmup_steps=4)
  want_value, want = loss_and_gradient(run, x, labels, where)

  def part(mask):
    term = lambda x: run(x, labels, mask)['cvr_clicked']
    return term(x), jax.grad(lambda x: term(x)[0])(x)['cvr']

  bounds = [0, *cuts, 40]
  index = np.arange(40)
  each = [part(jnp.float32((low <= index) & (index < high)))
          for low, high in zip(bounds, bounds[1:])]
  total, count = (sum(v) for v in zip(*(term for term, _ in each)))
  assert total / count == pytest.approx(float(want_value), rel=1e-5)
  np.testing.assert_allclose(
      sum(slope for _, slope in each) / count, want['cvr'], rtol=1e-5,
      atol=1e-8)


# Weights.


def implied_weights(x, labels, where, **options):
  """Of each clicked row, from the gradient of the sum: w (q - r)."""
  total = lambda x: ips(x, labels, where, **options)['cvr_clicked'][0]
  slope = jax.grad(total)(x)['cvr']
  clicked = np.asarray(labels['click']) > 0
  error = jax.nn.sigmoid(x['cvr']) - labels['conversion']
  return np.asarray(slope / error)[clicked]


@pytest.mark.parametrize('options', [
    {}, {'propensity': 'true'}, {'propensity': 'frozen'},
    {'propensity_floor': 0.3}, {'weight_cap': 2.5},
    {'propensity_floor': 0.2, 'weight_cap': 4.0}], ids=str)
def test_row_weights_are_those_of_the_loss(options):
  x, labels, where = batch(5)
  p = {'ctr': np.asarray(jax.nn.sigmoid(x['ctr']))}
  clicked = np.asarray(labels['click']) > 0
  (weights,) = row_weights(p, labels, **options).values()
  got = implied_weights(x, labels, where, **options)
  np.testing.assert_allclose(got, np.asarray(weights)[clicked], rtol=1e-5)
  chosen = {'true': labels['p_ctr'], 'frozen': labels['frozen_ctr']}.get(
      options.get('propensity'), p['ctr'])
  least = max(
      options.get('propensity_floor', 0.01), 1 / options.get('weight_cap', 1e9))
  want = 1 / np.maximum(np.asarray(chosen), least)
  np.testing.assert_allclose(got, want[clicked], rtol=1e-5)


def test_a_warm_up_is_a_line_from_1_to_the_inverse():
  x, labels, where = batch(6)
  run = functools.partial(implied_weights, x, labels, where)
  last = run()
  for step in (0, 1, 3, 4, 9):
    got = run(warmup_steps=4.0, step=jnp.int32(step))
    done = min(step / 4, 1)
    np.testing.assert_allclose(got, 1 + done * (last - 1), rtol=1e-5)
    np.testing.assert_array_equal(run(warmup_steps=0.0, step=step), last)
  np.testing.assert_array_equal(run(warmup_steps=4.0, step=4), last)
  np.testing.assert_array_equal(run(warmup_steps=4.0), last)


def test_numbers_may_differ_between_replicas():
  """They are arrays of one program; warm-up of 0 steps among them."""
  x, labels, where = batch(7)
  rows = [(0.01, 1e38, 0.0), (0.3, 1e38, 10.0), (0.01, 2.0, 4.0)]

  def one(floor, cap, steps):
    return ips(x, labels, where, propensity_floor=floor, weight_cap=cap,
               warmup_steps=steps, step=jnp.int32(2))['cvr_clicked'][0]

  got = jax.jit(jax.vmap(one))(*jnp.array(rows).T)
  for value, row in zip(got, rows):
    assert value == pytest.approx(float(one(*row)), rel=1e-6)
  assert len(set(got.tolist())) == 3


# Rows that count more than once, or not at all.


@pytest.mark.parametrize('normalization', KINDS)
def test_a_row_of_weight_k_is_k_rows(normalization):
  x, labels, _ = batch(8)
  # As many copies as rows, so that one program does for both.
  copies = np.random.default_rng(8).multinomial(40, [1 / 40] * 40)
  rows = np.repeat(np.arange(40), copies)
  pick = lambda tree: {k: v[rows] for k, v in tree.items()}
  run = functools.partial(ips, normalization=normalization)
  got = run(x, labels, jnp.float32(copies))
  want = run(pick(x), pick(labels), jnp.ones(40))
  for term in want:
    np.testing.assert_allclose(got[term], want[term], rtol=1e-6)


@pytest.mark.parametrize('normalization', KINDS)
def test_sampled_rows(normalization):
  """Copies of a click have its weight; an un-clicked negative counts once."""
  x, labels, where = batch(9)
  conversion, click = labels['conversion'], labels['click']
  drawn = jnp.arange(40) % 5 == 0
  rows = click * (1 + 2 * conversion) + (1 - click) * drawn
  total, count = ips(
      x, labels | {'cvr_clicked_rows': rows}, where,
      normalization=normalization)['cvr_clicked']
  w = np.where(click > 0, 1 / np.maximum(jax.nn.sigmoid(x['ctr']), 0.01), 1)
  d = cross_entropy(x['cvr'], conversion)
  np.testing.assert_allclose(total, np.sum(rows * w * d), rtol=1e-5)
  counts = dict(impressions=40, clicks=rows.sum(), self=np.sum(rows * w))
  np.testing.assert_allclose(count, counts[normalization], rtol=1e-6)


def test_padding_may_hold_anything():
  x, labels, where = batch(10)
  pad = where.at[-2:].set(0)
  run = lambda value: loss_and_gradient(
      ips, x, labels | {'p_ctr': labels['p_ctr'].at[-2:].set(value)}, pad,
      normalization='self', propensity='true')
  want, want_slope = run(0.5)
  assert want > 0
  for value in (0.0, np.nan, -1e4):
    got, slope = run(value)
    assert got == want
    np.testing.assert_array_equal(slope['cvr'][:-2], want_slope['cvr'][:-2])
    if value == value:
      np.testing.assert_array_equal(slope['cvr'][-2:], 0)


# Other tasks, and what is refused.


def test_other_tasks_have_their_click_space_loss():
  tasks = (*FUNNEL, Task('play_time', 'play_time', 'ctr', kind='regression'))
  x, labels, where = batch(11)
  x['play_time'], labels['play_time'] = x['cvr'], 3 * labels['click']
  got = ips(x, labels, where, tasks=tasks)
  want = click_space(x, labels, where, tasks=tasks)
  assert list(got) == list(want) == list(default_weights(tasks))
  for name in ('ctr', 'play_time_clicked'):
    assert got[name] == want[name]
  assert got['cvr_clicked'][0] != want['cvr_clicked'][0]
  assert set(default_weights(tasks).values()) == {1.0}


@pytest.mark.parametrize('tasks', [
    CART_FUNNEL, CLICKED, (CLICK,),
    (CLICK, Task('cvr', 'conversion', 'ctr', kind='regression')),
    (Task('ctr', 'open'), Task('cvr', 'conversion', 'ctr')),
], ids=['cart', 'clicks', 'ctr', 'regression', 'opened'])
def test_tasks_without_cvr_after_ctr_are_refused(tasks):
  with pytest.raises(InputError, match="'ips' needs the tasks ctr"):
    default_weights(tasks)


@pytest.mark.parametrize('option, value, nearest', [
    ('propensity', 'truth', 'true'), ('normalization', 'sel', 'self')])
def test_unknown_choices_are_refused(option, value, nearest):
  words = f"estimator_options.{option} is '{value}'.*mean '{nearest}'"
  with pytest.raises(InputError, match=words):
    ips(*batch(), **{option: value})


# Weights from propensities, apart from any loss.

P = np.random.default_rng(0).uniform(0.001, 1, 2000).astype(np.float32)


def test_ends_of_the_warm_up_to_the_bit():
  plain = inverse(P)
  np.testing.assert_array_equal(plain, 1 / np.maximum(P, np.float32(0.01)))
  for step in (30, 31):
    got = inverse(P, warmup_steps=30.0, step=step)
    np.testing.assert_array_equal(got, plain)
  np.testing.assert_array_equal(inverse(P, warmup_steps=30.0, step=0), 1)


@pytest.mark.parametrize('floor, cap, least', [
    (0.01, 1e38, 0.01), (0.25, 1e38, 0.25), (0.01, 4.0, 0.25),
    (0.25, 8.0, 0.25), (1.0, 1e38, 1.0), (0.01, 1.0, 1.0)])
def test_the_larger_of_floor_and_inverse_cap_acts(floor, cap, least):
  got = inverse(P, floor, cap)
  np.testing.assert_array_equal(got, inverse(P, least))
  assert got.max() == 1 / np.float32(least) and got.min() >= 1


def test_where_the_propensity_is():
  labels = {'frozen_ctr': P + 1, 'p_ctr': P + 2}
  for name, want in (('own', P), ('frozen', P + 1), ('true', P + 2)):
    got = from_probabilities({'ctr': P}, labels, name)
    np.testing.assert_array_equal(got, want)
    # The column of its needs is all that it reads.
    columns = needs(name)
    names = [*columns.truth_labels, *(f'frozen_{t}' for t in columns.frozen)]
    from_probabilities({'ctr': P}, {k: labels[k] for k in names}, name)
  assert needs('own') == Needs(trained=('ctr',))


def test_no_gradient():
  total = lambda p: inverse(p).sum() + from_probabilities(
      {'ctr': p}, {}).sum() + propensities({'ctr': p}, {}).sum()
  np.testing.assert_array_equal(jax.grad(total)(P), 0)
