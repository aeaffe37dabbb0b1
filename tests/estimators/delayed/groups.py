"""Arrival groups of a click, enumerated: early, late, real negative.

A click converts at last with probability `rate`; of these the share `late` is
not in the log. The expected loss of a click is the sum over the groups of their
shares times the loss of a row, in float64.
"""

import functools
from typing import NamedTuple

from esmm_jax.estimators.delayed import dfm, es_dfm, fnw, naive
import jax
import jax.numpy as jnp
import numpy as np

# Estimators whose optimum is the truth.
CORRECTED = {
    'fnw': fnw.delayed_fnw,
    'fnc': fnw.delayed_fnc,
    'es_dfm': es_dfm.delayed_es_dfm,
    'defuse': es_dfm.delayed_defuse,
}
ALL = CORRECTED | {'naive': naive.delayed_naive, 'dfm': dfm.delayed_dfm}


class Expected(NamedTuple):
  """Of a click, arrays of the shape of q.

  Attributes:
    positive: Expected weights of its positive events, a in the loss
      a (-log q) + b (-log(1 - q)).
    negative: Of its negative ones, b.
    slope: Gradient on the log-odds of q.
  """

  positive: np.ndarray
  negative: np.ndarray
  slope: np.ndarray


def shares(rate=0.1, late=0.4):
  """Of early positives, late positives, real negatives."""
  return jnp.stack([rate * (1 - late), rate * late, 1 - rate])


def labels(rate=0.1, late=0.4):
  """One click of each group, with the true probabilities as columns."""
  ones = jnp.ones(3)
  return dict(
      click=ones,
      conversion=jnp.array([1.0, 0.0, 0.0]),
      conversion_eventually=jnp.array([1.0, 1.0, 0.0]),
      p_cvr_clicked=rate * ones,
      p_cvr_observed=rate * (1 - late) * ones,
      click_age=ones,
      conversion_delay=ones,
  )


def logits(q, rate=0.1, late=0.4):
  """Outputs of three rows: CVR q, and auxiliary heads that are right."""
  p = dict(
      ctr=0.2,
      cvr=q,
      delayed_positive=rate * late,
      real_negative=(1 - rate) / (1 - rate * (1 - late)),
      delay_rate=0.5,
  )
  return {k: jnp.ones(3) * (jnp.log(v) - jnp.log1p(-v)) for k, v in p.items()}


def losses(terms, x, columns, **options):
  """Returns the CVR loss of each row alone."""

  def one(where):
    total, count = terms(x, columns, where, **options)['cvr_clicked']
    return total / count

  return jax.vmap(one)(jnp.eye(3))


def expected(terms, q, rate=0.1, late=0.4, **options):
  """Computes `Expected` of q, rate and late, which broadcast."""

  @jax.jit
  @functools.partial(jnp.vectorize, signature='(),(),()->(),()')
  def value_and_slope(q, rate, late):
    x, columns = logits(q, rate, late), labels(rate, late)

    def loss(shift):
      moved = x | {'cvr': x['cvr'] + shift}
      return shares(rate, late) @ losses(terms, moved, columns, **options)

    return jax.value_and_grad(loss)(0.0)

  with jax.enable_x64(True):
    q, rate, late = np.broadcast_arrays(
        *(np.asarray(v, np.float64) for v in (q, rate, late)))
    value, slope = map(np.asarray, value_and_slope(q, rate, late))
  # Two equations: the value, and the slope -a (1 - q) + b q.
  total = (slope * -np.log(q) + (1 - q) * value) / (
      -(1 - q) * np.log1p(-q) - q * np.log(q))
  positive = (total * q - slope) / (1 - q)
  return Expected(positive, total, slope)
