"""ChorusCVR against its formula, enumerated over all outcomes of world W6."""

from esmm_jax.estimators.chorus import (
    chorus,
    default_weights,
    needs,
    row_weights,
)
from esmm_jax.estimators.contract import Needs
from esmm_jax.estimators.entire_space import entire_space
from esmm_jax.tasks import CART_FUNNEL, FUNNEL, Head
from esmm_jax.types import InputError
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.estimators import w6

TERMS = tuple(default_weights(FUNNEL))
WEIGHTED = ('cvr_clicked', 'no_conversion_clicked', 'alignment')
U = np.array([0.95, 0.9, 0.99, 0.8, 0.97, 0.6])


def mean(name, x, **options):
  return w6.enumerated(w6.one_loss(chorus, name, x, **options)).mean


def test_terms():
  assert TERMS == (
      'ctr', 'cvr_clicked', 'ctcvr', 'ct_no_conversion',
      'no_conversion_clicked', 'alignment')
  assert set(default_weights(FUNNEL).values()) == {1.0}


def test_expected_values():
  x = w6.logits(no_conversion=U)
  p, eta, q = w6.P, w6.ETA, w6.Q
  want = dict(
      ctr=w6.entropy(p, p).mean(),
      ctcvr=w6.entropy(p * eta, p * q).mean(),
      cvr_clicked=0.235337,
      ct_no_conversion=w6.entropy(p * (1 - eta), p * U).mean(),
      no_conversion_clicked=w6.entropy(1 - eta, U).mean(),
      alignment=2 * (w6.entropy(1 - U, q) + w6.entropy(1 - q, U)).mean(),
  )
  for name in TERMS:
    assert mean(name, x) == pytest.approx(want[name], abs=1e-6), name


def test_every_gradient_is_0_at_the_truth():
  """Term by term, on every output."""
  x = w6.logits(w6.P, w6.ETA, no_conversion=1 - w6.ETA)
  for name in TERMS:
    got = w6.enumerated(w6.gradient(chorus, name, x)).mean
    assert got.keys() == {'ctr', 'cvr', 'no_conversion'}
    for gradient in got.values():
      np.testing.assert_allclose(gradient, 0, atol=1e-14)


def test_a_wrong_propensity_moves_no_weighted_term_from_the_truth():
  x = w6.logits(w6.WRONG_P, w6.ETA, no_conversion=1 - w6.ETA)
  for name in WEIGHTED:
    for gradient in w6.enumerated(w6.gradient(chorus, name, x)).mean.values():
      np.testing.assert_allclose(gradient, 0, atol=1e-14)


def halves(x):
  """Returns the alignment of clicked and of unclicked rows, by their labels."""

  def function(labels):
    return {
        part: chorus(x, labels, rows)['alignment'][0]
        for part, rows in (
            ('clicked', labels['click']), ('unclicked', 1 - labels['click']))}

  return function


def test_alignment_weighs_either_side_as_one():
  """Both labels 1/2 and both outputs 1/2: a loss of 2 log 2 a row."""
  x = w6.logits(w6.P, np.full(6, 0.5), no_conversion=np.full(6, 0.5))
  for total in w6.enumerated(halves(x)).mean.values():
    assert total / (6 * 2 * np.log(2)) == pytest.approx(1, rel=1e-6)


