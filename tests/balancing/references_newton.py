"""Slow references of Nash-MTL, FairGrad, Aligned-MTL, GradVac and PCD.

In float64, one problem at a time, and on the gradients themselves where that is
another way.
"""

import itertools

import numpy as np


def gradients(num, count, seed=0, spread=1.0):
  """Random gradients [N, T, T + 1], norms spread over e^(spread N(0, 1))."""
  rng = np.random.default_rng(seed)
  vectors = rng.normal(size=(count, num, num + 1))
  return vectors * np.exp(spread * rng.normal(size=(count, num, 1)))


def products(vectors):
  return vectors @ vectors.swapaxes(-1, -2)


def fair(gram, alpha):
  """(G w)_i = w_i^(-1/alpha), as the minimum of a convex function.

  Newton's method with the step halved until the function falls.
  """
  power = 1 - 1 / alpha

  def value(w):
    gains = np.log(w) if alpha == 1 else w**power / power
    return w @ gram @ w / 2 - gains.sum()

  # The root of each task alone.
  w = np.diag(gram) ** (-alpha / (1 + alpha))
  for _ in range(500):
    slope = gram @ w - w ** (-1 / alpha)
    hessian = gram + np.diag(w ** (-1 / alpha - 1) / alpha)
    away = -np.linalg.solve(hessian, slope)
    # Of the update: a part that is nearly 0 has no digits of its own.
    sizes = np.sqrt(np.diag(gram))
    if (np.abs(away) * sizes).max() <= 1e-11 * (w * sizes).max():
      return w
    border = np.where(away < 0, -w / away, np.inf).min()
    length = min(1.0, .99 * border)
    limit = value(w)
    # Near the minimum its fall is rounded away, and a step needs no halving.
    near = (np.abs(away) < 1e-4 * w).all()
    while not near and value(w + length * away) > limit:
      length /= 2
    w = w + length * away
  raise AssertionError('no root')


def aligned(vectors, scale='min'):
  """Algorithm 1 by the singular values of the gradients."""
  left, sizes, _ = np.linalg.svd(vectors, full_matrices=False)
  level = {
      'min': sizes.min(),
      'median': np.sort(sizes)[(len(sizes) - 1) // 2],
      'rmse': np.sqrt((sizes**2).mean()),
  }[scale]
  return (left * level / sizes) @ left.sum(0) / len(vectors)


def gradvac(vectors, targets, beta, orders):
  """Algorithm 1 on the gradients.

  Args:
    vectors: [T, P].
    targets: [T, T].
    beta: Share of the old target that is kept.
    orders: For each task, the others.

  Returns:
    Each task's corrected gradient [T, P] and the new targets.
  """
  corrected, targets = vectors.copy(), targets.copy()
  norm = np.linalg.norm
  for i, order in enumerate(orders):
    for j in order:
      v, other = corrected[i], vectors[j]
      cosine, target = v @ other / norm(v) / norm(other), targets[i, j]
      if cosine < target:
        factor = norm(v) * (
            target * np.sqrt(1 - cosine**2) - cosine * np.sqrt(1 - target**2)
        ) / (norm(other) * np.sqrt(1 - target**2))
        corrected[i] = v + factor * other
      targets[i, j] = beta * target + (1 - beta) * cosine
  return corrected, targets


def orders(num, i):
  """All orders of the other tasks."""
  return list(itertools.permutations([j for j in range(num) if j != i]))


def pcd(vectors, tau, primary):
  """The update of the first step: sets of active constraints by size.

  Returns:
    m [T], 1 of the primary task, of the gradients divided by their norms; and
    the update [P].
  """
  num = len(vectors)
  units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
  others = [i for i in range(num) if i != primary]
  for size in range(num):
    for active in itertools.combinations(others, size):
      rows = units[list(active)]
      m = np.linalg.solve(rows @ rows.T, tau - rows @ units[primary])
      d = units[primary] + m @ rows
      if (m >= 0).all() and (units[others] @ d >= tau - 1e-9).all():
        every = np.eye(num)[primary]
        every[list(active)] = m
        length = np.linalg.norm(vectors[primary]) / np.linalg.norm(d)
        return every, d * length
  return np.eye(num)[primary], vectors[primary]
