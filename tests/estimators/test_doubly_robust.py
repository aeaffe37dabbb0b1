"""Doubly robust CVR against exact expectations in the world W6."""

import functools

from esmm_jax.estimators.doubly_robust import default_weights, doubly_robust
from esmm_jax.estimators.doubly_robust import row_weights
from esmm_jax.estimators.imputation import imputation_weight
from esmm_jax.estimators.ips import ips
from esmm_jax.tasks import CART_FUNNEL, FUNNEL, Task
from esmm_jax.types import InputError
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.estimators import w6

IMPUTATIONS = ('plain', 'dr_jl', 'mrdr', 'dr_bias', 'dr_mse')
# Guesses of CVR that have nothing to do with it.
LABELS = np.array([0.3, 0.02, 0.7, 0.001, 0.5, 0.04])
# Below every propensity of the world; sums over its impressions.
EXACT = functools.partial(
    doubly_robust, propensity_floor=1e-6,
    imputation_normalization='impressions')
PSEUDO = EXACT
ERRORS = functools.partial(EXACT, error_head=True)


def errors(values):
  """Outputs of an error head whose guesses are the values."""
  return np.log(np.expm1(np.asarray(values, np.float64)))


def world(p=w6.P, q=w6.Q, **heads):
  return w6.logits(p, q) | heads


def moments(terms, name, x):
  mean, sd = w6.enumerated(w6.one_loss(terms, name, x))
  return float(mean), float(sd)


# (a) The table: right with either model, wrong by the product of the errors.

TRUE = {
    'errors': (ERRORS, errors(w6.ERROR)),
    'no errors': (ERRORS, np.full(6, -800.0)),
    'labels': (PSEUDO, w6.logit(LABELS)),
    'equal labels': (PSEUDO, w6.logit(np.full(6, 0.2))),
}


@pytest.mark.parametrize('guess', TRUE)
def test_a_right_propensity_needs_no_right_guess(guess):
  terms, head = TRUE[guess]
  mean, sd = moments(terms, 'cvr_entire', world(imputation=head))
  np.testing.assert_allclose(mean, 0.235337, atol=1e-6)
  np.testing.assert_allclose(mean, w6.RISK, rtol=1e-12)
  want = {'errors': 0.823, 'no errors': 0.832}
  if guess in want:
    np.testing.assert_allclose(sd, want[guess], atol=5e-4)


@pytest.mark.parametrize(
    'terms, head',
    [(ERRORS, errors(w6.RISKS)), (PSEUDO, w6.logit(w6.ETA))],
    ids=['errors', 'labels'])
def test_a_right_guess_needs_no_right_propensity(terms, head):
  x = world(w6.WRONG_P, imputation=head)
  mean, sd = moments(terms, 'cvr_entire', x)
  np.testing.assert_allclose(mean, 0.235337, atol=1e-6)
  np.testing.assert_allclose(mean, w6.RISK, rtol=1e-12)
  np.testing.assert_allclose(sd, 1.065, atol=5e-4)


@pytest.mark.parametrize(
    'terms, head, guess',
    [
        (ERRORS, errors(w6.ERROR), w6.ERROR),
        (PSEUDO, w6.logit(LABELS), w6.entropy(LABELS, w6.Q)),
    ],
    ids=['errors', 'labels'])
def test_the_bias_is_the_product_of_both_errors(terms, head, guess):
  x = world(w6.WRONG_P, imputation=head)
  mean, sd = moments(terms, 'cvr_entire', x)
  bias = np.mean((w6.P - w6.WRONG_P) / w6.WRONG_P * (w6.RISKS - guess))
  np.testing.assert_allclose(mean - w6.RISK, bias, rtol=1e-10)
  assert abs(bias) > 5e-3
  if terms is ERRORS:
    np.testing.assert_allclose(mean, 0.225340, atol=1e-6)
    np.testing.assert_allclose(sd, 1.074, atol=5e-4)


