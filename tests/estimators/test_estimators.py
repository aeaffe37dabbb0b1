"""Estimators against the formulas of their docstrings in float64."""

import functools
import itertools
import math

from esmm_jax.balancing import static as balancing
from esmm_jax.estimators import ESTIMATORS
from esmm_jax.estimators.click_space import click_space
from esmm_jax.estimators.conversion_if_clicked import conversion_if_clicked
from esmm_jax.estimators.entire_space import entire_space
from esmm_jax.estimators.funnel import joint_logit
from esmm_jax.estimators.losses import cross_entropy, sum_and_count
from esmm_jax.tasks import FUNNEL
from esmm_jax.types import InputError
from hypothesis import given, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

EXTREMES = [0.0, -0.0, 1e-6, -0.3, 0.7, -2.0, 3.0, -12.0, 17.0,
            50.0, -50.0, 88.0, -88.0, 1e4, -1e4]
GRID = [np.ravel(x) for x in np.meshgrid(EXTREMES, EXTREMES)]


def sigmoid(x):
  return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))


# The log-odds of both events.


def joint_logit64(a, b):
  """-log(e^-a + e^-b + e^-(a+b)) in float64."""
  return -np.logaddexp(np.logaddexp(-a, -b), -a - b)


def test_joint_logit_is_the_log_odds_of_the_product():
  """In the range where float64 still holds the probabilities."""
  for a, b in itertools.product([-3.0, -0.4, 0.0, 1.1, 4.0], repeat=2):
    pq = sigmoid(a) * sigmoid(b)
    np.testing.assert_allclose(
        joint_logit(jnp.float32(a), jnp.float32(b)),
        math.log(pq / (1 - pq)), rtol=1e-6, atol=1e-6)


def test_joint_logit_over_a_grid():
  a, b = GRID
  got = joint_logit(jnp.float32(a), jnp.float32(b))
  assert got.dtype == jnp.float32
  np.testing.assert_allclose(got, joint_logit64(a, b), rtol=1e-6, atol=1e-6)


def test_gradient_of_joint_logit_over_a_grid():
  """dc/da = (1 - p) / (1 - pq) = sigmoid(softplus(b) - a), and so for b."""
  a, b = GRID
  total = lambda a, b: joint_logit(a, b).sum()
  got = jax.grad(total, argnums=(0, 1))(jnp.float32(a), jnp.float32(b))
  softplus = lambda x: np.logaddexp(0, x)
  # 1 / (1 + e^-x), without overflow.
  s = lambda x: np.exp(-np.logaddexp(0, -x))
  for gradient, want in zip(got, (s(softplus(b) - a), s(softplus(a) - b))):
    # At 1e4 float32 numbers are 1e-3 apart, and so are logits.
    np.testing.assert_allclose(gradient, want, rtol=2e-3, atol=1e-30)
    near = (abs(a) < 100) & (abs(b) < 100)
    np.testing.assert_allclose(
        gradient[near], want[near], rtol=2e-5, atol=1e-30)


def test_gradient_of_joint_logit_from_probabilities():
  """The same formula in the form that the paper's notation gives."""
  for a, b in itertools.product([-5.0, -1.0, 0.0, 2.0], repeat=2):
    p, q = sigmoid(a), sigmoid(b)
    got = jax.grad(joint_logit, argnums=(0, 1))(a, b)
    want = ((1 - p) / (1 - p * q), (1 - q) / (1 - p * q))
    np.testing.assert_allclose(got, want, rtol=1e-5)


@given(st.floats(-1e4, 1e4, width=32), st.floats(-1e4, 1e4, width=32))
def test_joint_logit_is_symmetric_and_below_both(a, b):
  c = float(joint_logit(a, b))
  assert c == float(joint_logit(b, a))
  assert c <= min(a, b) + 1e-6 * abs(min(a, b))