def test_soft_labels_have_no_gradient():
  """With one it would be -.02634 on u at eta = .005, on either side."""
  p, eta = np.array([0.04]), np.array([0.005])
  x = w6.logits(p, eta, no_conversion=1 - eta)

  def with_gradient(labels):
    """The same two cross-entropies, whose labels move with the outputs."""
    def total(y, rows):
      q, u = jax.nn.sigmoid(y['cvr']), jax.nn.sigmoid(y['no_conversion'])
      losses = -((1 - u) * jnp.log(q) + u * jnp.log(1 - q)
                 + (1 - q) * jnp.log(u) + q * jnp.log(1 - u))
      o = labels['click']
      return jnp.sum(rows * losses * (o / p + (1 - o) / (1 - p)))
    grad = jax.grad(total)
    return [grad(x, r)['no_conversion'][0]
            for r in (labels['click'], 1 - labels['click'])]

  wrong = w6.enumerated(with_gradient, p, eta).mean
  np.testing.assert_allclose(wrong, -0.02634, atol=1e-5)
  np.testing.assert_allclose(
      wrong, 0.005 * 0.995 * (np.log(0.005) - np.log(0.995)), rtol=1e-9)
  ours = lambda labels: [
      jax.grad(lambda y, part=part: halves(y)(labels)[part])(x)
      for part in ('clicked', 'unclicked')]
  for part in w6.enumerated(ours, p, eta).mean:
    for gradient in part.values():
      np.testing.assert_allclose(gradient, 0, atol=1e-15)


def test_alignment_in_closed_form():
  """Gradient on cvr: weight (q - (1 - u)); on no_conversion its mirror."""
  x, labels, where = batch()
  gradient = jax.grad(lambda y: chorus(y, labels, where)['alignment'][0])(x)
  p, q, u = (jax.nn.sigmoid(x[k]) for k in ('ctr', 'cvr', 'no_conversion'))
  weight = jnp.where(labels['click'] > 0, 1 / p, 1 / (1 - p))
  for name in ('cvr', 'no_conversion'):
    np.testing.assert_allclose(
        gradient[name], weight * (q + u - 1), rtol=1e-4, atol=1e-5)
  assert not np.any(gradient['ctr'])


def batch(seed=0, size=64):
  rng = np.random.default_rng(seed)
  x = {k: jnp.asarray(rng.normal(size=size) + mean, jnp.float32)
       for k, mean in (('ctr', -1), ('cvr', -1), ('no_conversion', 1))}
  click = rng.random(size) < 0.4
  conversion = click & (rng.random(size) < 0.3)
  labels = dict(click=jnp.asarray(click, jnp.float32),
                conversion=jnp.asarray(conversion, jnp.float32))
  return x, labels, jnp.ones(size)


def test_no_conversion_is_esmm_with_the_other_label():
  """Value and gradient of the joint term, to the bit."""
  x, labels, where = batch()
  mirror = labels | {'conversion': labels['click'] - labels['conversion']}

  def ours(a, b):
    outputs = dict(ctr=a, cvr=0 * b, no_conversion=b)
    return chorus(outputs, labels, where)['ct_no_conversion'][0]

  def theirs(a, b):
    return entire_space(dict(ctr=a, cvr=b), mirror, where)['ctcvr'][0]

  got, want = (
      jax.value_and_grad(f, (0, 1))(x['ctr'], x['no_conversion'])
      for f in (ours, theirs))
  assert got[0] == want[0]
  for one, other in zip(got[1], want[1]):
    np.testing.assert_array_equal(one, other)


def test_the_two_clicked_terms_are_mirror_images():
  x, labels, where = batch()
  mirror = labels | {'conversion': labels['click'] - labels['conversion']}
  swapped = dict(ctr=x['ctr'], cvr=x['no_conversion'], no_conversion=x['cvr'])
  one, other = chorus(x, labels, where), chorus(swapped, mirror, where)
  for name, image in (('cvr_clicked', 'no_conversion_clicked'),
                      ('ctcvr', 'ct_no_conversion'),
                      ('alignment', 'alignment')):
    assert one[name] == other[image] and one[image] == other[name]


def test_free_heads_end_at_the_truth():
  """CTR too: no loss pays for a higher propensity."""
  value = lambda x, labels: w6.loss(
      chorus(x, labels, np.ones(1)), default_weights(FUNNEL))
  start = dict(ctr=[0.1], cvr=[0.1], no_conversion=[0.9])
  got = w6.fixed_point(
      value, start, np.array([0.04]), np.array([0.005]), rate=0.3, steps=300)
  assert got['ctr'] == pytest.approx(0.04, rel=1e-8)
  assert got['cvr'] == pytest.approx(0.005, rel=1e-8)
  assert got['no_conversion'] == pytest.approx(0.995, rel=1e-8)


