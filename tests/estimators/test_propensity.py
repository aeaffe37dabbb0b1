"""Weights from propensities, apart from any loss."""

from esmm_jax.estimators import propensity
from esmm_jax.estimators.contract import Needs
from esmm_jax.estimators.propensity import from_probabilities, inverse, needs
import jax
import numpy as np
import pytest

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
  assert needs('own') == Needs()


def test_no_gradient():
  total = lambda p: inverse(p).sum() + from_probabilities(
      {'ctr': p}, {}).sum() + propensity.propensities({'ctr': p}, {}).sum()
  np.testing.assert_array_equal(jax.grad(total)(P), 0)
