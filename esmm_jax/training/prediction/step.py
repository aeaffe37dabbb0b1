"""Predicts a batch, as a pure function; all programs predict with it."""

from collections.abc import Callable
import functools
from typing import Any

from esmm_jax.embeddings import vectors
from esmm_jax.embeddings.lookup import divided, lookup_rows
from esmm_jax.models.experts import GATES
from esmm_jax.training.state import MICRO_BATCH, StepSpec
from esmm_jax.types import Array, Batch
import jax
import jax.numpy as jnp


def predict_step(
    table: Array, net: Any, stats: Any, batch: Batch, *, plan: StepSpec
) -> tuple[dict[str, Array], dict[str, dict[str, Array]]]:
  """Predicts a batch that is not compacted, and sums the use of its gates.

  Args:
    table: float32 [V, R, num_tables * D].
    net: Parameters, each leaf [R, ...].
    stats: Batch norm statistics, each leaf [R, ...].
    batch: Slots are rows of the table.
    plan: Names the model.

  Returns:
    Output -> float32 [R, B]: log-odds `ctr`, `cvr`, `ctcvr`, say, or values
    of a regression; of rows that are padding, anything. And for each gate over
    the real examples of the batch the sums of its weights, `load` float32
    [R, E], and of their entropy in nats, `entropy` float32 [R].
  """
  stats, batch = vectors.attached(plan.model.schema, stats, batch)
  predict = functools.partial(_predict_rows, table, net, stats, plan=plan)
  parts = _parts(batch)
  if parts == 1:
    logits, gates = predict(batch)
  else:
    logits, gates = _predict_parts(predict, batch, parts)
  # Of the whole batch: XLA rounds these otherwise in a program of parts.
  outputs = jax.vmap(plan.outputs)(logits)
  use = {k: _gate_use(weights, batch.where) for k, weights in gates.items()}
  return outputs, use


def _parts(batch: Batch) -> int:
  """Returns the parts of a batch that are predicted one after the other.

  As in training, parts of MICRO_BATCH rows fit the cache of a CPU. With groups
  one part, because each part would embed all groups of the batch.
  """
  size = batch.slots.shape[0]
  if jax.default_backend() != 'cpu' or batch.groups is not None:
    return 1
  if not isinstance(size, int) or jax.sharding.get_abstract_mesh().size > 1:
    return 1  # An export for any number of rows; rows of several devices.
  return 1 if size % MICRO_BATCH else max(1, size // MICRO_BATCH)


def _predict_parts(
    predict: Callable[[Batch], Any], batch: Batch, parts: int
) -> Any:
  """Predicts a batch part by part; returns what `predict` does of all of it."""
  examples = batch._replace(rows=jnp.zeros(parts, jnp.int32), labels={})
  by_part = jax.tree.map(
      lambda x: x.reshape(parts, x.shape[0] // parts, *x.shape[1:]), examples
  )
  like = jax.eval_shape(predict, jax.tree.map(lambda x: x[0], by_part))

  def padding(_):
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like)

  # The last batch of a split may have parts without an example.
  predicted = jax.lax.map(
      lambda part: jax.lax.cond(part.where.any(), predict, padding, part),
      by_part,
  )
  return jax.tree.map(
      lambda x: jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, *x.shape[3:]),
      predicted,
  )


def _predict_rows(
    table: Array, net: Any, stats: Any, batch: Batch, *, plan: StepSpec
) -> tuple[dict[str, Array], dict[str, Array]]:
  """Predicts rows.

  Returns:
    The logits of the tasks, [R, B] each, and the weights of the gates,
    [R, B, E].
  """
  rows = table
  if table.shape[1] > 1 or divided():
    # Of several replicas, or devices, the rows are gathered together.
    rows, batch = _gathered(table, batch)

  def predict(net, stats, rows):
    variables = {'params': net, 'batch_stats': stats}
    raw, sown = plan.model.apply(variables, rows, batch, mutable=[GATES])
    gates = {k: v['weights'][0] for k, v in sown.get(GATES, {}).items()}
    return raw, gates

  return jax.vmap(predict, in_axes=(0, 0, 1))(net, stats, rows)


def _gathered(table: Array, batch: Batch) -> tuple[Array, Batch]:
  """Gathers the rows of all slots, [n, R, .]; slots become rows of these."""
  flat = batch.slots.reshape(-1)
  groups = batch.groups
  if groups is not None:
    flat = jnp.concatenate([flat, groups.slots.reshape(-1)])
  rows = lookup_rows(table, flat)  # [B * S + G * S', R, .]
  positions = jnp.arange(rows.shape[0], dtype=jnp.int32)
  size = batch.slots.size
  batch = batch._replace(slots=positions[:size].reshape(batch.slots.shape))
  if groups is not None:
    group_slots = positions[size:].reshape(groups.slots.shape)
    batch = batch._replace(groups=groups._replace(slots=group_slots))
  return rows, batch


def _gate_use(weights: Array, where: Array) -> dict[str, Array]:
  """Sums over the examples a gate's weights [R, B, E] and their entropy."""
  entropy = jnp.sum(jax.scipy.special.entr(weights), axis=-1)
  sums = jax.vmap(lambda values: where @ values)
  return {'load': sums(weights), 'entropy': sums(entropy)}
