"""Gradient descent on free outputs: one log-odds for each impression of W6.

Nothing is shared, so what it ends at is the optimum of the loss itself.
"""

import jax
import jax.numpy as jnp
import numpy as np

from tests.estimators import w6


def expected_loss(terms, weights, p, eta, **columns):
  """Returns a function of the outputs: the loss over all outcomes, float64."""
  probability, click, conversion = map(jnp.asarray, w6.outcomes(p, eta))
  fixed = {k: jnp.asarray(v, jnp.float64) for k, v in columns.items()}
  where = jnp.ones(len(p))

  def one(x, o, c):
    labels = dict(click=o, conversion=c, **fixed)
    return w6.loss(terms(x, labels, where), weights)

  return lambda x: probability @ jax.vmap(one, (None, 0, 0))(
      x, click, conversion)


def descend(terms, x, weights, rates, p, eta, steps=400, **columns):
  """Descends the expected loss and returns the outputs as probabilities.

  Args:
    terms: (outputs, labels, where) -> term -> (sum, count).
    x: Output -> log-odds [B] to begin with.
    weights: Term -> weight; terms without one are left out.
    rates: Output -> step size; an output without one stays.
    p: P(click), [B].
    eta: P(conversion | click), [B].
    steps: Steps.
    **columns: Further labels, [B].
  """
  with jax.enable_x64(True):
    x = {k: jnp.asarray(v, jnp.float64) for k, v in x.items()}
    gradient = jax.grad(expected_loss(terms, weights, p, eta, **columns))
    # The loss is a mean over the impressions.
    step = lambda _, y: {
        k: y[k] - len(p) * rates.get(k, 0.0) * g
        for k, g in gradient(y).items()}
    x = jax.jit(lambda y: jax.lax.fori_loop(0, steps, step, y))(x)
    return {k: np.asarray(jax.nn.sigmoid(v)) for k, v in x.items()}
