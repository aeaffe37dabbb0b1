"""Newton's method for weights that balance what the tasks gain.

Nash-MTL and FairGrad ask for weights w > 0 with

    (G w)_i = w_i^(-1/alpha)    for all tasks i,

the stationary point of w G w / 2 - sum_i w_i^(1 - 1/alpha) / (1 - 1/alpha), a
strictly convex function (log w_i for alpha = 1). With y_i = n_i w_i, n_i the
norm of gradient i, and C the cosines of their angles it reads

    (C y)_i = n_i^(1/alpha - 1) y_i^(-1/alpha),

whose numbers do not have the range of G.
"""

from typing import NamedTuple

from esmm_jax.balancing.by_gradients import active_sets
from esmm_jax.balancing.by_gradients.active_sets import Cosines
from esmm_jax.types import Array
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

# Six to a dozen are usual.
_STEPS = 80
_HALVINGS = 12
# Share of the way to the border y_i = 0 that a step may go.
_SHARE = 0.99
# The gradients are opposite, and there is no solution, where the shortest
# vector of their hull is no longer than rounding makes it; in spacings of 1.
_OPPOSITE = 32


class _Iterate(NamedTuple):
  """A point on the way.

  Attributes:
    y: [T].
    steps: How many were done.
    goes_on: Whether another one is worth while.
  """

  y: Array
  steps: Array
  goes_on: Array


class _Equations(NamedTuple):
  """(C y)_i = exp(scale_i) y_i^-power.

  Attributes:
    matrix: C [T, T].
    scale: [T]. In logarithms: n^(1/alpha) need not be a number of float32.
    power: 1 / alpha.
  """

  matrix: Array
  scale: Array
  power: Array

  def fair(self, y: Array) -> Array:
    """Returns the right side."""
    return jnp.exp(self.scale - self.power * jnp.log(y))

  def floor(self, y: Array) -> Array:
    """Returns the least y: less than the last digit of the update."""
    return self.eps / 64 * y.max()

  def residual(self, y: Array) -> Array:
    """Returns left minus right side; 0 where y is too large at its floor."""
    rest = self.matrix @ y - self.fair(y)
    return jnp.where((y <= 2 * self.floor(y)) & (rest > 0), 0, rest)

  def size(self, y: Array) -> Array:
    """Returns what the residual's rounding errors are relative to."""
    return jnp.abs(self.matrix) @ y + self.fair(y)

  def gap(self, y: Array) -> Array:
    """Returns the largest residual in spacings of its size."""
    return jnp.max(jnp.abs(self.residual(y)) / (self.eps * self.size(y)))

  @property
  def eps(self) -> float:
    return float(jnp.finfo(self.matrix.dtype).eps)


def stationary(tasks: Cosines, alpha: float | Array) -> Array:
  """Solves (G w)_i = w_i^(-1/alpha) by a damped Newton's method.

  Newton's step for the equations is that for the convex function above. Of its
  parts, halved up to 12 times, the one is taken after which the residual is
  least; all end before the border.

  Args:
    tasks: The gradients.
    alpha: Above 0.

  Returns:
    w [T], 1 for tasks that are not there; nan where there is no solution, which
    is so where a convex combination of the gradients is 0. A part of the
    update that is below its last digit may have a w_i too large.
  """
  power = jnp.asarray(1 / alpha, tasks.matrix.dtype)
  equations = _Equations(
      tasks.matrix, (power - 1) * jnp.log(tasks.norms), power)

  def flat(y: Array) -> Array:
    y = jnp.where(tasks.there, y, 0)
    least = _OPPOSITE * equations.eps * y.sum() ** 2
    return y @ tasks.matrix @ y <= least

  def step(now: _Iterate) -> _Iterate:
    y = _newton_step(now.y, equations)
    gap = equations.gap(y)
    goes_on = (gap > 4) & (gap < equations.gap(now.y) * (1 + 1e-3))
    goes_on |= gap > 1e3
    goes_on &= ~flat(y) & (now.steps < _STEPS) & jnp.isfinite(y).all()
    return _Iterate(y, now.steps + 1, goes_on)

  start = jnp.exp(equations.scale / (1 + power))
  last = lax.while_loop(
      lambda now: now.goes_on,
      step,
      _Iterate(start, np.int32(0), np.bool_(True)),
  )
  y = last.y
  solved = (equations.gap(y) < equations.eps**-0.5) & ~flat(y)
  return jnp.where(tasks.there, jnp.where(solved, y, jnp.nan) / tasks.norms, 1)


def room(tasks: Cosines) -> Array:
  """Returns 1 + c for two tasks with the cosine c; nan where it is 0."""
  rest = 1 + tasks.matrix[0, 1]
  # As in `stationary`: the middle of two unit vectors has the square (1 + c)/2.
  least = 2 * _OPPOSITE * float(jnp.finfo(rest.dtype).eps)
  return jnp.where(rest > least, rest, jnp.nan)


def _newton_step(y: Array, equations: _Equations) -> Array:
  """Returns the next point: the best of some on the way to Newton's."""
  residual = equations.residual(y)
  hessian = equations.matrix + jnp.diag(
      equations.power * equations.fair(y) / y)
  # At its floor a y stays.
  free = residual != 0
  alone = jnp.diag(jnp.diag(hessian))
  hessian = jnp.where(free[:, None] & free, hessian, alone)
  every = np.ones((1, len(y)), bool)
  away = -active_sets.solve(hessian, every, residual[:, None])[0, :, 0]
  border = jnp.min(jnp.where(away < 0, -y / away, jnp.inf))
  lengths = 0.5 ** jnp.arange(_HALVINGS + 1, dtype=y.dtype)[:, None]
  # All at once as far as the first border, or each up to its own.
  together = y + jnp.minimum(1, _SHARE * border) * lengths * away
  each = jnp.maximum(y + lengths * away, (1 - _SHARE) * y)
  points = jnp.concatenate([together, each])
  points = jnp.maximum(points, jax.vmap(equations.floor)(points)[:, None])
  # A step that halves all residuals is progress in any units. In these the
  # rounding of the sums is the same for all.
  gaps = jax.vmap(equations.residual)(points) / equations.size(y)
  return points[jnp.argmin(jnp.sum(gaps**2, axis=1))]
