"""Counts the floating-point operations of one prediction."""

from esmm_jax.training.state import StepSpec
from esmm_jax.types import Batch
import jax
import jax.numpy as jnp

_EXAMPLES = 64


def flops_per_example(plan: StepSpec, embed_dim: int, example: Batch) -> float:
  """Operations of the forward pass, as XLA counts them before optimization.

  A product of [a, b] and [b, c] counts 2 a b c; additions, activations and
  norms count one an element and more. A training step takes about three times
  as many. Lookups count nothing.

  Args:
    plan: Says the model.
    embed_dim: D.
    example: Any batch, for the shapes.
  """
  table = jax.ShapeDtypeStruct(
      (_EXAMPLES, embed_dim * plan.model.num_tables), jnp.float32
  )
  batch = jax.tree.map(
      lambda x: jax.ShapeDtypeStruct((_EXAMPLES, *x.shape[1:]), x.dtype),
      example,
  )
  key = jax.eval_shape(lambda: jax.random.key(0))
  variables = jax.eval_shape(plan.model.init, key, table, batch)
  lowered = jax.jit(plan.model.apply).lower(variables, table, batch)
  return lowered.cost_analysis()['flops'] / _EXAMPLES
