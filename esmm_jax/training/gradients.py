"""Gradients of the loss of every replica, on the touched rows and the network.

The loss of a replica is sum_k c_k sum_i v_i l_k(i) with c_k = w_k / n_k and
n_k = sum_i v_i over the sample space of term k in the whole batch; the weight
v_i of a row is 1 unless the data has weights (`Schema.weight`). The terms are
sums, so the gradients of parts of a batch add up to that of the whole
(`StepSpec.micro_batches`).

Where n_k depends on the labels alone, c_k is known before the first part, and
one gradient of the weighted sum serves all such terms. Where n_k depends on the
logits (a sum of weights 1 / pCTR, say), or the estimator rescales the term by
the losses of the batch, c_k is known after the last part: such a term has a
gradient of its own, which is added up over the parts and then multiplied.
"""

from collections.abc import Callable, Mapping, Sequence
import functools
from typing import Any

from esmm_jax.balancing import static as balancing
from esmm_jax.estimators import sampling
from esmm_jax.estimators.contract.dependence import logit_counts
from esmm_jax.training.state import StepSpec, TracedHyperparameters
from esmm_jax.types import Array, Batch, LossTerms
import jax
import jax.numpy as jnp

# Sets the key of the sampling apart from that of dropout.
_DRAW = 0x5A3B1E
# Name of the gradient of the terms whose coefficients are known beforehand.
_TOGETHER = ''