def naive_loss(a, b, conversion):
  """The form in other libraries: a float32 product, clipped as by Keras."""
  pq = jnp.clip(jax.nn.sigmoid(a) * jax.nn.sigmoid(b), 1e-7, 1 - 1e-7)
  return -jnp.where(conversion, jnp.log(pq), jnp.log(1 - pq))


def our_loss(a, b, conversion):
  return cross_entropy(joint_logit(a, b), conversion)


@pytest.mark.parametrize(
    'a, b, conversion, loss, gradient',
    [
        # -log pq = softplus(9) + softplus(9); d/db = -(1 - q).
        (-9.0, -9.0, 1.0, 2 * np.logaddexp(0, 9), -sigmoid(9)),
        (-60.0, -60.0, 1.0, 120.0, -1.0),
        # -log(1 - pq) = -log(1 - p + p(1 - q)) ~ 20 - log 2; d/db ~ 1/2.
        (20.0, 20.0, 0.0, 20 - math.log(2), 0.5),
        (60.0, 60.0, 0.0, 60 - math.log(2), 0.5),
    ],
)
def test_where_a_product_of_probabilities_fails(
    a, b, conversion, loss, gradient
):
  """The product has no gradient left there; ours has the right one."""
  ours = jax.value_and_grad(our_loss, argnums=1)(a, b, conversion)
  np.testing.assert_allclose(ours, (loss, gradient), rtol=2e-5)
  naive = jax.value_and_grad(naive_loss, argnums=1)(a, b, conversion)
  assert abs(float(naive[0]) - loss) > 1
  assert float(naive[1]) == 0


def test_products_without_clipping_are_not_finite():
  loss = lambda b: -jnp.log(jax.nn.sigmoid(-60.0) * jax.nn.sigmoid(b))
  value, gradient = jax.value_and_grad(loss)(-60.0)
  assert not np.isfinite(value) and not np.isfinite(gradient)


# Terms against formulas. Rows: unclicked, clicked, conversion without click (a
# label that no log should hold; it is in no clicked space), converted, padding.

A = [-1.2, 0.4, 2.0, -0.6, 0.9, 7.0]
B = [0.3, -2.2, 1.5, 0.1, -1.0, -9.0]
CLICK = [0, 1, 0, 1, 1, 1]
CONVERSION = [0, 0, 1, 1, 0, 1]
IF_CLICKED = [1, 0, 1, 1, 0, 1]
UNIFORM = [0.5, 0.01, 0.3, 0.03, 0.9, 0.2]
WHERE = [1, 1, 1, 1, 1, 0]


def arrays(*columns):
  return tuple(jnp.array(c, jnp.float32) for c in columns)


def inputs(a=A, b=B, click=CLICK, conversion=CONVERSION, where=WHERE):
  fill = lambda column: (column * len(a))[: len(a)]
  a, b, click, conversion, if_clicked, uniform, where = arrays(
      a, b, click, conversion, fill(IF_CLICKED), fill(UNIFORM), where)
  labels = dict(
      click=click, conversion=conversion, conversion_if_clicked=if_clicked,
      uniform=uniform)
  return dict(ctr=a, cvr=b), labels, where


def bce(p, y):
  return -math.log(p) if y else -math.log(1 - p)


def total(rows, loss):
  return sum(loss(i) for i in rows)


P, Q = [sigmoid(a) for a in A], [sigmoid(b) for b in B]
REAL, CLICKED = range(5), [1, 3, 4]
CTR = (total(REAL, lambda i: bce(P[i], CLICK[i])), 5)
CTCVR = (total(REAL, lambda i: bce(P[i] * Q[i], CONVERSION[i])), 5)
CVR_SUM = total(CLICKED, lambda i: bce(Q[i], CONVERSION[i]))
CVR_ENTIRE = (total(REAL, lambda i: bce(Q[i], IF_CLICKED[i])), 5)


