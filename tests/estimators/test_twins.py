"""What dcmt, chorus and pseudo_label share: padding, weights, traced options."""

import functools

from esmm_jax.estimators import contract, ESTIMATORS
from esmm_jax.tasks import FUNNEL
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.estimators import w6

CASES = {
    'dcmt': ('dcmt', {}),
    'dcmt, true': ('dcmt', dict(propensity='true')),
    'chorus': ('chorus', {}),
    'chorus, frozen': ('chorus', dict(propensity='frozen')),
    'DDPO': ('pseudo_label', {}),
    'UKD': ('pseudo_label', dict(
        unclicked_weight='uncertainty', propensity='none', gamma=0.5)),
    'truth': ('pseudo_label', dict(teacher='truth', propensity='true')),
}
SIZE = 40


@pytest.fixture(params=CASES)
def case(request):
  """(estimator, bound terms with its traced options, outputs, labels)."""
  name, options = CASES[request.param]
  frozen = {}
  if 'frozen' in options.values():
    frozen = dict(frozen_run='runs/esmm')
  bound = contract.bind(name, ESTIMATORS[name], options | frozen, FUNNEL)
  rng = np.random.default_rng(3)
  column = lambda x: jnp.asarray(x, jnp.float32)
  outputs = ('ctr', 'cvr', *(h.name for h in bound.needs.heads))
  x = {k: column(rng.normal(size=SIZE) - 1) for k in outputs}
  click = rng.random(SIZE) < 0.4
  labels = {k: column(rng.uniform(0.05, 0.6, SIZE)) for k in (
      *bound.needs.truth_labels, *(f'frozen_{t}' for t in bound.needs.frozen))}
  labels |= dict(click=column(click),
                 conversion=column(click & (rng.random(SIZE) < 0.3)))
  return bound, functools.partial(bound.terms, **bound.traced), x, labels


def test_terms_are_those_declared(case):
  """Of what the estimator says that it needs, and no more."""
  bound, terms, x, labels = case
  got = terms(x, labels, jnp.ones(SIZE))
  assert set(got) == set(bound.weights)
  for total, count in got.values():
    assert total.shape == count.shape == ()
    assert total.dtype == count.dtype == jnp.float32
    assert count == SIZE


def test_padding_may_hold_anything(case):
  bound, terms, x, labels = case
  where = jnp.ones(SIZE).at[-2:].set(0)

  def run(value):
    fill = lambda column: column.at[-2:].set(value)
    inputs = jax.tree.map(fill, labels)
    return jax.value_and_grad(
        lambda y: w6.loss(terms(y, inputs, where), bound.weights))(
            jax.tree.map(fill, x))

  want, slopes = run(0.5)
  for value in (0.0, 1.0, -88.0, 1e30):
    got, others = run(value)
    assert got == want
    for name, slope in others.items():
      np.testing.assert_array_equal(slope[:-2], slopes[name][:-2])
      np.testing.assert_array_equal(slope[-2:], 0)


def test_a_row_of_weight_k_is_k_rows(case):
  _, terms, x, labels = case
  times = np.array([3, 2, *[1] * (SIZE - 2)])
  repeat = functools.partial(
      jax.tree.map, lambda column: jnp.repeat(column, times))
  weighted = terms(x, labels, jnp.asarray(times, jnp.float32))
  copied = terms(repeat(x), repeat(labels), jnp.ones(times.sum()))
  for name in copied:
    np.testing.assert_allclose(weighted[name], copied[name], rtol=1e-5)


def test_numbers_may_differ_between_replicas(case):
  """Mapped over replicas, each has what it has alone."""
  bound, _, x, labels = case
  assert 'propensity_floor' in bound.traced
  values = {k: jnp.array([v, 0.7 * v]) for k, v in bound.traced.items()}
  values['propensity_floor'] = jnp.array([0.2, 0.6])
  run = jax.jit(jax.vmap(
      lambda v: bound.terms(x, labels, jnp.ones(SIZE), **v)))
  got = run(values)
  for i in range(2):
    want = bound.terms(
        x, labels, jnp.ones(SIZE), **{k: v[i] for k, v in values.items()})
    for name in want:
      np.testing.assert_allclose(got[name][0][i], want[name][0], rtol=1e-5)