def public_code(labels, wrong):
  """Doubly robust as two families of public code have it, from ERROR."""
  q, o = w6.Q, labels['click']
  r = labels['conversion']
  d = -r * jnp.log(q) - (1 - r) * jnp.log1p(-q)
  if wrong == 'no 1/p on the guess':
    return jnp.mean(w6.ERROR + o * d / w6.P - o * w6.ERROR)
  return jnp.mean(w6.ERROR + o * jnp.abs(d - w6.ERROR) / w6.P)


@pytest.mark.parametrize(
    'wrong, mean, sd',
    [
        ('no 1/p on the guess', 0.438337, 0.823),
        ('absolute difference', 0.728623, 0.801),
    ])
def test_what_public_code_has_is_not_unbiased(wrong, mean, sd):
  """So the enumeration tells them from the estimator."""
  got = w6.enumerated(functools.partial(public_code, wrong=wrong))
  np.testing.assert_allclose(got.mean, mean, atol=1e-6)
  np.testing.assert_allclose(got.sd, sd, atol=5e-4)
  if wrong.startswith('no'):
    np.testing.assert_allclose(
        got.mean - w6.RISK, np.mean((1 - w6.P) * w6.ERROR), rtol=1e-10)
  right, _ = moments(ERRORS, 'cvr_entire', world(imputation=errors(w6.ERROR)))
  assert abs(got.mean - right) > 0.2


@pytest.mark.parametrize('source, column', [
    ('true', 'p_ctr'), ('frozen', 'frozen_ctr')])
def test_propensity_from_a_column(source, column):
  """The CTR output is then of no consequence."""
  x = world(np.full(6, 0.5), imputation=w6.logit(LABELS))
  terms = functools.partial(PSEUDO, propensity=source)
  got = w6.enumerated(
      w6.one_loss(terms, 'cvr_entire', x), **{column: w6.P})
  np.testing.assert_allclose(got.mean, w6.RISK, rtol=1e-12)


@pytest.mark.parametrize(
    'options', [dict(propensity_floor=0.1), dict(weight_cap=10.0)])
@pytest.mark.parametrize(
    'error_head, head, guess',
    [
        (True, errors(w6.ERROR), w6.ERROR),
        (False, w6.logit(LABELS), w6.entropy(LABELS, w6.Q)),
    ])
def test_floor_and_cap(options, error_head, head, guess):
  """Below them the guess counts for 1 - p / floor."""
  terms = functools.partial(
      doubly_robust, error_head=error_head, **options)
  mean, _ = moments(terms, 'cvr_entire', world(imputation=head))
  share = np.minimum(w6.P / 0.1, 1)
  want = np.mean(share * w6.RISKS + (1 - share) * guess)
  np.testing.assert_allclose(mean, want, rtol=1e-12)


# Random rows in float64: click, conversion, padding, and weights of rows.


def rows(num=40, dtype=np.float64, seed=0):
  rng = np.random.default_rng(seed)
  x = {k: rng.normal(size=num).astype(dtype)
       for k in ('ctr', 'cvr', 'imputation')}
  click = (rng.random(num) < 0.5).astype(dtype)
  labels = dict(
      click=click, conversion=click * (rng.random(num) < 0.4).astype(dtype))
  where = np.where(rng.random(num) < 0.2, 0, rng.random(num)).astype(dtype)
  return x, labels, where


def value(x, labels, where, terms, name):
  return w6.loss(terms(x, labels, where), {name: 1.0})


def gradients(terms, name, data):
  with jax.enable_x64(True):
    data = jax.tree.map(jnp.asarray, data)
    got = jax.value_and_grad(value)(*data, terms=terms, name=name)
    return jax.tree.map(np.asarray, got)


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


# (b) to (d), (f): the form of the loss.