@pytest.mark.parametrize(
    'terms, expected',
    [
        (entire_space,
         dict(ctr=CTR, ctcvr=CTCVR, cvr_clicked=(CVR_SUM, 3))),
        (functools.partial(entire_space, cvr_normalization='clicks'),
         dict(ctr=CTR, ctcvr=CTCVR, cvr_clicked=(CVR_SUM, 3))),
        (functools.partial(entire_space, cvr_normalization='impressions'),
         dict(ctr=CTR, ctcvr=CTCVR, cvr_clicked=(CVR_SUM, 5))),
        (click_space, dict(ctr=CTR, cvr_clicked=(CVR_SUM, 3))),
        (functools.partial(click_space, cvr_normalization='impressions'),
         dict(ctr=CTR, cvr_clicked=(CVR_SUM, 5))),
        (conversion_if_clicked, dict(ctr=CTR, cvr_entire=CVR_ENTIRE)),
    ],
)
def test_terms(terms, expected):
  got = terms(*inputs())
  assert got.keys() == expected.keys()
  for name in expected:
    np.testing.assert_allclose(got[name], expected[name], rtol=1e-5)


@pytest.mark.parametrize('terms', [entire_space, click_space])
def test_unknown_normalization(terms):
  with pytest.raises(InputError, match="'click'.*Did you mean 'clicks'"):
    terms(*inputs(), cvr_normalization='click')


@pytest.mark.parametrize('x', [0.0, 0.7, -3.0, 50.0, -50.0, 88.0, 1e4, -1e4])
@pytest.mark.parametrize('y', [0.0, 1.0])
def test_cross_entropy(x, y):
  """softplus(-x) for a 1 and softplus(x) for a 0; gradient p - y."""
  loss, gradient = jax.value_and_grad(cross_entropy)(x, y)
  np.testing.assert_allclose(
      loss, np.logaddexp(0, -x if y else x), rtol=1e-6, atol=1e-6)
  np.testing.assert_allclose(
      gradient, -sigmoid(-x) if y else sigmoid(x), rtol=1e-6, atol=1e-7)


def test_sum_and_count_of_nothing():
  assert sum_and_count(*arrays([3.0, math.nan], [0, 0])) == (0, 0)


# Those that need the log alone, with every option; test_conformance has all.

LOG_ALONE = ('entire_space', 'click_space', 'end_to_end', 'unbias',
             'conversion_if_clicked')
CASES = {
    f'{name}{options or ""}': (ESTIMATORS[name], options)
    for name in LOG_ALONE
    for options in (
        [{}, {'cvr_normalization': 'impressions'}]
        if name in ('click_space', 'entire_space')
        else [{}, {'form': 'weighting'}]
        if name == 'unbias'
        else [{}]
    )
}


@pytest.fixture(params=CASES)
def estimator(request):
  objective, options = CASES[request.param]
  return objective._replace(
      terms=functools.partial(objective.terms, **options))


def loss(estimator, logits, labels, where):
  """As the train step has it, all weights 1."""
  terms = estimator.terms(logits, labels, where)
  coefficients = balancing.static(
      {k: n for k, (_, n) in terms.items()}, dict.fromkeys(terms, 1.0))
  return sum(coefficients[k] * terms[k][0] for k in terms)


def test_terms_are_those_declared(estimator):
  logits, labels, where = inputs()
  declared = {'click', 'conversion'}
  if estimator.needs:
    declared |= {*estimator.needs().truth_labels}
  if estimator.needs_uniform:
    declared.add('uniform')
  labels = {k: v for k, v in labels.items() if k in declared}
  terms = estimator.terms(logits, labels, where)
  assert set(terms) == set(estimator.weights(FUNNEL))
  assert any(estimator.weights(FUNNEL).values())
  for total, count in terms.values():
    assert total.shape == count.shape == ()
    assert total.dtype == count.dtype == jnp.float32


def test_counts_do_not_depend_on_logits(estimator):
  logits, labels, where = inputs()
  zeros = jax.tree.map(jnp.zeros_like, logits)
  counts = lambda x: {
      k: float(n) for k, (_, n) in estimator.terms(x, labels, where).items()}
  assert counts(logits) == counts(zeros)


