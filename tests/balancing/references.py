"""Slow references of the methods, in float64, one Gram matrix at a time.

They share nothing with the package. Quadratic programs try all active sets and
take the feasible one of the least value.
"""

import itertools

import numpy as np


def grams(num, count, seed=0, spread=1.0, dims=None):
  """Products of random gradients whose norms spread over e^(spread N(0, 1))."""
  rng = np.random.default_rng(seed)
  vectors = rng.normal(size=(count, num, dims or num))
  vectors *= np.exp(spread * rng.normal(size=(count, num, 1)))
  return vectors @ vectors.transpose(0, 2, 1)


def norms(gram):
  return np.sqrt(np.einsum('...ii->...i', gram))


def parts(weights, gram):
  """Lengths of w_i g_i, relative to the longest: errors that an update sees."""
  sizes = np.asarray(weights) * norms(gram)
  return sizes / np.abs(sizes).max(-1, keepdims=True)


def value(gram, v):
  return v @ gram @ v


def pcgrad(gram):
  """Algorithm 1 of the paper on vectors, the mean over all orders."""
  num = len(gram)
  total = np.zeros(num)
  for i in range(num):
    others = [j for j in range(num) if j != i]
    orders = list(itertools.permutations(others))
    for order in orders:
      v = np.eye(num)[i]
      for j in order:
        product = gram[j] @ v
        if product < 0:
          v = v - product / gram[j, j] * np.eye(num)[j]
      total += v / len(orders)
  return total


def project(matrix, least):
  """argmin v H v over v >= u."""
  num, best = len(matrix), least
  for free in itertools.product((False, True), repeat=num):
    free = np.array(free)
    v = least.copy()
    if free.any():
      right = -matrix[free][:, ~free] @ least[~free]
      v[free] = np.linalg.solve(matrix[np.ix_(free, free)], right)
    feasible = (v >= least).all()
    if feasible and value(matrix, v) < value(matrix, best):
      best = v
  return best


def regularized(gram, delta):
  return gram / np.trace(gram) + delta * np.eye(len(gram))


def upgrad(gram, delta=1e-4):
  num = len(gram)
  matrix = regularized(gram, delta)
  return sum(project(matrix, u / num) for u in np.eye(num))


def dualproj(gram, delta=1e-4):
  num = len(gram)
  return project(regularized(gram, delta), np.full(num, 1 / num))


def mgda(gram):
  num, best = len(gram), None
  for inside in itertools.product((False, True), repeat=num):
    inside = np.array(inside)
    if not inside.any():
      continue
    # The stationary point on this face of the simplex.
    size = inside.sum()
    system = np.ones((size + 1, size + 1))
    system[:size, :size] = gram[np.ix_(inside, inside)]
    system[-1, -1] = 0
    scale = np.ones(size + 1)
    scale[:size] = 1 / np.sqrt(np.diag(system)[:size])
    right = np.eye(size + 1)[-1]
    solved = np.linalg.lstsq(
        system * scale[:, None] * scale, right * scale)[0] * scale
    v = np.zeros(num)
    v[inside] = solved[:size]
    fine = (v >= 0).all() and abs(v.sum() - 1) < 1e-6
    if fine and (best is None or value(gram, v) < value(gram, best)):
      best = v
  return best


def frank_wolfe(gram, steps=100, least=1e-3):
  """MGDA as TorchJD 0.18 has it: algorithm 2 of the paper, stopped early."""
  alpha = np.full(len(gram), 1 / len(gram))
  for _ in range(steps):
    t = np.argmin(gram @ alpha)
    a, b, c = alpha @ gram[t], alpha @ gram @ alpha, gram[t, t]
    gamma = 1 if c <= a else 0 if b <= a else (b - a) / (b + c - 2 * a)
    alpha = (1 - gamma) * alpha + gamma * np.eye(len(gram))[t]
    if gamma < least:
      break
  return alpha


def imtl_g(gram):
  """v = G^-1 sqrt(diag G); nan where sum v <= 0."""
  v = np.linalg.solve(gram, norms(gram))
  return v / v.sum() if v.sum() > 0 else np.full(len(v), np.nan)


def cagrad_dual(gram, a, c):
  """The dual of CAGrad at a, whose minimum over the simplex is wanted; [N]."""
  mean = np.einsum('nij,ni->nj', gram, np.full(a.shape, 1 / a.shape[1]))
  g0 = np.sqrt(np.maximum(mean.mean(1), 0))
  length = np.sqrt(np.maximum(np.einsum('ni,nij,nj->n', a, gram, a), 0))
  return np.einsum('ni,ni->n', mean, a) + c * g0 * length


def cagrad(gram, c):
  """Searches the simplex of two or three tasks, of [N, T, T] matrices."""
  count, num = gram.shape[:2]

  def search(inner, lows, highs, steps=60):
    for _ in range(steps):
      third = (highs - lows) / 3
      left, right = lows + third, highs - third
      is_left = inner(left)[0] < inner(right)[0]
      lows, highs = (
          np.where(is_left, lows, left), np.where(is_left, right, highs))
    return inner((lows + highs) / 2)

  def at(*shares):
    a = np.stack([*shares, 1 - sum(shares)], 1)
    return cagrad_dual(gram, a, c), a

  zeros, ones = np.zeros(count), np.ones(count)
  if num == 2:
    a = search(at, zeros, ones)[1]
  else:
    a = search(
        lambda x: search(lambda y: at(x, y), zeros, 1 - x), zeros, ones)[1]
  g0 = np.sqrt(gram.mean((1, 2)))
  length = np.sqrt(np.einsum('ni,nij,nj->n', a, gram, a))
  return 1 / num + (c * g0 / length)[:, None] * a
