"""Where none is late, empty batches, parts, rows that must not count."""

from esmm_jax.estimators.click_space import click_space
from esmm_jax.estimators.delayed import arrivals, es_dfm, naive
from esmm_jax.tasks import CART_FUNNEL, CLICKED, FUNNEL
from esmm_jax.types import InputError
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.estimators.delayed import groups

# Estimators whose loss, not only whose optimum, is then the naive one.
EQUAL = [
    ('naive', {}),
    ('naive', dict(stream='elapsed')),
    ('naive', dict(stream='final')),
    ('es_dfm', {}),
    ('es_dfm', dict(auxiliaries='true')),
    ('defuse', {}),
    ('defuse', dict(auxiliaries='true')),
    ('dfm', {}),
]


def batch(num=64, late=True, seed=0):
  """Random outputs and labels, float32; heads as where none is late."""
  rng = np.random.default_rng(seed)
  x = {k: rng.normal(size=num) for k in ('ctr', 'cvr')}
  never = dict(delayed_positive=-200, real_negative=200, delay_rate=200)
  x |= {k: np.full(num, v) for k, v in never.items()}
  click = rng.integers(0, 2, num)
  at_last = click * rng.integers(0, 2, num)
  p = rng.uniform(0.1, 0.9, num)
  labels = dict(
      click=click,
      conversion=at_last * (rng.integers(0, 2, num) if late else 1),
      conversion_eventually=at_last,
      click_age=rng.uniform(1, 2, num),
      conversion_delay=rng.uniform(0, 1, num),
      p_cvr_clicked=p,
      p_cvr_observed=p * (0.7 if late else 1),
  )
  to_arrays = lambda d: {k: jnp.asarray(v, jnp.float32) for k, v in d.items()}
  return to_arrays(x), to_arrays(labels)


def value_and_grad(terms, name, x, labels, where, **options):
  def loss(x):
    total, count = terms(x, labels, where, **options)[name]
    return total / jnp.maximum(count, 1.0)
  return jax.jit(jax.value_and_grad(loss))(x)


def every_term(name, x, labels):
  """Returns term -> the mean of it over all rows, and its gradients."""
  def means(x):
    terms = groups.ALL[name](x, labels, jnp.ones(64))
    return {k: v / jnp.maximum(n, 1.0) for k, (v, n) in terms.items()}
  return jax.jit(lambda x: (means(x), jax.jacrev(means)(x)))(x)


@pytest.mark.parametrize('name, options', EQUAL)
def test_where_none_is_late_all_is_naive_to_the_bit(name, options):
  x, labels = batch(late=False)
  where = jnp.ones(64).at[60:].set(0.0)
  left = value_and_grad(
      groups.ALL[name], 'cvr_clicked', x, labels, where, **options)
  right = value_and_grad(click_space, 'cvr_clicked', x, labels, where)
  assert left[0] == right[0] > 0
  for output, gradient in right[1].items():
    np.testing.assert_array_equal(left[1][output], gradient, output)


@pytest.mark.parametrize('name', ['fnw', 'fnc'])
def test_where_none_is_late_the_optimum_is_naive(name):
  """All positives are negatives before in their stream, early ones too."""
  rates = np.array([0.1, 0.4])
  got = groups.expected(groups.CORRECTED[name], rates, rates, late=0.0)
  np.testing.assert_allclose(got.slope, 0, atol=1e-12)


@pytest.mark.parametrize('name', groups.ALL)
def test_the_click_term_is_that_of_click_space(name):
  x, labels = batch()
  where = jnp.ones(64)
  left = groups.ALL[name](x, labels, where)['ctr']
  assert left == click_space(x, labels, where)['ctr']


@pytest.mark.parametrize('name', groups.ALL)
def test_parts_add_up_and_padding_counts_nothing(name):
  x, labels = batch()
  x |= {k: jnp.sin(x['cvr']) for k in ('delayed_positive', 'delay_rate')}
  weights = jnp.linspace(0.5, 2, 64).at[60:].set(0.0)
  whole = groups.ALL[name](x, labels, weights)
  part = lambda d, rows: {k: v[rows] for k, v in d.items()}
  pieces = [
      groups.ALL[name](part(x, r), part(labels, r), weights[r])
      for r in (slice(0, 20), slice(20, 64))
  ]
  # Padding of any values.
  padded = {k: v.at[60:].set(7.0) for k, v in labels.items()}
  again = groups.ALL[name](x, padded, weights)
  for term, (total, count) in whole.items():
    for k, value in enumerate((total, count)):
      parts = [float(piece[term][k]) for piece in pieces]
      assert float(value) == pytest.approx(sum(parts), rel=1e-5)
      assert value == again[term][k]


@pytest.mark.parametrize('name', groups.ALL)
def test_a_batch_without_clicks(name):
  x, labels = batch()
  labels = {k: v * 0 for k, v in labels.items()}
  means, gradients = every_term(name, x, labels)
  assert 'cvr_clicked' in means
  for term in set(means) - {'ctr'}:
    assert means[term] == 0
    for gradient in gradients[term].values():
      np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize('value', [-90.0, 90.0])
@pytest.mark.parametrize('name', groups.ALL)
def test_extreme_outputs_stay_finite(name, value):
  x, labels = batch()
  means, gradients = every_term(
      name, {k: jnp.full(64, value) for k in x}, labels)
  for term, mean in means.items():
    assert np.isfinite(mean), term
    for gradient in gradients[term].values():
      assert np.isfinite(gradient).all(), term


@pytest.mark.parametrize('name', groups.CORRECTED)
def test_sampled_rows_of_late_conversions_are_refused(name):
  x, labels = batch()
  labels['cvr_clicked_rows'] = labels['click']
  with pytest.raises(InputError, match='leave sampling at its default'):
    groups.ALL[name](x, labels, jnp.ones(64))


@pytest.mark.parametrize('name', ['naive', 'dfm'])
def test_sampled_rows_are_copies(name):
  """A row of weight 2 is as two rows, an un-clicked one a negative."""
  x, labels = batch()
  del labels['conversion_eventually']
  labels = {k: jnp.tile(v, 2) for k, v in labels.items()}
  x = {k: jnp.tile(v, 2) for k, v in x.items()}
  twice = groups.ALL[name](x, labels, jnp.ones(128))
  labels['cvr_clicked_rows'] = 2 * labels['click'].at[64:].set(0.0)
  copies = groups.ALL[name](x, labels, jnp.ones(128))
  assert len(twice) == (3 if name == 'dfm' else 2)
  for term, want in twice.items():
    np.testing.assert_allclose(copies[term], want, rtol=1e-6)


def test_options_that_there_are_not():
  x, labels = batch()
  with pytest.raises(InputError, match="stream is 'fresh'.*elapsed"):
    naive.delayed_naive(x, labels, jnp.ones(64), stream='fresh')
  with pytest.raises(InputError, match="auxiliaries is 'frozen'.*own"):
    es_dfm.delayed_es_dfm(x, labels, jnp.ones(64), auxiliaries='frozen')


@pytest.mark.parametrize('tasks', [CART_FUNNEL, CLICKED, FUNNEL[:1]])
def test_other_tasks_are_refused(tasks):
  with pytest.raises(InputError, match="'delayed_fnw' needs the tasks ctr"):
    arrivals.default_weights('delayed_fnw', tasks)