def ips_reference(x, labels, where):
  """The formula: sum over clicks of w BCE(r, q) / p, over n, and d/dq."""
  p, q, r = sigmoid(x['ctr']), sigmoid(x['cvr']), labels['conversion']
  weight = where * labels['click'] / p / where.sum()
  return np.sum(weight * w6.entropy(r, q)), weight * (q - r)


def test_without_a_guess_it_is_ips():
  x, labels, where = rows()
  x['imputation'][:] = -800.0
  got, gradient = gradients(ERRORS, 'cvr_entire', (x, labels, where))
  want, want_gradient = ips_reference(x, labels, where)
  np.testing.assert_allclose(got, want, rtol=1e-12)
  np.testing.assert_allclose(gradient['cvr'], want_gradient, atol=1e-15)


@pytest.mark.parametrize('ctr', [-4.0, 0.0, 3.0])
def test_a_guess_right_on_clicks_makes_any_propensity_do(ctr):
  """The loss is then the mean of the guesses."""
  x, labels, where = rows()
  x['ctr'][:] = ctr
  q, r, o = sigmoid(x['cvr']), labels['conversion'], labels['click']
  guess = np.where(o > 0, w6.entropy(r, q), 0.7)
  x['imputation'] = errors(guess)
  got, _ = gradients(ERRORS, 'cvr_entire', (x, labels, where))
  want = np.sum(where * guess) / where.sum()
  np.testing.assert_allclose(got, want, rtol=1e-10)
  # Labels that are those of the clicks, as far as log-odds can say it.
  x['imputation'] = np.where(o > 0, 800.0 * (2 * r - 1), 0.3)
  got, _ = gradients(PSEUDO, 'cvr_entire', (x, labels, where))
  guess = w6.entropy(np.where(o > 0, r, sigmoid(0.3)), q)
  want = np.sum(where * guess) / where.sum()
  np.testing.assert_allclose(got, want, rtol=1e-10)


def test_gradient_on_the_logit_of_cvr():
  x, labels, where = rows()
  _, gradient = gradients(PSEUDO, 'cvr_entire', (x, labels, where))
  p, q, s = (sigmoid(x[k]) for k in ('ctr', 'cvr', 'imputation'))
  o, r = labels['click'], labels['conversion']
  want = where / where.sum() * ((q - s) + o / p * (s - r))
  np.testing.assert_allclose(gradient['cvr'], want, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    'p, s', [(w6.P, LABELS), (w6.WRONG_P, w6.ETA), (w6.WRONG_P, LABELS)])
def test_the_expected_gradient_at_the_truth(p, s):
  """0 where p is right or s is; else the product of both errors."""
  x = world(p, w6.ETA, imputation=w6.logit(s))
  got = w6.enumerated(w6.gradient(PSEUDO, 'cvr_entire', x)).mean['cvr']
  want = (1 - w6.P / p) * (w6.ETA - s) / 6
  np.testing.assert_allclose(got, want, atol=1e-14)
  assert (abs(want).max() > 1e-3) == (p is w6.WRONG_P and s is LABELS)


def test_the_variance_of_the_gradient():
  """With p = P and s = ETA: eta (1 - eta) / p of each row; IPS has more."""
  q = np.array([0.01, 0.3, 0.02, 0.5, 0.05, 0.1])
  x = world(q=q, imputation=w6.logit(w6.ETA))
  sd = w6.enumerated(w6.gradient(PSEUDO, 'cvr_entire', x)).sd['cvr']
  noise = w6.ETA * (1 - w6.ETA)
  np.testing.assert_allclose((6 * sd) ** 2, noise / w6.P, rtol=1e-9)
  x['imputation'] = np.full(6, -800.0)
  sd = w6.enumerated(w6.gradient(ERRORS, 'cvr_entire', x)).sd['cvr']
  off = (q - w6.ETA) ** 2
  np.testing.assert_allclose(
      (6 * sd) ** 2, (noise + off) / w6.P - off, rtol=1e-9)


