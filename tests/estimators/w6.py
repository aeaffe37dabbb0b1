"""World W6: six impressions whose every outcome is enumerated, in float64.

Each impression is clicked with probability P, and converts if it is clicked
with probability ETA; a model predicts P (or WRONG_P) and Q. A batch is the six
impressions; not clicked, clicked, clicked and converted make 3^6 outcomes.
"""

from typing import Any, NamedTuple

from esmm_jax.balancing import static as balancing
import jax
import jax.numpy as jnp
import numpy as np

P = np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.7])
ETA = np.array([0.01, 0.03, 0.02, 0.1, 0.05, 0.2])
Q = np.array([0.02, 0.02, 0.05, 0.05, 0.1, 0.1])
# A propensity that is wrong, and a guess of the loss of each impression.
WRONG_P = P * np.array([0.5, 2, 1.5, 0.8, 1.2, 0.9])
ERROR = np.array([0.1, 0.3, 0.05, 0.5, 0.2, 0.9])


def entropy(truth, q):
  """Cross-entropy of probabilities, element by element."""
  return -truth * np.log(q) - (1 - truth) * np.log1p(-q)


# Expected loss if all were clicked, of each impression and on average.
RISKS = entropy(ETA, Q)
RISK = RISKS.mean()


class Moments(NamedTuple):
  """Expected value and standard deviation; a tree of arrays each."""

  mean: Any
  sd: Any


def logit(p):
  return np.log(p) - np.log1p(-p)


def logits(p=P, q=Q, **heads):
  """Outputs of a model from probabilities; heads are probabilities too."""
  return {k: logit(np.asarray(v, np.float64))
          for k, v in dict(ctr=p, cvr=q, **heads).items()}


def outcomes(p=P, eta=ETA):
  """Returns (probability [n], click [n, B], conversion [n, B]), n = 3^B."""
  num = len(p)
  codes = np.stack(np.meshgrid(*[np.arange(3)] * num, indexing='ij'), -1)
  codes = codes.reshape(-1, num)
  click, conversion = (codes > 0) * 1.0, (codes > 1) * 1.0
  each = np.where(
      click, p * np.where(conversion, eta, 1 - np.asarray(eta)),
      1 - np.asarray(p))
  return each.prod(1), click, conversion


def enumerated(function, p=P, eta=ETA, **columns):
  """Returns the moments of `function(labels)` over all outcomes, in float64.

  Args:
    function: Labels -> tree of arrays; labels are `click`, `conversion`, and
      the columns, each [B].
    p: P(click) of each impression, [B].
    eta: P(conversion | click), [B].
    **columns: Further labels, which no outcome changes, [B].
  """
  with jax.enable_x64(True):
    probability, click, conversion = outcomes(p, eta)
    fixed = {k: jnp.asarray(v, jnp.float64) for k, v in columns.items()}
    values = jax.vmap(
        lambda o, c: function(dict(click=o, conversion=c, **fixed)))(
            jnp.asarray(click), jnp.asarray(conversion))
    values = jax.tree.map(np.asarray, values)
  mean = jax.tree.map(lambda v: np.tensordot(probability, v, 1), values)
  sd = jax.tree.map(
      lambda v, m: np.sqrt(np.tensordot(probability, (v - m) ** 2, 1)),
      values, mean)
  return Moments(mean, sd)


def loss(terms, weights=None):
  """Returns sum_k w_k sum_k / count_k, as the step has it.

  Args:
    terms: Term -> (sum, count).
    weights: Term -> weight; all 1 by default.
  """
  weights = dict.fromkeys(terms, 1.0) if weights is None else weights
  counts = {k: jax.lax.stop_gradient(n) for k, (_, n) in terms.items()}
  coefficients = balancing.static({k: counts[k] for k in weights}, weights)
  return sum(coefficients[k] * terms[k][0] for k in weights)


def one_loss(terms, name, x, **options):
  """Returns a function of the labels: the mean of one term of an estimator."""
  where = np.ones(len(x['ctr']))

  def function(labels):
    return loss(terms(x, labels, where, **options), {name: 1.0})

  return function


def gradient(terms, name, x, **options):
  """Returns a function of the labels: that mean's gradient, output -> [B]."""
  where = np.ones(len(x['ctr']))

  def function(labels):
    value = lambda y: loss(terms(y, labels, where, **options), {name: 1.0})
    return jax.grad(value)(x)

  return function


def fixed_point(value, start, p, eta, rate=1.0, steps=2000, **columns):
  """Returns the outputs that minimise an expected loss: free heads, trained.

  Each output of each impression is a parameter, moved against its gradient
  over q (1 - q), the curvature of a cross-entropy.

  Args:
    value: (outputs, labels) -> loss of a batch, a scalar.
    start: Output -> probability that it starts from, [B].
    p: P(click) of each impression, [B].
    eta: P(conversion | click), [B].
    rate: Factor of each move.
    steps: Number of moves.
    **columns: Further labels, [B].

  Returns:
    Output -> probability, float64 [B].
  """
  with jax.enable_x64(True):
    probability, click, conversion = map(jnp.asarray, outcomes(p, eta))
    fixed = {k: jnp.asarray(v, jnp.float64) for k, v in columns.items()}

    def expected(x):
      one = lambda o, c: value(x, dict(click=o, conversion=c, **fixed))
      return probability @ jax.vmap(one)(click, conversion)

    def move(_, x):
      size = {k: jax.nn.sigmoid(v) * jax.nn.sigmoid(-v) for k, v in x.items()}
      slope = jax.grad(expected)(x)
      return {k: v - rate * len(p) * slope[k] / size[k] for k, v in x.items()}

    first = {k: jnp.asarray(logit(np.asarray(v, np.float64)))
             for k, v in start.items()}
    run = jax.jit(lambda x: jax.lax.fori_loop(0, steps, move, x))
    return {k: np.asarray(jax.nn.sigmoid(v)) for k, v in run(first).items()}
