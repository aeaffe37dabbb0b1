"""Pseudo-labels against their formulas, enumerated over world W6."""

from esmm_jax.estimators import sampling
from esmm_jax.estimators.click_space import click_space
from esmm_jax.estimators.contract import Needs
from esmm_jax.estimators.ips import ips
from esmm_jax.estimators.losses import ROWS
from esmm_jax.estimators.pseudo_label import (
    default_weights,
    needs,
    pseudo_label,
    row_weights,
)
from esmm_jax.tasks import CART_FUNNEL, FUNNEL, Head
from esmm_jax.types import InputError
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.estimators import w6

TEACHERS = ('click_head', 'frozen', 'truth')
WEIGHTS = ('one', 'inverse', 'uncertainty')
STUDENTS = ('cvr_entire', 'second_student', 'disagreement')
UKD = dict(propensity='none', unclicked_weight='uncertainty', gamma=0.5)


def batch(seed=0, size=64):
  rng = np.random.default_rng(seed)
  x = {k: jnp.asarray(rng.normal(size=size) - 1, jnp.float32)
       for k in ('ctr', 'cvr', 'teacher', 'second_student')}
  click = rng.random(size) < 0.4
  conversion = click & (rng.random(size) < 0.3)
  columns = dict(
      click=click, conversion=conversion, frozen_cvr=rng.random(size),
      p_cvr=rng.random(size), frozen_ctr=rng.random(size))
  labels = {k: jnp.asarray(v, jnp.float32) for k, v in columns.items()}
  return x, labels, jnp.ones(size)


def expected(name, x, columns=(), **options):
  return w6.enumerated(
      w6.one_loss(pseudo_label, name, x, **options), **dict(columns)).mean


def test_ddpo_in_expectation():
  """The ideal risk on the clicked side, the teacher's on the other."""
  taught = np.array([0.02, 0.05, 0.01, 0.2, 0.1, 0.3])
  x = w6.logits(teacher=taught)
  want = (w6.RISKS + w6.entropy(taught, w6.Q)).mean()
  assert expected('cvr_entire', x) == pytest.approx(want, rel=1e-6)
  want = (w6.P * w6.entropy(w6.ETA, taught)).mean()
  assert expected('teacher', x) == pytest.approx(want, rel=1e-6)
  assert expected('second_student', x) == expected('disagreement', x) == 0


@pytest.mark.parametrize('teacher', TEACHERS)
@pytest.mark.parametrize('unclicked', ['one', 'inverse'])
def test_gamma_0_is_ips(teacher, unclicked):
  """Value and gradient, to the bit."""
  x, labels, where = batch()

  def ours(y):
    return w6.loss(
        pseudo_label(y, labels, where, teacher=teacher, gamma=0.0,
                     unclicked_weight=unclicked), {'cvr_entire': 1.0})

  def theirs(y):
    return w6.loss(ips(y, labels, where), {'cvr_clicked': 1.0})

  got, want = (jax.value_and_grad(f)(x) for f in (ours, theirs))
  assert got[0] == want[0] > 0
  for name in x:
    np.testing.assert_array_equal(got[1][name], want[1][name])


@pytest.mark.parametrize('unclicked', WEIGHTS)
@pytest.mark.parametrize('floor', [1e-6, 0.3])
def test_a_teacher_that_is_right_is_right_for_any_propensity(unclicked, floor):
  x = w6.logits(w6.WRONG_P, w6.ETA, second_student=w6.Q)
  function = w6.gradient(
      pseudo_label, 'cvr_entire', x, teacher='truth', propensity_floor=floor,
      unclicked_weight=unclicked)
  gradients = w6.enumerated(function, p_cvr=w6.ETA).mean
  for gradient in gradients.values():
    np.testing.assert_allclose(gradient, 0, atol=1e-14)


@pytest.mark.parametrize(
    'predicted, q', [(0.02, 0.0066438), (0.04, 0.0075), (0.08, 0.0083803)])
def test_fixed_point_of_a_teacher_that_is_twice_too_high(predicted, q):
  """(a eta + b c) / (a + b), a = p / p', b = (1 - p) / (1 - p')."""
  value = lambda x, labels: w6.loss(
      pseudo_label(x, labels, np.ones(1), teacher='frozen',
                   propensity='frozen'), {'cvr_entire': 1.0})
  got = w6.fixed_point(
      value, dict(ctr=[0.5], cvr=[0.1]), np.array([0.04]), np.array([0.005]),
      rate=0.3, steps=200, frozen_cvr=[0.01], frozen_ctr=[predicted])
  assert got['cvr'] == pytest.approx(q, abs=1e-7)