@pytest.mark.parametrize('error_head', [False, True])
@pytest.mark.parametrize('imputation', IMPUTATIONS)
def test_who_learns_from_what(imputation, error_head):
  terms = functools.partial(
      doubly_robust, imputation=imputation, error_head=error_head)
  learns = lambda name: {
      k for k, g in gradients(terms, name, rows())[1].items() if np.any(g)}
  assert learns('cvr_entire') == {'cvr'}
  assert learns('imputation') == {'imputation'}
  assert learns('ctr') == {'ctr'}
  assert learns('ctcvr') == {'ctr', 'cvr'}


@pytest.mark.parametrize('error_head', [False, True])
def test_unclicked_rows_teach_the_imputation_nothing(error_head):
  terms = functools.partial(doubly_robust, error_head=error_head)
  x, labels, where = rows()
  _, gradient = gradients(terms, 'imputation', (x, labels, where))
  some = (labels['click'] > 0) & (where > 0)
  np.testing.assert_array_equal(gradient['imputation'] != 0, some)


def test_the_other_terms_are_those_of_esmm():
  x, labels, where = rows()
  terms = doubly_robust(x, labels, where)
  p, q = sigmoid(x['ctr']), sigmoid(x['cvr'])
  want = {
      'ctr': w6.entropy(labels['click'], p),
      'ctcvr': w6.entropy(labels['conversion'], p * q),
  }
  for name, losses in want.items():
    total, count = terms[name]
    np.testing.assert_allclose(total, np.sum(losses * where), rtol=1e-5)
    np.testing.assert_allclose(count, where.sum(), rtol=1e-6)


# (e) The papers' form.


def shared_network(params, features):
  """Towers of one layer on a hidden layer that they share."""
  hidden = jnp.tanh(features @ params['shared'])
  return {k: hidden @ w for k, w in params['towers'].items()}


@pytest.mark.parametrize(
    'imputation, options',
    [
        *((name, {}) for name in IMPUTATIONS),
        ('dr_jl', dict(propensity_floor=0.4)),
        ('mrdr', dict(weight_cap=2.0)),
    ])
def test_the_error_head_is_ips_for_all_that_cvr_has(imputation, options):
  """To the bit, in float32: the gradients of its tower and of what is shared.

  Only the loss of the imputation, left out here, touches what is shared.
  """
  x, labels, where = rows(dtype=np.float32)
  rng = np.random.default_rng(5)
  draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
  features = draw(len(where), 7)
  params = dict(shared=draw(7, 4), towers={k: draw(4) for k in x})

  def objective(params, terms, name):
    terms = terms(shared_network(params, features), labels, where)
    return w6.loss(terms, {'ctr': 1.0, name: 0.7})

  gradient = jax.grad(objective)
  errors = functools.partial(
      doubly_robust, error_head=True, imputation=imputation, **options)
  got = gradient(params, errors, 'cvr_entire')
  want = gradient(params, functools.partial(ips, **options), 'cvr_clicked')
  assert not np.any(got['towers']['imputation'])
  jax.tree.map(np.testing.assert_array_equal, got, want)
  assert np.all(got['shared'] != 0)
  labels_of = functools.partial(doubly_robust, imputation=imputation, **options)
  other = gradient(params, labels_of, 'cvr_entire')
  assert np.all(other['towers']['cvr'] != want['towers']['cvr'])
  assert np.all(other['shared'] != want['shared'])


# (g) The imputation losses.

OBSERVED = {
    'plain': 0.154236, 'dr_jl': 0.454124, 'mrdr': 3.636075,
    'dr_bias': 93.391850}
BEST = {
    'plain': (0.37799, 0.8438), 'dr_jl': (0.23534, 0.7091),
    'mrdr': (0.10165, 0.6679), 'dr_bias': (0.07214, 0.6699)}
