"""Gradients of the loss of every replica, on the touched rows and the network.

The loss of a replica is sum_k c_k sum_i v_i l_k(i) with c_k = w_k / n_k and
n_k = sum_i v_i over the sample space of term k in the whole batch; the weight
v_i of a row is 1 unless the data has weights (`Schema.weight`). The terms are
sums, so the gradients of parts of a batch add up to that of the whole
(`StepSpec.micro_batches`).
"""

from collections.abc import Callable, Mapping
import functools
from typing import Any

from esmm_jax.balancing import static as balancing
from esmm_jax.estimators import sampling
from esmm_jax.estimators.losses import ROWS
from esmm_jax.training.state import StepSpec, TracedHyperparameters
from esmm_jax.types import Array, Batch, LossTerms
import jax
import jax.numpy as jnp

_CVR_ROWS = f'cvr_clicked{ROWS}'
# Sets the key of the sampling apart from that of dropout.
_DRAW = 0x5A3B1E


def gradients(
    plan: StepSpec,
    net: Any,
    touched: Array,
    stats: Any,
    batch: Batch,
    keys: Array,
    hyper: TracedHyperparameters,
) -> tuple[Any, Array, Any, dict[str, Array]]:
  """Computes the gradients of each replica's own loss.

  Args:
    plan: Model, estimator and how the batch is divided.
    net: Parameters of the network, each leaf [R, ...].
    touched: The touched rows, float32 [U, R, D].
    stats: Batch norm statistics, each leaf [R, ...].
    batch: B examples; replicas share it.
    keys: Random keys [R] of this step.
    hyper: Loss weights and options of each replica, [R].

  Returns:
    Gradients of `net`, each leaf [R, ...], and of `touched` [U, R, D]; new
    batch norm statistics; and the mean of each term with the `loss`, [R].
  """
  if keys.shape[0] > 1 and plan.map_replicas_sequentially:
    # A CPU gains nothing from larger products, and one replica's arrays fit
    # its cache where those of all do not.
    one = lambda args: _gradients_of_one(plan, batch, *args)
    by_replica = (net, jnp.moveaxis(touched, 1, 0), stats, keys, hyper)
    net_grads, row_grads, stats, means = jax.lax.map(one, by_replica)
    return net_grads, jnp.moveaxis(row_grads, 0, 1), stats, means
  every = jax.vmap(
      functools.partial(_gradients_of_one, plan, batch),
      in_axes=(0, 1, 0, 0, 0),
      out_axes=(0, 1, 0, 0),
  )
  return every(net, touched, stats, keys, hyper)


def _gradients_of_one(
    plan: StepSpec,
    batch: Batch,
    net: Any,
    touched: Array,
    stats: Any,
    key: Array,
    hyper: TracedHyperparameters,
) -> tuple[Any, Array, Any, dict[str, Array]]:
  """Computes the gradients of one replica; arguments lack the axis R.

  Returns:
    As `gradients`, without the axis R.
  """
  if plan.needs_uniform:
    labels = sampling.draw(
        jax.random.fold_in(key, _DRAW), batch.labels, batch.where.shape[0]
    )
    if plan.sampled:
      labels[_CVR_ROWS] = sampling.cvr_rows(
          labels, labels[sampling.UNIFORM], sampling.Sampling(**hyper.sampling)
      )
    batch = batch._replace(labels=labels)
  terms = functools.partial(plan.terms, **hyper.options)
  # A sample space depends on the labels alone, so its size is known before any
  # logits are: the coefficients are those of the whole batch in each part.
  zeros = {t: jnp.zeros_like(batch.where) for t in plan.model.tasks}
  rows = _weighted(plan, batch)
  where = batch.where if rows is None else rows
  counts = {
      name: count
      for name, (_, count) in terms(zeros, batch.labels, where).items()
  }
  coefficients = balancing.static(counts, hyper.loss_weights)
  net_grads, row_grads, stats, sums = _accumulate(
      plan, terms, net, touched, stats, (batch, rows), key, coefficients
  )
  means = {k: sums[k] / balancing.divisor(counts[k]) for k in sums}
  means['loss'] = sum(coefficients[k] * sums[k] for k in sums)
  return net_grads, row_grads, stats, means


