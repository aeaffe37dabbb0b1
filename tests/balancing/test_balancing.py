"""Task weights."""

import math

from esmm_jax.balancing import static as balancing
from esmm_jax.types import InputError
import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.mark.parametrize(
    'count, weight, expected',
    [(4, 1, 1 / 4), (4, 3, 3 / 4), (1, 0.5, 0.5), (1000, 2, 2 / 1000),
     (4, 0, 0), (0, 1, 0), (0, 0, 0)],
)
def test_static(count, weight, expected):
  got = balancing.static(
      dict(a=jnp.float32(count), b=jnp.float32(7)), dict(a=weight, b=1.0))
  np.testing.assert_allclose(got['a'], expected, rtol=1e-6)
  np.testing.assert_allclose(got['b'], 1 / 7, rtol=1e-6)


def test_static_makes_a_weighted_sum_of_means():
  losses = dict(ctr=[1.0, 3.0, 5.0], cvr_clicked=[2.0], none=[])
  weights = dict(ctr=1.0, cvr_clicked=0.5, none=9.0)
  counts = {k: jnp.float32(len(v)) for k, v in losses.items()}
  got = balancing.static(counts, weights)
  loss = sum(got[k] * sum(losses[k]) for k in losses)
  np.testing.assert_allclose(loss, 1.0 * 9 / 3 + 0.5 * 2 / 1, rtol=1e-6)


def test_static_over_replicas():
  """Each replica has its own weights, all the same counts."""
  counts = dict(a=jnp.float32(4), b=jnp.float32(0))
  weights = dict(a=jnp.float32([1, 2]), b=jnp.float32([3, 4]))
  got = jax.vmap(balancing.static, in_axes=(None, 0))(counts, weights)
  assert got['a'].tolist() == [1 / 4, 2 / 4] and got['b'].tolist() == [0, 0]


DEFAULTS = dict(ctr=1.0, ctcvr=1.0, cvr_clicked=0.0)


@pytest.mark.parametrize(
    'given, expected',
    [
        ({}, DEFAULTS),
        (dict(ctr=None, cvr_entire=None), DEFAULTS),
        (dict(ctr=2), dict(DEFAULTS, ctr=2.0)),
        (dict(ctr=0, cvr_clicked=1), dict(ctr=0.0, ctcvr=1.0, cvr_clicked=1.0)),
    ],
)
def test_loss_weights(given, expected):
  got = balancing.loss_weights(given, DEFAULTS)
  assert got == expected
  assert all(isinstance(w, float) for w in got.values())


@pytest.mark.parametrize(
    'given, words',
    [
        (dict(cvr_entire=1.0), ['cvr_entire', '1.0', 'cvr_clicked']),
        (dict(cvr_entire=0.0), ['cvr_entire', 'no such']),
        (dict(ctr=-0.1), ['ctr', '-0.1']),
        (dict(ctr=math.nan), ['ctr', 'nan']),
        (dict(ctr=0, ctcvr=0), ['all 0']),
    ],
)
def test_loss_weights_that_cannot_be(given, words):
  with pytest.raises(InputError) as e:
    balancing.loss_weights(given, DEFAULTS)
  assert all(word in str(e.value) for word in words), str(e.value)


def test_terms_that_must_have_one_weight():
  same = ('ctcvr', 'cvr_clicked')
  defaults = {'ctr': 1.0, 'ctcvr': 1.0, 'cvr_clicked': 1.0}
  both = {'ctcvr': 0.5, 'cvr_clicked': 0.5}
  want = {'ctr': 1.0} | both
  assert balancing.loss_weights(both, defaults, same) == want
  words = 'loss_weights.ctcvr is 0.5, loss_weights.cvr_clicked is 1.0'
  with pytest.raises(InputError, match=words):
    balancing.loss_weights({'ctcvr': 0.5}, defaults, same)