# What each is over all impressions, times the squared error.
EVERYWHERE = {
    'plain': w6.P,
    'dr_jl': np.ones(6),
    'mrdr': (1 - w6.P) / w6.P,
    'dr_bias': ((1 - w6.P) / w6.P) ** 2,
}
EVERYWHERE['dr_mse'] = 0.5 * (EVERYWHERE['mrdr'] + EVERYWHERE['dr_bias'])


def expected_imputation(imputation, guess, **options):
  terms = functools.partial(ERRORS, imputation=imputation, **options)
  x = world(imputation=errors(guess))
  return moments(terms, 'imputation', x)[0]


@pytest.mark.parametrize('imputation', IMPUTATIONS)
def test_clicked_rows_stand_for_all_impressions(imputation):
  got = expected_imputation(imputation, w6.ERROR)
  # E (d - e)^2 = (E d - e)^2 + Var d; d is log-odds apart at r = 0 and 1.
  noise = w6.ETA * (1 - w6.ETA) * w6.logit(w6.Q) ** 2
  squares = (w6.RISKS - w6.ERROR) ** 2 + noise
  want = np.mean(EVERYWHERE[imputation] * squares)
  np.testing.assert_allclose(got, want, rtol=1e-11)
  if imputation in OBSERVED:
    np.testing.assert_allclose(got, OBSERVED[imputation], atol=1e-6)


@pytest.mark.parametrize('imputation', IMPUTATIONS)
def test_labels_of_clicked_rows_stand_for_all_impressions(imputation):
  terms = functools.partial(PSEUDO, imputation=imputation)
  got, _ = moments(terms, 'imputation', world(imputation=w6.logit(LABELS)))
  want = np.mean(EVERYWHERE[imputation] * w6.entropy(w6.ETA, LABELS))
  np.testing.assert_allclose(got, want, rtol=1e-11)


def best_guess(imputation):
  """The same guess everywhere that is best: the vertex of a parabola."""
  a, b, c = (
      expected_imputation(imputation, np.full(6, e)) for e in (1.0, 2.0, 3.0))
  return 2.0 - (c - a) / (2 * (a - 2 * b + c))


def test_the_best_equal_guess():
  variance = {}
  for imputation, (want, risk) in BEST.items():
    guess = best_guess(imputation)
    np.testing.assert_allclose(guess, want, atol=5e-6)
    x = world(imputation=errors(np.full(6, guess)))
    _, sd = moments(ERRORS, 'cvr_entire', x)
    variance[imputation] = sd**2
    np.testing.assert_allclose(sd**2, risk, atol=5e-5)
  assert min(variance, key=variance.get) == 'mrdr'
  np.testing.assert_allclose(best_guess('dr_jl'), w6.RISK, rtol=1e-9)


@pytest.mark.parametrize('error_head', [False, True])
@pytest.mark.parametrize('imputation', IMPUTATIONS)
def test_self_normalised_imputation(imputation, error_head):
  """The same gradient, divided by the sum of the weights."""
  data = rows()
  terms = functools.partial(
      doubly_robust, imputation=imputation, error_head=error_head)
  got, gradient = gradients(terms, 'imputation', data)
  papers = functools.partial(terms, imputation_normalization='impressions')
  want, want_gradient = gradients(papers, 'imputation', data)
  x, labels, where = data
  weights = imputation_weight(imputation, 1 + np.exp(-x['ctr']), 0.5)
  ratio = where.sum() / np.sum(where * labels['click'] * weights)
  np.testing.assert_allclose(got, ratio * want, rtol=1e-6)
  np.testing.assert_allclose(
      gradient['imputation'], ratio * want_gradient['imputation'],
      rtol=1e-5, atol=1e-12)
  with pytest.raises(InputError, match="normalization is 'n', which.*self"):
    terms(*data, imputation_normalization='n')


def test_gamma_mixes_two_losses():
  mrdr, bias = (
      expected_imputation(k, w6.ERROR) for k in ('mrdr', 'dr_bias'))
  for gamma in (0.0, 0.3, 1.0):
    got = expected_imputation('dr_mse', w6.ERROR, dr_mse_gamma=gamma)
    np.testing.assert_allclose(
        got, gamma * bias + (1 - gamma) * mrdr, rtol=1e-11)


