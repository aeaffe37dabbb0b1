"""The shortest convex combination of gradients, exactly: MGDA's definition."""

import itertools

import numpy as np


def min_norm(gram: np.ndarray) -> np.ndarray:
  """Returns the weights [T] of the simplex that minimise w' gram w.

  On the minimum's own support all tasks of it have one product with the
  update, so one of the 2^T - 1 supports gives it.
  """
  num = len(gram)
  best, best_value = None, np.inf
  for size in range(1, num + 1):
    for chosen in map(list, itertools.combinations(range(num), size)):
      part = gram[np.ix_(chosen, chosen)]
      solution, *_ = np.linalg.lstsq(
          np.block([[part, np.ones((size, 1))], [np.ones((1, size)), 0.0]]),
          np.append(np.zeros(size), 1.0), rcond=None)
      weights = np.zeros(num)
      weights[chosen] = solution[:size]
      value = weights @ gram @ weights
      right = weights.min() >= -1e-12 and abs(weights.sum() - 1) < 1e-9
      if right and value < best_value:
        best, best_value = weights, value
  return best
