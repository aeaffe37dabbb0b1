"""Numerics of the simulator: popularity, probabilities, calibration."""

import numpy as np
import scipy  # Imports `optimize` when it is asked for.

_LIMIT = 80.0  # exp(80) is finite in float32.
_BINS = 8192  # Equal groups of sorted scores that calibration works on.


def zipf(
    rng: np.random.Generator,
    num_values: int,
    shape: int | tuple[int, ...],
    exponent: float,
) -> np.ndarray:
  """Draws k from 0, 1, .. num_values - 1 with P(k) about 1 / (k + 1)^s.

  Inverts the distribution function of the density x^-s on [1, num_values + 1)
  in float64: float32 would never draw part of a long tail.

  Args:
    rng: Source of the draws.
    num_values: Number of values, at least 1.
    shape: Shape of the result.
    exponent: s, at least 0; 0 is uniform.

  Returns:
    int32 array of the shape.
  """
  draw = rng.random(shape)
  power = 1.0 - exponent
  if abs(power) < 1e-6:  # The limit: the distribution function is a logarithm.
    draw *= np.log(num_values + 1.0)
    np.exp(draw, out=draw)
  else:
    draw *= (num_values + 1.0) ** power - 1.0
    draw += 1.0
    np.power(draw, 1.0 / power, out=draw)
  draw -= 1.0
  return np.minimum(draw.astype(np.int32), num_values - 1)


def sigmoid(logits: np.ndarray) -> np.ndarray:
  """Computes 1 / (1 + exp(-logits)) in their dtype, above 0 and below 1."""
  # Not scipy.special.expit: it reaches 0 and 1, and it rounds a quarter of the
  # float32 values differently, which would change the published rows.
  p = np.negative(logits)
  np.minimum(p, p.dtype.type(_LIMIT), out=p)
  np.exp(p, out=p)
  p += 1
  np.reciprocal(p, out=p)
  return np.minimum(p, 1 - np.finfo(p.dtype).epsneg, out=p)


def cart_probability(p: np.ndarray, gamma: np.ndarray) -> np.ndarray:
  """Computes p ** gamma, at least p and below 1, in the dtype of p.

  Args:
    p: [n], P(purchase), above 0 and below 1.
    gamma: [n], the share of ln p that falls to the cart, in (0, 1).
  """
  # The power's rounding could take it below p, or to 1.
  cart = np.maximum(p**gamma, p)
  return np.minimum(cart, 1 - np.finfo(p.dtype).epsneg, out=cart)


def hidden_quadrature(hidden: float) -> tuple[np.ndarray, np.ndarray]:
  """Returns the Gauss-Hermite rule of the mean over a hidden cause.

  E f(hidden * H), H ~ N(0, 1), is about sum_k weights[k] f(nodes[k]). For a
  sigmoid of logits above -12 the relative error is below 1e-5
  (test_quadrature).

  Args:
    hidden: Standard deviation of the hidden part of a logit.

  Returns:
    nodes and weights, float64; one node at 0 where hidden is 0.
  """
  if hidden == 0:
    return np.zeros(1), np.ones(1)
  num_nodes = 1 + 8 * max(1, int(np.ceil(hidden))) ** 2
  nodes, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
  return hidden * nodes, weights / weights.sum()


def expected_auc(p: np.ndarray) -> float:
  """Computes the AUC of p against labels drawn from it, over many draws.

  That is
  sum_ij p_i (1 - p_j) ([p_i > p_j] + [i = j] / 2) / (sum p * sum (1 - p)).

  Args:
    p: float64 [n], ascending; equal values count half against each other.
  """
  below = np.cumsum(1 - p) - (1 - p) / 2
  return float(np.sum(p * below) / (p.sum() * (1 - p).sum()))


def fit_logit(
    score: np.ndarray, rate: float, auc: float, hidden: float
) -> tuple[float, float]:
  """Fits the logit `intercept + spread * score` to a rate and an AUC.

  Both are of p = E sigmoid(intercept + spread * score + hidden * H), H ~
  N(0, 1). Sorted scores are averaged in `_BINS` groups, and the intercept is
  solved for inside the search of the spread.

  Args:
    score: float64 [n], mean 0 and standard deviation 1; n a multiple
      of `_BINS`.
    rate: Target mean of p, in (0, 1).
    auc: Target `expected_auc` of p, in (0.5, 1).
    hidden: Standard deviation of the hidden part of the logit.

  Returns:
    intercept, spread.

  Raises:
    ValueError: No spread up to 1,000 reaches the AUC.
  """
  centre = np.sort(score).reshape(_BINS, -1).mean(axis=1)
  nodes, weights = hidden_quadrature(hidden)

  def probability(intercept: float, spread: float) -> np.ndarray:
    logits = intercept + spread * centre
    return sum(w * sigmoid(logits + x) for x, w in zip(nodes, weights))

  def intercept_of(spread: float) -> float:
    reach = spread * np.abs(centre).max() + nodes.max() + 1
    middle = np.log(rate / (1 - rate))
    return scipy.optimize.brentq(
        lambda x: np.log(probability(x, spread).mean() / rate),
        middle - reach,
        middle + reach,
    )

  def surplus(spread: float) -> float:
    return expected_auc(probability(intercept_of(spread), spread)) - auc

  high = 1.0
  while surplus(high) < 0:
    high *= 2
    if high > 1000:
      raise ValueError(f'no logit has rate {rate:g} and AUC {auc:g}')
  spread = scipy.optimize.brentq(surplus, 0.0, high, xtol=1e-9)
  return intercept_of(spread), spread


def session_dot(users: np.ndarray, items: np.ndarray) -> np.ndarray:
  """Computes dot products of items with the user of their session.

  Args:
    users: float32 [sessions, D].
    items: float32 [sessions * k, D], those of a session together.

  Returns:
    float32 [sessions * k].
  """
  items = items.reshape(len(users), -1, users.shape[1])
  return np.einsum('sd,skd->sk', users, items).reshape(-1)