def test_imputation_weights():
  p = np.array([0.5, 0.1])
  want = {
      'plain': 1 + 0 * p, 'dr_jl': 1 / p, 'mrdr': (1 - p) / p**2,
      'dr_bias': (1 - p) ** 2 / p**3}
  want['dr_mse'] = 0.2 * want['dr_bias'] + 0.8 * want['mrdr']
  for name, weight in want.items():
    got = imputation_weight(name, 1 / p, 0.2)
    np.testing.assert_allclose(got, weight, rtol=1e-12)
  with pytest.raises(InputError, match="'mdrd'.*Did you mean 'mrdr'"):
    imputation_weight('mdrd', 1 / p)


# Batches: none, parts, padding; options as arrays.

FORMS = [
    dict(),
    dict(error_head=True, imputation='mrdr', weight_cap=30.0),
    dict(imputation='dr_mse', dr_mse_gamma=0.3, propensity_floor=0.2),
    dict(error_head=True, imputation='dr_bias'),
]


@pytest.mark.parametrize('options', FORMS)
def test_a_batch_without_clicks(options):
  """CVR learns from its guesses alone; the imputation model nothing."""
  x, labels, where = rows()
  labels = {k: 0 * v for k, v in labels.items()}
  terms = functools.partial(doubly_robust, **options)
  total, gradient = gradients(terms, 'imputation', (x, labels, where))
  assert total == 0 and not any(map(np.any, gradient.values()))
  total, gradient = gradients(terms, 'cvr_entire', (x, labels, where))
  q, s = sigmoid(x['cvr']), sigmoid(x['imputation'])
  guess = (
      np.log1p(np.exp(x['imputation'])) if options.get('error_head')
      else w6.entropy(s, q))
  np.testing.assert_allclose(
      total, np.sum(where * guess) / where.sum(), rtol=1e-10)
  want = 0 * q if options.get('error_head') else q - s
  np.testing.assert_allclose(
      gradient['cvr'], where * want / where.sum(), atol=1e-12)


@pytest.mark.parametrize('options', FORMS[:2])
def test_parts_of_a_batch_add_up(options):
  data = rows()
  part = lambda s: jax.tree.map(lambda v: v[s], data)
  with jax.enable_x64(True):
    terms = jax.jit(functools.partial(doubly_robust, **options))
    want = terms(*data)
    parts = [terms(*part(slice(20))), terms(*part(slice(20, None)))]
    for name in want:
      np.testing.assert_allclose(
          np.add(parts[0][name], parts[1][name]), want[name], rtol=1e-12)


def test_options_as_arrays():
  """Replicas of one program differ in them."""
  data = rows(dtype=np.float32)
  numbers = dict(
      propensity_floor=[0.01, 0.3, 0.9], weight_cap=[2.0, 1e38, 50.0],
      dr_mse_gamma=[0.0, 0.4, 1.0])
  arrays = {k: jnp.asarray(v, jnp.float32) for k, v in numbers.items()}
  terms = functools.partial(doubly_robust, imputation='dr_mse')
  run = jax.jit(jax.vmap(lambda options: terms(*data, **options)))
  got = run(arrays)
  for i in range(3):
    want = terms(*data, **{k: v[i] for k, v in numbers.items()})
    for name in ('cvr_entire', 'imputation'):
      np.testing.assert_allclose(got[name][0][i], want[name][0], rtol=1e-5)


def test_weights_of_rows_for_diagnostics():
  p = np.array([0.001, 0.05, 0.5])
  np.testing.assert_allclose(
      row_weights({'ctr': p}, {})['cvr_entire'], [100, 20, 2], rtol=1e-6)
  np.testing.assert_allclose(
      row_weights(
          {'ctr': p}, {'p_ctr': p[::-1]}, propensity='true', weight_cap=10.0)[
              'cvr_entire'], [2, 10, 10], rtol=1e-6)