def test_fixed_point_of_a_click_head_is_the_truth():
  """The teacher learns eta from clicked rows, so the student does too."""
  names = ('ctr', 'cvr', 'teacher')
  value = lambda x, labels: w6.loss(
      pseudo_label(x, labels, np.ones(1)), default_weights(FUNNEL))
  got = w6.fixed_point(
      value, {k: [0.1] for k in names}, np.array([0.04]), np.array([0.005]),
      rate=0.4, steps=1500)
  assert [float(got[k][0]) for k in names] == pytest.approx(
      [0.04, 0.005, 0.005], rel=1e-6)


@pytest.mark.parametrize('unclicked', WEIGHTS)
def test_the_student_does_not_move_the_teacher_or_the_propensity(unclicked):
  x, labels, where = batch()
  for name in STUDENTS:
    value = lambda y, k=name: pseudo_label(
        y, labels, where, unclicked_weight=unclicked)[k][0]
    gradient = jax.grad(value)(x)
    assert not np.any(gradient['teacher'])
    assert not np.any(gradient['ctr'])
  gradient = jax.grad(
      lambda y: pseudo_label(y, labels, where)['teacher'][0])(x)
  clicked = np.asarray(labels['click']) > 0
  assert not np.any(gradient['teacher'][~clicked])
  np.testing.assert_allclose(
      gradient['teacher'][clicked],
      (jax.nn.sigmoid(x['teacher']) - labels['conversion'])[clicked],
      rtol=1e-6, atol=1e-7)
  assert not any(np.any(gradient[k]) for k in ('ctr', 'cvr', 'second_student'))


def test_weights_1_and_a_teacher_of_0_are_aman():
  """All unclicked impressions as negatives; value and gradient to the bit."""
  x, labels, where = batch()
  labels['frozen_cvr'] = jnp.zeros_like(where)
  rows = sampling.cvr_rows(labels, 0.5 * where, sampling.Sampling(1.0))

  def ours(y):
    return w6.loss(
        pseudo_label(y, labels, where, teacher='frozen', propensity='none',
                     unclicked_weight='one', gamma=1.0), {'cvr_entire': 1.0})

  def theirs(y):
    counted = labels | {f'cvr_clicked{ROWS}': rows}
    return w6.loss(click_space(y, counted, where), {'cvr_clicked': 1.0})

  got, want = (jax.value_and_grad(f)(x) for f in (ours, theirs))
  assert got[0] == want[0]
  np.testing.assert_array_equal(got[1]['cvr'], want[1]['cvr'])


def divergence(q, other):
  return q * np.log(q / other) + (1 - q) * np.log((1 - q) / (1 - other))


def test_ukd_against_its_formula():
  """In float64, both students, and the size of their disagreement."""
  x, labels, where = batch()
  terms = pseudo_label(
      x, labels, where, teacher='frozen', uncertainty_ratio=30.0, **UKD)
  q, other = (1 / (1 + np.exp(-np.float64(x[k])))
              for k in ('cvr', 'second_student'))
  o, r, c = (np.float64(labels[k])
             for k in ('click', 'conversion', 'frozen_cvr'))
  for name, one, two in (
      ('cvr_entire', q, other), ('second_student', other, q)):
    weight = np.exp(-30 * divergence(one, two))
    losses = o * w6.entropy(r, one)
    losses += 0.5 * (1 - o) * weight * w6.entropy(c, one)
    np.testing.assert_allclose(terms[name][0], losses.sum(), rtol=1e-5)
  both = divergence(q, other) + divergence(other, q)
  np.testing.assert_allclose(terms['disagreement'][0], both.sum(), rtol=1e-5)
  assert all(count == 64 for _, count in terms.values())


def test_the_uncertainty_has_no_gradient():
  """Each student's is that of its own cross-entropies, times the weight."""
  x, labels, where = batch()
  gradient = jax.grad(lambda y: pseudo_label(
      y, labels, where, teacher='frozen', **UKD)['cvr_entire'][0])(x)
  assert not np.any(gradient['second_student'])
  q, other = (1 / (1 + np.exp(-np.float64(x[k])))
              for k in ('cvr', 'second_student'))
  o, r, c = (np.float64(labels[k])
             for k in ('click', 'conversion', 'frozen_cvr'))
  weight = np.exp(-100 * divergence(q, other))
  want = o * (q - r) + 0.5 * (1 - o) * weight * (q - c)
  np.testing.assert_allclose(gradient['cvr'], want, rtol=1e-4, atol=1e-6)


