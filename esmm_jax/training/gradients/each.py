"""The gradients of the tasks, their products, and their weighed sum."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from esmm_jax.balancing.binding import Balancer
from esmm_jax.training.gradients.parts import Sums
from esmm_jax.training.gradients.shared import Shared, TABLES
from esmm_jax.types import Array
import jax
import jax.numpy as jnp


class Each(NamedTuple):
  """The gradient of each task.

  Attributes:
    net: Leaves of the network's, of each task.
    tables: By each embedding: columns of the touched rows [U, D], or inputs
      [B, I], of each task.
  """

  net: list[list[Array]]
  tables: list[list[Array]]

  @classmethod
  def of(
      cls,
      sums: Sums,
      tasks: Sequence[str],
      coefficients: Mapping[str, Array],
      num_tables: int,
  ) -> 'Each':
    """Scales the gradients of sums to those of losses.

    Args:
      sums: With a gradient for each task.
      tasks: Terms.
      coefficients: Term -> factor.
      num_tables: Embeddings of an id.
    """
    scale = lambda k, xs: [coefficients[k] * x for x in xs]
    blocks = lambda rows: (
        rows if isinstance(rows, list) else jnp.split(rows, num_tables, axis=-1)
    )
    return cls(
        [scale(k, jax.tree.leaves(sums.net[k])) for k in tasks],
        [scale(k, blocks(sums.rows[k])) for k in tasks],
    )

  def products(self, shared: Shared, num_floats: int) -> dict[str, Array]:
    """Returns G [T, T] of each part.

    Args:
      shared: What is shared.
      num_floats: Columns at the end of the inputs that are no embeddings; 0
        for rows.
    """
    width = self.tables[0][0].shape[-1] - num_floats
    leaves = {p: [] for p in shared.parts}
    for k, is_shared in enumerate(shared.tables):
      if is_shared:
        leaves[TABLES].append([t[k][:, :width] for t in self.tables])
    for k, part in enumerate(shared.net):
      if part:
        leaves[part].append([t[k] for t in self.net])
    return {p: sum(map(_gram, several)) for p, several in leaves.items()}


def _gram(each: Sequence[Array]) -> Array:
  """Returns the products of one leaf's gradients, [T, T]."""
  num = len(each)
  products = {
      (i, j): jnp.sum(each[i] * each[j])  # No product of a TPU's low precision.
      for i in range(num)
      for j in range(i, num)
  }
  return jnp.stack([
      jnp.stack([products[min(i, j), max(i, j)] for j in range(num)])
      for i in range(num)
  ])


def combined(
    each: Each, shared: Shared, balancer: Balancer, weights: Mapping[str, Array]
) -> tuple[list[Array], list[Array]]:
  """Adds the weighed gradients of the tasks up.

  Args:
    each: Of each task.
    shared: What is shared.
    balancer: Says what a single task's parameters get.
    weights: '' for all, or part -> [T].

  Returns:
    Leaves of the network, and of the tables, as in `each`.
  """
  own = jnp.ones(len(balancer.terms))
  if balancer.weighted:
    own = weights['']

  def total(part: str, gradients: Sequence[Array]) -> Array:
    factors = weights.get(part, weights.get('')) if part else own
    return sum(factors[i] * g for i, g in enumerate(gradients))

  net = [
      total(part, [t[k] for t in each.net])
      for k, part in enumerate(shared.net)
  ]
  tables = [
      total(TABLES if is_shared else '', [t[k] for t in each.tables])
      for k, is_shared in enumerate(shared.tables)
  ]
  return net, tables