def test_no_gradient_reaches_the_propensity():
  x, labels, where = batch()
  for name in WEIGHTED:
    gradient = jax.grad(lambda y, k=name: chorus(y, labels, where)[k][0])(x)
    assert not np.any(gradient['ctr'])
    assert any(np.any(g) for g in gradient.values())


@pytest.mark.parametrize('click', [0.0, 1.0])
@pytest.mark.parametrize('logit', [-30.0, 0.0, 30.0])
def test_batches_of_one_kind_are_finite(click, logit):
  """No clicks, or clicks alone, where the propensity says the opposite."""
  x, labels, where = batch()
  x['ctr'] = jnp.full_like(x['ctr'], logit)
  labels = dict(click=jnp.full_like(where, click), conversion=0 * where)
  value = lambda y: w6.loss(chorus(y, labels, where))
  loss, gradient = jax.value_and_grad(value)(x)
  assert np.isfinite(loss)
  assert all(np.isfinite(g).all() for g in gradient.values())
  if not click:
    terms = chorus(x, labels, where)
    assert terms['cvr_clicked'][0] == terms['no_conversion_clicked'][0] == 0


def test_padding_of_any_size_reaches_no_gradient():
  """A label of 1e30 that is no click, twice in the label of no conversion."""
  x, labels, where = batch()
  where = where.at[-1].set(0)

  def gradient(value):
    fill = lambda column: column.at[-1].set(value)
    outputs, columns = jax.tree.map(fill, (x, labels))
    return jax.grad(lambda y: w6.loss(chorus(y, columns, where)))(outputs)

  got, want = gradient(1e30), gradient(0.0)
  for name in x:
    np.testing.assert_array_equal(got[name], want[name])
    assert got[name][-1] == 0


def test_row_weights_are_those_of_the_losses():
  x, labels, where = batch()
  clicked = np.asarray(labels['click']) > 0
  p = {'ctr': np.asarray(jax.nn.sigmoid(x['ctr']))}
  weights = row_weights(p, labels, propensity_floor=0.3)
  assert set(weights) == set(WEIGHTED)
  q, u = (jax.nn.sigmoid(x[k]) for k in ('cvr', 'no_conversion'))
  errors = dict(
      cvr_clicked=('cvr', q - labels['conversion']),
      no_conversion_clicked=('no_conversion', u - 1 + labels['conversion']),
      alignment=('cvr', q + u - 1))
  for name, (output, error) in errors.items():
    slope = jax.grad(lambda y, k=name: chorus(
        y, labels, where, propensity_floor=0.3)[k][0])(x)[output]
    np.testing.assert_allclose(
        slope[clicked], (weights[name] * error)[clicked], rtol=1e-4, atol=1e-6)


def test_the_sum_over_clicks_of_public_code_is_another_loss():
  """Divided by the clicks instead of the impressions: 1 / CTR times ours."""
  x = w6.logits(no_conversion=U)

  def wrong(labels):
    total = chorus(x, labels, jnp.ones(6))['cvr_clicked'][0]
    return total / jnp.maximum(labels['click'].sum(), 1)

  assert w6.enumerated(wrong).mean == pytest.approx(0.811435, abs=1e-6)
  assert mean('cvr_clicked', x) == pytest.approx(0.235337, abs=1e-6)


def test_needs():
  head = (Head('no_conversion', like='cvr'),)
  assert needs() == Needs(head, trained=('ctr',))
  assert needs(propensity='true') == Needs(head, ('p_ctr',))
  assert needs(propensity='frozen') == Needs(head, (), ('ctr',))


def test_tasks_that_do_not_suit():
  with pytest.raises(InputError, match='chorus.*right after it'):
    default_weights(CART_FUNNEL)