def test_the_order_of_examples_does_not_matter(estimator):
  order = [4, 2, 5, 0, 3, 1]
  logits, labels, where = inputs()
  want = estimator.terms(logits, labels, where)
  shuffle = lambda tree: jax.tree.map(lambda x: x[jnp.array(order)], tree)
  got = estimator.terms(*shuffle((logits, labels, where)))
  for name in want:
    np.testing.assert_allclose(got[name], want[name], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('cut', [1, 3, 5])
def test_parts_of_a_batch_add_up(estimator, cut):
  """So a batch may be worked through in parts, and evaluated in any."""
  whole = inputs()
  parts = [jax.tree.map(lambda x, s=s: x[s], whole)
           for s in (slice(cut), slice(cut, None))]
  want = estimator.terms(*whole)
  one, two = (estimator.terms(*p) for p in parts)
  for name in want:
    np.testing.assert_allclose(
        np.add(one[name], two[name]), want[name], rtol=1e-6)


@pytest.mark.parametrize('garbage', [0.0, 3.3, 88.0, -1e4, 1e30])
def test_masked_rows_take_no_part(estimator, garbage):
  """Whatever their logits and labels; the gradient at them is 0."""
  run = lambda g: jax.value_and_grad(functools.partial(loss, estimator))(
      *inputs(a=A[:5] + [g], b=B[:5] + [-g], conversion=CONVERSION[:5] + [g]))
  (value, gradient), (want, want_gradient) = run(garbage), run(1.0)
  assert value == want and np.isfinite(value)
  for task in ('ctr', 'cvr'):
    np.testing.assert_array_equal(gradient[task], want_gradient[task])
    assert gradient[task][5] == 0


def test_masked_nan_does_not_reach_the_value_or_other_rows(estimator):
  """The gradient at the masked row itself is nan: 0 times nan.

  No padded row of ours has nan logits: padding repeats an example's ids.
  """
  run = lambda g: jax.value_and_grad(functools.partial(loss, estimator))(
      *inputs(a=A[:5] + [g], b=B[:5] + [g]))
  (value, gradient), (want, want_gradient) = run(math.nan), run(1.0)
  assert value == want
  for task in ('ctr', 'cvr'):
    np.testing.assert_array_equal(
        gradient[task][:5], want_gradient[task][:5])


@pytest.mark.parametrize('scale', [1.0, 50.0, 1e4])
def test_gradients_are_finite(estimator, scale):
  a, b = (scale * np.sign(x) for x in (A, B))
  value, gradient = jax.value_and_grad(functools.partial(loss, estimator))(
      *inputs(a=a, b=b))
  assert np.isfinite(value)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))


def test_a_batch_without_clicks(estimator):
  """`cvr_clicked` adds 0, its gradient is 0, and nothing is nan."""
  logits, labels, where = inputs(click=[0] * 6, conversion=[0] * 6)

  def part(logits, name):
    terms = estimator.terms(logits, labels, where)
    counts = {k: n for k, (_, n) in terms.items()}
    coefficients = balancing.static(counts, dict.fromkeys(terms, 1.0))
    return coefficients[name] * terms[name][0]

  for name in estimator.weights(FUNNEL):
    value, gradient = jax.value_and_grad(part)(logits, name)
    assert np.isfinite(value)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
    if name == 'cvr_clicked':
      assert value == 0 and not np.any(gradient['cvr'])
    else:
      assert value > 0


def test_nothing_masked_in(estimator):
  value, gradient = jax.value_and_grad(functools.partial(loss, estimator))(
      *inputs(where=[0] * 6))
  assert value == 0
  assert not any(np.any(x) for x in jax.tree.leaves(gradient))