def gradients(
    plan: StepSpec,
    net: Any,
    touched: Array,
    stats: Any,
    batch: Batch,
    keys: Array,
    hyper: TracedHyperparameters,
    step: Array,
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
    step: int32, steps done.

  Returns:
    Gradients of `net`, each leaf [R, ...], and of `touched` [U, R, D]; new
    batch norm statistics; and the mean of each term with the `loss`, [R].
  """
  if keys.shape[0] > 1 and plan.map_replicas_sequentially:
    # A CPU gains nothing from larger products, and one replica's arrays fit
    # its cache where those of all do not.
    one = lambda args: _gradients_of_one(plan, batch, step, *args)
    by_replica = (net, jnp.moveaxis(touched, 1, 0), stats, keys, hyper)
    net_grads, row_grads, stats, means = jax.lax.map(one, by_replica)
    return net_grads, jnp.moveaxis(row_grads, 0, 1), stats, means
  every = jax.vmap(
      functools.partial(_gradients_of_one, plan, batch, step),
      in_axes=(0, 1, 0, 0, 0),
      out_axes=(0, 1, 0, 0),
  )
  return every(net, touched, stats, keys, hyper)


def _gradients_of_one(
    plan: StepSpec,
    batch: Batch,
    step: Array,
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
      labels[sampling.CVR_ROWS] = sampling.cvr_rows(
          labels, labels[sampling.UNIFORM], sampling.Sampling(**hyper.sampling)
      )
    batch = batch._replace(labels=labels)
  seen = {'step': step} if plan.sees_step else {}
  terms = functools.partial(plan.terms, **hyper.options, **seen)
  rows = _weighted(plan, batch)
  where = batch.where if rows is None else rows
  # These counts are of the labels alone but for the terms `apart`, so they are
  # known before any logits are, and those of the whole batch in each part.
  zeros = {name: jnp.zeros_like(batch.where) for name in plan.model.outputs}
  at_zero = terms(zeros, batch.labels, where)
  counts = {name: count for name, (_, count) in at_zero.items()}
  rescale = functools.partial(plan.rescale or _nothing, **hyper.options)
  late_counts = logit_counts(terms, zeros, batch.labels, where)
  # A term may be in both.
  apart = sorted({*late_counts, *jax.eval_shape(rescale, counts)})
  coefficients = balancing.static(counts, hyper.loss_weights)
  together = {k: c for k, c in coefficients.items() if k not in apart}
  each, stats, sums, late = _accumulate(
      plan, terms, net, touched, stats, (batch, rows), key, together, apart
  )
  if apart:
    counts |= {k: late[k] for k in late_counts}
    coefficients = balancing.static(counts, hyper.loss_weights)
  means = {k: sums[k] / balancing.divisor(counts[k]) for k in sums}
  for name, factor in rescale(means).items():
    coefficients[name] *= factor
  factors = {k: coefficients[k] for k in each if k != _TOGETHER}
  means['loss'] = sum(coefficients[k] * sums[k] for k in sums)
  net_grads, row_grads = _combined(each, factors)
  return net_grads, row_grads, stats, means


def _nothing(means: Mapping[str, Array], **options: Array) -> dict[str, Array]:
  """Rescales no term."""
  del means, options
  return {}


def _combined(
    each: Mapping[str, tuple[Any, Array]], factors: Mapping[str, Array]
) -> tuple[Any, Array]:
  """Adds the gradients up: those together as they are, others times factors."""
  total = each[_TOGETHER]
  for name, factor in factors.items():
    scaled = jax.tree.map(functools.partial(jnp.multiply, factor), each[name])
    total = jax.tree.map(jnp.add, total, scaled)
  return total


def _weighted(plan: StepSpec, batch: Batch) -> Array | None:
  """Returns what a row counts in the loss, float32 [B]; None without weights.

  It is no part of `batch.where`: batch norm is of unweighted rows.
  """
  weight = plan.model.schema.weight
  return batch.where * batch.labels[weight] if weight else None


def _grad_fn(
    plan: StepSpec,
    loss_terms: Callable[..., LossTerms],
    together: Mapping[str, Array],
    apart: Sequence[str],
) -> Callable[..., Any]:
  """Makes the gradients of one replica's loss on a part of the batch.

  Args:
    plan: See `gradients`.
    loss_terms: The estimator.
    together: Term -> coefficient, of the terms that share a gradient.
    apart: Terms that have one each.

  Returns:
    (net, touched, stats, part, key) -> the gradients of `net` and `touched` by
    `_TOGETHER` and each term `apart`, the sums and counts of all terms, and the
    new batch norm statistics. A part is of the batch and of `_weighted`.
  """

  def loss_fn(name, net, touched, stats, part, key):
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
    sums = {k: total for k, (total, _) in terms.items()}
    counts = {k: count for k, (_, count) in terms.items()}
    if name == _TOGETHER:
      # 0. first: without such terms the sum is still an array.
      loss = sum((c * sums[k] for k, c in together.items()), jnp.zeros(()))
    else:
      loss = sums[name]
    return loss, (sums, counts, updated.get('batch_stats', {}))

  def grad_fn(net, touched, stats, part, key):
    # Each traces the forward pass; XLA computes the equal ones once.
    grad = lambda name: jax.grad(
        functools.partial(loss_fn, name), argnums=(0, 1), has_aux=True
    )(net, touched, stats, part, key)
    first, (sums, counts, stats_after) = grad(_TOGETHER)
    each = {k: grad(k)[0] for k in apart}
    return {_TOGETHER: first, **each}, sums, counts, stats_after

  return grad_fn


def _accumulate(
    plan: StepSpec,
    loss_terms: Callable[..., LossTerms],
    net: Any,
    touched: Array,
    stats: Any,
    whole: tuple[Batch, Array | None],
    key: Array,
    together: Mapping[str, Array],
    apart: Sequence[str],
) -> tuple[dict[str, Any], Any, dict[str, Array], dict[str, Array]]:
  """Sums the gradients of one replica over the parts of the batch.

  Args:
    plan: See `gradients`, as for the next four.
    loss_terms: The estimator.
    net: Without the axis R.
    touched: Without the axis R.
    stats: Without the axis R.
    whole: The batch and what `_weighted` returns of it.
    key: Random key of the replica.
    together: See `_grad_fn`.
    apart: See `_grad_fn`.

  Returns:
    Gradients as `_grad_fn` has them, new batch norm statistics, and the sum and
    the count of each term.
  """
  batch, rows = whole
  grad_fn = _grad_fn(plan, loss_terms, together, apart)
  num = plan.micro_batches
  if num == 1:
    each, sums, counts, stats = grad_fn(net, touched, stats, whole, key)
    return each, stats, sums, counts

  def work(carry, part_and_key):
    totals, stats = carry
    (part, part_rows), group_index, key = part_and_key
    if group_index is not None:
      groups = batch.groups._replace(segment_ids=group_index)
      part = part._replace(groups=groups)
    *added, stats = grad_fn(net, touched, stats, (part, part_rows), key)
    return (jax.tree.map(jnp.add, totals, added), stats), None

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
  none = jax.tree.map(jnp.zeros_like, (net, touched))
  zero = {name: jnp.zeros(()) for name in (*together, *apart)}
  start = [dict.fromkeys((_TOGETHER, *apart), none), zero, zero]
  (totals, stats), _ = jax.lax.scan(
      work, (start, stats), (parts, group_index, jax.random.split(key, num))
  )
  each, sums, counts = totals
  return each, stats, sums, counts
