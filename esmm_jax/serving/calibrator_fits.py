"""Fits calibrators of one task to its log-odds and labels.

References:
  Platt. Probabilistic Outputs for Support Vector Machines. 1999.
  Zadrozny and Elkan. Transforming Classifier Scores into Accurate Multiclass
    Probability Estimates. KDD 2002. (Isotonic regression.)
"""

from esmm_jax.types import Array
import numpy as np
from scipy import optimize, special

# Log-odds that differ by this share are constant: a few roundings to float32.
_ROUNDING = 1e-6


def fit_platt(logits: Array, labels: Array) -> dict[str, float]:
  """Fits slope and intercept of the log-odds by maximum likelihood.

  The targets are Platt's: (P + 1) / (P + 2) for a positive row and 1 / (N + 2)
  for a negative one, of P and N such rows, so that the fit is finite where a
  threshold separates the classes. Constant log-odds determine no slope: it is
  then 1, and the intercept makes the probability the mean target.

  Args:
    logits: float [n].
    labels: 0 or 1 [n].

  Returns:
    `slope` and `intercept`.
  """
  z, y = np.asarray(logits, np.float64), np.asarray(labels) == 1
  positive, negative = y.sum(), (~y).sum()
  target = np.where(y, (positive + 1) / (positive + 2), 1 / (negative + 2))
  if np.ptp(z) <= _ROUNDING * max(1.0, np.abs(z).max()):
    intercept = special.logit(target.mean()) - z.mean()
    return {'slope': 1.0, 'intercept': float(intercept)}
  features = np.stack([z, np.ones_like(z)])  # [2, n]

  def loss(x):
    u = x @ features
    gradient = features @ (special.expit(u) - target) / len(z)
    return np.mean(np.logaddexp(0, u) - target * u), gradient

  def hessian(x):
    p = special.expit(x @ features)
    return (features * (p * (1 - p))) @ features.T / len(z)

  optimum = optimize.minimize(
      loss,
      np.array([1.0, 0.0]),
      jac=True,
      hess=hessian,
      method='trust-exact',
      options={'gtol': 1e-9},
  )
  return {'slope': float(optimum.x[0]), 'intercept': float(optimum.x[1])}


def fit_isotonic(logits: Array, labels: Array) -> dict[str, list[float]]:
  """Fits the rising function of the log-odds with the least squares (PAV).

  No probability is 0 or 1: the least is 1 / (n + 2), which the rule of
  succession gives n rows without a positive one. Otherwise a single label to
  the contrary would have infinite log loss. The lines between the steps are
  those of the fit itself, cut off where they pass the least or the greatest
  probability.

  Args:
    logits: float [n]; rows of one value count as one, with their mean.
    labels: 0 or 1 [n].

  Returns:
    `scores`, ascending log-odds, the ends of each step and the points where a
    line is cut off, and the `probabilities` there.
  """
  z, y = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
  values, inverse, counts = np.unique(
      z, return_inverse=True, return_counts=True
  )
  means = np.bincount(inverse, weights=y) / counts
  fit = optimize.isotonic_regression(means, weights=counts)
  # Within a block the function is constant, so its two ends describe it.
  ends = np.unique(np.stack([fit.blocks[:-1], fit.blocks[1:] - 1], axis=1))
  least = 1 / (len(z) + 2)
  scores, p = values[ends], fit.x[ends]
  for bound in (least, 1 - least):
    scores, p = _with_crossing(scores, p, bound)
  return {
      'scores': scores.tolist(),
      'probabilities': np.clip(p, least, 1 - least).tolist(),
  }


def _with_crossing(
    scores: np.ndarray, p: np.ndarray, bound: float
) -> tuple[np.ndarray, np.ndarray]:
  """Adds the point at which rising lines through scores and p pass a bound.

  To clip at the ends of the lines alone would bend them: clipping at this
  point too is the same as clipping each value on them.
  """
  k = int(np.searchsorted(p, bound))
  if k in (0, len(p)) or bound in (p[k - 1], p[k]):
    return scores, p
  share = (bound - p[k - 1]) / (p[k] - p[k - 1])
  score = scores[k - 1] + share * (scores[k] - scores[k - 1])
  return np.insert(scores, k, score), np.insert(p, k, bound)