def test_jit_and_vmap(estimator):
  """As the step runs it: jit over replicas that share the labels."""
  logits, labels, where = inputs()
  want = estimator.terms(logits, labels, where)
  other = jax.tree.map(lambda x: x - 0.5, logits)
  stacked = jax.tree.map(lambda *x: jnp.stack(x), logits, other)
  run = jax.jit(jax.vmap(estimator.terms, in_axes=(0, None, None)))
  got = run(stacked, labels, where)
  want_other = estimator.terms(other, labels, where)
  for name in want:
    np.testing.assert_allclose(
        np.stack(np.broadcast_arrays(*got[name]))[:, 0], want[name], rtol=1e-6)
    np.testing.assert_allclose(
        np.stack(np.broadcast_arrays(*got[name]))[:, 1], want_other[name],
        rtol=1e-6)


# The expectation over what may happen, by enumeration.

TRUE_P, TRUE_Q = [0.3, 0.8, 0.05], [0.6, 0.1, 0.9]


def outcomes():
  """All (probability, click, conversion if clicked) of three impressions."""
  for o in itertools.product([0, 1], repeat=3):
    for r in itertools.product([0, 1], repeat=3):
      weight = math.prod(
          (p if x else 1 - p) * (q if y else 1 - q)
          for p, q, x, y in zip(TRUE_P, TRUE_Q, o, r))
      yield weight, o, r


def expected_sums(terms):
  weights, o, r = (np.array(x, np.float64) for x in zip(*outcomes()))
  logits = {'ctr': jnp.float32(A[:3]), 'cvr': jnp.float32(B[:3])}
  labels = {
      'click': jnp.float32(o),
      'conversion': jnp.float32(o * r),
      'conversion_if_clicked': jnp.float32(r),
  }
  run = jax.vmap(lambda y: terms(logits, y, jnp.ones(3)))
  return {k: float(weights @ np.float64(s))
          for k, (s, _) in run(labels).items()}


def entropy(truth, p):
  return -truth * math.log(p) - (1 - truth) * math.log(1 - p)


def test_expected_losses():
  """Closed forms: CVR on clicks is weighted by the click probability."""
  rows = list(zip(P[:3], Q[:3], TRUE_P, TRUE_Q))
  got = expected_sums(entire_space)
  want = dict(
      ctr=sum(entropy(tp, p) for p, _, tp, _ in rows),
      ctcvr=sum(entropy(tp * tq, p * q) for p, q, tp, tq in rows),
      cvr_clicked=sum(tp * entropy(tq, q) for _, q, tp, tq in rows),
  )
  assert got == pytest.approx(want, rel=1e-5)
  got = expected_sums(conversion_if_clicked)
  want = dict(
      ctr=want['ctr'],
      cvr_entire=sum(entropy(tq, q) for _, q, _, tq in rows),
  )
  assert got == pytest.approx(want, rel=1e-5)


def test_gradients_of_esmm_in_closed_form():
  """CVR logit: pq(1 - q)/(1 - pq) where there is no conversion, clicked or not,

  and -(1 - q) where there is one; CTR gets the mirror image from this term.
  """
  logits, labels, where = inputs()
  one = lambda x: entire_space(x, labels, where)['ctcvr'][0]
  gradient = jax.grad(one)(logits)
  for i in REAL:
    p, q = P[i], Q[i]
    none, some = (1 - q) / (1 - p * q), (1 - p) / (1 - p * q)
    want_cvr = -(1 - q) if CONVERSION[i] else p * q * none
    want_ctr = -(1 - p) if CONVERSION[i] else p * q * some
    np.testing.assert_allclose(gradient['cvr'][i], want_cvr, rtol=1e-5)
    np.testing.assert_allclose(gradient['ctr'][i], want_ctr, rtol=1e-5)
  assert not CLICK[0] and gradient['cvr'][0] > 0


@pytest.mark.parametrize('terms', [click_space, entire_space])
def test_unclicked_rows_teach_cvr_on_clicks_nothing(terms):
  logits, labels, where = inputs()
  one = lambda x: terms(x, labels, where)['cvr_clicked'][0]
  gradient = jax.grad(one)(logits)
  assert not np.any(gradient['ctr'])
  for i in range(6):
    want = Q[i] - CONVERSION[i] if i in CLICKED else 0
    np.testing.assert_allclose(gradient['cvr'][i], want, rtol=1e-5)
