"""Streams and their corrections, by enumeration of the arrival groups."""

from esmm_jax.estimators.delayed import es_dfm, fnw, naive
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.estimators.delayed import groups

# CVR from .01 to .9; rates and late shares, of every pair.
QS = np.array([0.01, 0.05, 0.1, 0.3, 0.6, 0.9])
RATES, LATE = np.meshgrid([0.01, 0.1, 0.5], [0.0, 0.1, 0.4, 0.9])
CORRECTED = [
    ('fnw', {}),
    ('fnc', {}),
    ('es_dfm', dict(auxiliaries='own')),
    ('es_dfm', dict(auxiliaries='true')),
    ('defuse', dict(auxiliaries='own')),
    ('defuse', dict(auxiliaries='true')),
]


@pytest.mark.parametrize('name, masses', [
    ('es_dfm', (0.104, 0.936)),
    ('defuse', (0.104, 0.936)),
    ('fnw', (0.11, 0.99)),
])
def test_weighed_masses_of_a_tenth_of_which_forty_percent_are_late(
    name, masses
):
  got = groups.expected(groups.CORRECTED[name], q=0.1)
  np.testing.assert_allclose(got[:2], masses, rtol=1e-12)


@pytest.mark.parametrize('stream, masses, optimum', [
    ('log', (0.06, 0.94), 0.06),
    ('elapsed', (0.1, 0.94), 0.1 / 1.04),
    ('fake', (0.1, 1.0), 0.1 / 1.1),
    ('final', (0.1, 0.9), 0.1),
])
def test_the_naive_loss_of_each_stream(stream, masses, optimum):
  got = groups.expected(naive.delayed_naive, [0.3, optimum], stream=stream)
  for positive, negative in zip(*got[:2]):
    np.testing.assert_allclose((positive, negative), masses, rtol=1e-12)
  assert got.slope[1] == pytest.approx(0, abs=1e-12) != got.slope[0]


@pytest.mark.parametrize('name, options', CORRECTED)
def test_the_truth_is_the_optimum_where_the_auxiliaries_are_right(
    name, options
):
  terms = groups.CORRECTED[name]
  at_truth = groups.expected(terms, RATES, RATES, LATE, **options)
  np.testing.assert_allclose(at_truth.slope, 0, atol=1e-12)
  if name != 'fnc':  # Its loss is that of another output.
    np.testing.assert_allclose(
        at_truth.positive / at_truth.negative, RATES / (1 - RATES), rtol=1e-9)
  # And there is no other.
  slope = groups.expected(terms, QS, **options).slope
  np.testing.assert_array_equal(
      np.sign(np.where(abs(slope) < 1e-12, 0, slope)), np.sign(QS - 0.1))


def test_the_gradient_of_fnw():
  """(1 - q^2) (q - P): weights are a function of the output."""
  got = groups.expected(fnw.delayed_fnw, QS)
  np.testing.assert_allclose(got.positive, 0.1 * (1 + QS), rtol=1e-9)
  np.testing.assert_allclose(got.negative, (1 - QS) * (1 + QS), rtol=1e-9)
  np.testing.assert_allclose(
      got.slope, (1 - QS**2) * (QS - 0.1), rtol=1e-9, atol=1e-12)


def test_fnc_is_the_naive_loss_of_the_calibrated_output():
  """A model of the fake stream says b; P = b / (1 - b)."""
  b = 0.1 / 1.1
  assert b / (1 - b) == pytest.approx(0.1)
  columns = groups.labels()
  fnc = groups.losses(fnw.delayed_fnc, groups.logits(0.1), columns)
  biased = groups.losses(
      naive.delayed_naive, groups.logits(b), columns, stream='fake')
  np.testing.assert_allclose(fnc, biased, rtol=1e-6)


@pytest.mark.parametrize('name', groups.ALL)
def test_weights_have_no_gradient(name):
  """Of the CVR term on other outputs; DFM's rate is no weight."""
  columns = groups.labels()
  gradient = jax.jit(jax.grad(
      lambda x: groups.losses(groups.ALL[name], x, columns).sum()))(
          groups.logits(0.1))
  zero = ('ctr', 'delayed_positive', 'real_negative')
  for output in zero + (('delay_rate',) if name != 'dfm' else ()):
    np.testing.assert_array_equal(gradient[output], 0.0, output)
  assert (np.asarray(gradient['cvr']) != 0).all()


@pytest.mark.parametrize('head, rows, truth', [
    ('delayed_positive', [1, 1, 1], 0.04),
    ('real_negative', [0, 1, 1], 0.9 / 0.94),
])
def test_heads_learn_their_probabilities(head, rows, truth):
  columns, share, x = groups.labels(), groups.shares(), groups.logits(0.3)
  x[head] = jnp.full(3, np.log(truth / (1 - truth)))

  @jax.jit
  @jax.value_and_grad
  def loss(x):
    return es_dfm.delayed_es_dfm(x, columns, share)[head][0]

  _, gradient = loss(x)
  assert [k for k, v in gradient.items() if np.any(v)] == [head]
  assert float(gradient[head].sum()) == pytest.approx(0, abs=1e-7)
  _, count = es_dfm.delayed_es_dfm(x, columns, share)[head]
  assert float(count) == pytest.approx(float(share @ jnp.array(rows)))