def _weighted(plan: StepSpec, batch: Batch) -> Array | None:
  """Returns what a row counts in the loss, float32 [B]; None without weights.

  It is no part of `batch.where`: batch norm is of unweighted rows.
  """
  weight = plan.model.schema.weight
  return batch.where * batch.labels[weight] if weight else None


def _grad_fn(
    plan: StepSpec,
    loss_terms: Callable[..., LossTerms],
    coefficients: Mapping[str, Array],
) -> Callable[..., Any]:
  """Makes the gradient of one replica's loss on a part of the batch.

  Returns:
    (net, touched, stats, part, key) -> the gradients of `net` and `touched`,
    and the sums of the terms with the new batch norm statistics. A part is of
    the batch and of `_weighted`.
  """

  def loss_fn(net, touched, stats, part, key):
    part, rows = part
    logits, updated = plan.model.apply(
        {'params': net, 'batch_stats': stats},
        touched,
        part,
        train=True,
        rngs={'dropout': key},
        mutable=['batch_stats'],
    )
    where = part.where if rows is None else rows
    terms = loss_terms(logits, part.labels, where)
    sums = {name: total for name, (total, _) in terms.items()}
    loss = sum(coefficients[name] * total for name, total in sums.items())
    return loss, (sums, updated.get('batch_stats', {}))

  return jax.grad(loss_fn, argnums=(0, 1), has_aux=True)


def _accumulate(
    plan: StepSpec,
    loss_terms: Callable[..., LossTerms],
    net: Any,
    touched: Array,
    stats: Any,
    whole: tuple[Batch, Array | None],
    key: Array,
    coefficients: Mapping[str, Array],
) -> tuple[Any, Array, Any, dict[str, Array]]:
  """Sums the gradients of one replica over the parts of the batch.

  Args:
    plan: See `gradients`, as for the next four.
    loss_terms: The estimator.
    net: Without the axis R.
    touched: Without the axis R.
    stats: Without the axis R.
    whole: The batch and what `_weighted` returns of it.
    key: Random key of the replica.
    coefficients: Term -> factor on its sum.

  Returns:
    Gradients of `net` and `touched`, new batch norm statistics, and the sum of
    each term.
  """
  batch, rows = whole
  grad_fn = _grad_fn(plan, loss_terms, coefficients)

  def work(carry, part_and_key):
    net_grads, row_grads, sums, stats = carry
    (part, part_rows), group_index, key = part_and_key
    if group_index is not None:
      groups = batch.groups._replace(segment_ids=group_index)
      part = part._replace(groups=groups)
    (dnet, drow), (dsum, stats) = grad_fn(
        net, touched, stats, (part, part_rows), key
    )
    add = functools.partial(jax.tree.map, jnp.add)
    carry = add(net_grads, dnet), row_grads + drow, add(sums, dsum), stats
    return carry, None

  num = plan.micro_batches
  if num == 1:
    (net_grads, row_grads), (sums, stats) = grad_fn(
        net, touched, stats, whole, key
    )
    return net_grads, row_grads, stats, sums
  split = functools.partial(
      jax.tree.map, lambda x: x.reshape(num, x.shape[0] // num, *x.shape[1:])
  )
  # Rows and groups have no axis of examples; each part embeds all groups.
  parts = split(
      (batch._replace(rows=jnp.zeros(num, jnp.int32), groups=None), rows)
  )
  group_index = None
  if batch.groups is not None:
    group_index = split(batch.groups.segment_ids)
  zeros = functools.partial(jax.tree.map, jnp.zeros_like)
  start = (
      zeros(net),
      jnp.zeros_like(touched),
      {name: jnp.zeros(()) for name in coefficients},
      stats,
  )
  (net_grads, row_grads, sums, stats), _ = jax.lax.scan(
      work, start, (parts, group_index, jax.random.split(key, num))
  )
  return net_grads, row_grads, stats, sums
