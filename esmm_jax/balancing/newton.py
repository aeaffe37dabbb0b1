"""Newton's method for weights that balance what the tasks gain.

Nash-MTL and FairGrad ask for weights w > 0 with

    (G w)_i = w_i^(-1/alpha)    for all tasks i,

the stationary point of w G w / 2 - sum_i w_i^(1 - 1/alpha) / (1 - 1/alpha), a
strictly convex function (log w_i for alpha = 1). With y_i = n_i w_i, n_i the
norm of gradient i, and C the cosines of their angles it reads

    (C y)_i = n_i^(1/alpha - 1) y_i^(-1/alpha),

whose numbers do not have the range of G.
"""

from collections.abc import Callable
from typing import NamedTuple

from esmm_jax.balancing import active_sets
from esmm_jax.balancing.active_sets import Cosines
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


def stationary(tasks: Cosines, alpha: float | Array) -> Array:
  """Solves (G w)_i = w_i^(-1/alpha) by a damped Newton's method.

  A step ends before the border and is halved up to 12 times, until the
  residual is least. It is the same as that of the convex function above.

  Args:
    tasks: The gradients.
    alpha: Above 0.

  Returns:
    w [T], 1 for tasks that are not there; nan where there is no solution, which
    is so where a convex combination of the gradients is 0.
  """
  matrix, there = tasks.matrix, tasks.there
  power = jnp.asarray(1 / alpha, matrix.dtype)
  # In logarithms: n^(1/alpha) need not be a number of float32.
  scale = (power - 1) * jnp.log(tasks.norms)
  eps = float(jnp.finfo(matrix.dtype).eps)

  def fair(y: Array) -> Array:
    return jnp.exp(scale - power * jnp.log(y))

  def flat(y: Array) -> Array:
    y = jnp.where(there, y, 0)
    return y @ matrix @ y <= _OPPOSITE * eps * y.sum() ** 2

  def gap(y: Array) -> Array:
    """Largest residual in spacings of the numbers that it is made of."""
    size = jnp.abs(matrix) @ y + fair(y)
    return jnp.max(jnp.abs(matrix @ y - fair(y)) / (eps * size))

  def step(now: _Iterate) -> _Iterate:
    y = _newton_step(now.y, matrix, fair, power)
    goes_on = (gap(y) > 4) & (gap(y) < gap(now.y) * (1 + 1e-3))
    goes_on |= gap(y) > 1e3
    goes_on &= ~flat(y) & (now.steps < _STEPS) & jnp.isfinite(y).all()
    return _Iterate(y, now.steps + 1, goes_on)

  start = jnp.exp(scale / (1 + power))
  last = lax.while_loop(
      lambda now: now.goes_on, step, _Iterate(start, np.int32(0), np.bool_(True))
  )
  solved = (gap(last.y) < eps**-0.5) & ~flat(last.y)
  w = jnp.where(solved, last.y, jnp.nan) / tasks.norms
  return jnp.where(there, w, 1)


def room(tasks: Cosines) -> Array:
  """Returns 1 + c for two tasks with the cosine c; nan where it is 0."""
  rest = 1 + tasks.matrix[0, 1]
  # As in `stationary`: the middle of two unit vectors has the square (1 + c)/2.
  least = 2 * _OPPOSITE * float(jnp.finfo(rest.dtype).eps)
  return jnp.where(rest > least, rest, jnp.nan)


def _newton_step(
    y: Array, matrix: Array, fair: Callable[[Array], Array], power: Array
) -> Array:
  """Returns the next point."""
  residual = matrix @ y - fair(y)
  hessian = matrix + jnp.diag(power * fair(y) / y)
  every = np.ones((1, len(matrix)), bool)
  away = -active_sets.solve(hessian, every, residual[:, None])[0, :, 0]
  border = jnp.min(jnp.where(away < 0, -y / away, jnp.inf))
  first = jnp.minimum(1, _SHARE * border)
  lengths = first * 0.5 ** jnp.arange(_HALVINGS + 1, dtype=y.dtype)
  points = y + lengths[:, None] * away
  # In units of the old values: a step that halves all residuals must count as
  # progress, and it lowers this number whatever the units are.
  gaps = (points @ matrix - jax.vmap(fair)(points)) / fair(y)
  return points[jnp.argmin(jnp.sum(gaps**2, axis=1))]