# Tasks.

LIKES = (*FUNNEL, Task('like', 'like', 'ctr'))


def test_terms_of_other_tasks():
  x, labels, where = rows()
  x['like'], labels['like'] = x['cvr'], labels['conversion']
  terms = doubly_robust(x, labels, where, tasks=LIKES)
  assert terms.keys() == default_weights(LIKES).keys()
  assert set(terms) == {
      'ctr', 'like_clicked', 'cvr_entire', 'imputation', 'ctcvr'}
  assert default_weights(LIKES)['ctcvr'] == 0
  for total, count in terms.values():
    assert total.shape == count.shape == ()


@pytest.mark.parametrize('tasks', [CART_FUNNEL, FUNNEL[:1]])
def test_tasks_without_cvr_after_the_click(tasks):
  with pytest.raises(InputError, match="'doubly_robust' needs the tasks ctr"):
    default_weights(tasks)


# Consistency: free outputs, trained on the expected loss of the world.


def population():
  """Rows of each impression's outcomes, weighing their probability."""
  num = len(w6.P)
  click = np.repeat([0.0, 1.0, 1.0], num)
  conversion = np.repeat([0.0, 0.0, 1.0], num)
  where = np.concatenate([
      1 - w6.P, w6.P * (1 - w6.ETA), w6.P * w6.ETA])
  return click, conversion, where


def trained(p, options, free=('cvr', 'imputation'), fixed=LABELS):
  """Returns the CVR of free outputs at the optimum, [B].

  Args:
    p: The propensity, as a column.
    options: Of the estimator.
    free: Outputs that are trained.
    fixed: Guesses of an imputation model that is not.
  """
  with jax.enable_x64(True):
    click, conversion, where = (jnp.asarray(c) for c in population())
    labels = dict(
        click=click, conversion=conversion, frozen_ctr=jnp.tile(p, 3))
    start = {k: jnp.asarray(v) for k, v in w6.logits(
        imputation=fixed).items()}

    def objective(x):
      x = {k: jnp.tile(v, 3) for k, v in (start | x).items()}
      terms = doubly_robust(
          x, labels, where, propensity='frozen', propensity_floor=1e-6,
          **options)
      return terms['cvr_entire'][0] + terms['imputation'][0]

    # Newton's method on each output by itself: the gradients are apart.
    def newton(x, _):
      g, pull = jax.linearize(jax.grad(objective), x)
      h = pull(jax.tree.map(jnp.ones_like, x))
      step = jax.tree.map(
          lambda g, h: jnp.clip(g / jnp.maximum(h, 1e-9), -1, 1), g, h)
      return jax.tree.map(jnp.subtract, x, step), None

    x = {k: start[k] for k in free}
    x, _ = jax.lax.scan(newton, x, length=60)
    return sigmoid(np.asarray(x['cvr']))


def test_right_propensity_and_a_poor_imputation_model():
  got = trained(w6.P, {}, free=('cvr',))
  np.testing.assert_allclose(got, w6.ETA, rtol=1e-9)


@pytest.mark.parametrize('imputation', IMPUTATIONS)
def test_wrong_propensity_and_an_imputation_model_that_learns(imputation):
  got = trained(w6.WRONG_P, dict(imputation=imputation))
  np.testing.assert_allclose(got, w6.ETA, rtol=1e-9)


def test_wrong_propensity_and_a_poor_imputation_model():
  """q = s + p / p' (eta - s): wrong by the product of both errors."""
  s = 0.5 * w6.ETA
  got = trained(w6.WRONG_P, {}, free=('cvr',), fixed=s)
  want = s + w6.P / w6.WRONG_P * (w6.ETA - s)
  np.testing.assert_allclose(got, want, rtol=1e-9)
  assert abs(want / w6.ETA - 1).max() > 0.2