def test_students_that_agree_are_certain():
  """Weight 1: the loss of `one`, and a disagreement of 0."""
  x, labels, where = batch()
  x['second_student'] = x['cvr']
  run = lambda weight: pseudo_label(
      x, labels, where, propensity='none', unclicked_weight=weight)
  agreed, plain = run('uncertainty'), run('one')
  assert agreed['cvr_entire'] == agreed['second_student'] == plain['cvr_entire']
  assert agreed['disagreement'][0] == 0
  gradient = jax.grad(lambda y: pseudo_label(
      y, labels, where, **UKD)['disagreement'][0])(x)
  assert not any(np.any(g) for g in gradient.values())


def test_no_rounding_makes_a_weight_above_1():
  """Divergences of students that nearly agree, times a large ratio."""
  x, labels, where = batch()
  x['second_student'] = x['cvr'] * (1 + 2e-7 * jnp.arange(-32.0, 32.0) / 32)
  run = lambda weight, **options: pseudo_label(
      x, labels, where, propensity='none', unclicked_weight=weight, **options)
  most = run('one')['cvr_entire'][0]
  assert run('uncertainty', uncertainty_ratio=1e8)['cvr_entire'][0] <= most


@pytest.mark.parametrize('teacher', TEACHERS)
def test_terms_that_the_options_leave_out_are_0(teacher):
  terms = pseudo_label(*batch(), teacher=teacher)
  left_out = {k for k, (total, _) in terms.items() if total == 0}
  assert left_out == {'second_student', 'disagreement'} | (
      set() if teacher == 'click_head' else {'teacher'})
  assert set(terms) == set(default_weights(FUNNEL))
  assert all(count == 64 for _, count in terms.values())


@pytest.mark.parametrize('unclicked', WEIGHTS)
@pytest.mark.parametrize('click', [0.0, 1.0])
@pytest.mark.parametrize('logit', [-30.0, 30.0])
def test_batches_of_one_kind_are_finite(click, logit, unclicked):
  """No clicks, or clicks alone, where the propensity says the opposite."""
  x, labels, where = batch()
  x['ctr'] = jnp.full_like(x['ctr'], logit)
  x['cvr'], x['second_student'] = 1e4 * x['cvr'], -1e4 * x['cvr']
  labels |= dict(click=jnp.full_like(where, click), conversion=0 * where)
  value = lambda y: w6.loss(
      pseudo_label(y, labels, where, unclicked_weight=unclicked))
  loss, gradient = jax.value_and_grad(value)(x)
  assert np.isfinite(loss)
  assert all(np.isfinite(g).all() for g in gradient.values())


@pytest.mark.parametrize('propensity', ['none', 'own', 'frozen'])
def test_row_weights_are_those_of_the_loss(propensity):
  x, labels, where = batch()
  options = dict(propensity=propensity, propensity_floor=0.3)
  clicked = np.asarray(labels['click']) > 0
  p = {'ctr': np.asarray(jax.nn.sigmoid(x['ctr']))}
  (weights,) = row_weights(p, labels, **options).values()
  slope = jax.grad(lambda y: pseudo_label(
      y, labels, where, unclicked_weight='one', **options)['cvr_entire'][0])(x)
  error = jax.nn.sigmoid(x['cvr']) - labels['conversion']
  np.testing.assert_allclose(
      slope['cvr'][clicked], (weights * error)[clicked], rtol=1e-5)


@pytest.mark.parametrize('options, heads, truth, frozen', [
    ({}, ('teacher',), (), ()),
    (dict(unclicked_weight='uncertainty'), ('teacher', 'second_student'),
     (), ()),
    (dict(teacher='truth', propensity='true'), (), ('p_cvr', 'p_ctr'), ()),
    (dict(teacher='frozen', propensity='frozen'), (), (), ('cvr', 'ctr')),
    (dict(teacher='frozen', propensity='none', unclicked_weight='uncertainty'),
     ('second_student',), (), ('cvr',)),
], ids=str)
def test_needs(options, heads, truth, frozen):
  heads = tuple(Head(name, like='cvr') for name in heads)
  trained = ('ctr',) if 'propensity' not in options else ()
  trained += ('teacher',) if 'teacher' not in options else ()
  assert needs(**options) == Needs(heads, truth, frozen, trained=trained)


def test_what_is_refused():
  with pytest.raises(InputError, match='unclicked_weight is .inverse.*none'):
    pseudo_label(*batch(), propensity='none')
  with pytest.raises(InputError, match='unclicked_weight is .inverse.*none'):
    needs(propensity='none')
  for option, words in (
      ('teacher', 'teacher is .truht.*Did you mean .truth'),
      ('unclicked_weight', 'unclicked_weight is .truht.*uncertainty'),
      ('propensity', 'propensity is .truht.*own')):
    with pytest.raises(InputError, match=words):
      pseudo_label(*batch(), **{option: 'truht'})
  with pytest.raises(InputError, match='pseudo_label.*right after it'):
    default_weights(CART_FUNNEL)
