"""Finds the parameters that the gradient of a term reaches.

It looks at the traced gradient, so neither models nor estimators say it: where
a term does not depend on a parameter, or stops its gradient there, that is a
constant 0.
"""

from collections.abc import Callable
from typing import Any

from esmm_jax.types import Array
import jax
import numpy as np


def reached(loss: Callable[..., Array], *args: Any) -> list[bool]:
  """Returns for each leaf of the arguments whether the gradient reaches it.

  >>> import jax
  >>> from esmm_jax.training.gradients.reach import reached
  >>> def loss(x):
  ...   return (x['a'] * jax.lax.stop_gradient(x['b'])).sum() + 2 * x['c']
  >>> x = jax.numpy.ones(3)
  >>> reached(loss, {'a': x, 'b': x, 'c': 1.0, 'd': x})
  [True, False, True, False]

  Args:
    loss: Of the arguments, a scalar.
    *args: Trees of arrays, of which the shapes count.
  """
  gradient = jax.grad(loss, argnums=tuple(range(len(args))))
  jaxpr = jax.make_jaxpr(gradient)(*args).jaxpr
  makers = {id(v): e for e in jaxpr.eqns for v in e.outvars}
  return [not _is_zero(v, makers) for v in jaxpr.outvars]


def _is_zero(variable: Any, makers: dict[int, Any]) -> bool:
  """Returns whether a value of a program is the constant 0, spread or not."""
  while not hasattr(variable, 'val'):  # Not yet a literal.
    equation = makers.get(id(variable))
    if equation is None or equation.primitive.name != 'broadcast_in_dim':
      return False
    variable = equation.invars[0]
  return not np.any(variable.val)
