"""Gradients of one replica, summed over the parts of a batch."""

from collections.abc import Callable, Mapping
import functools
from typing import Any, NamedTuple

from esmm_jax.training.gradients import inputs
from esmm_jax.training.state import StepSpec
from esmm_jax.types import Array, Batch, LossTerms
import jax
import jax.numpy as jnp

# Name of the gradient of the terms whose coefficients are known beforehand.
TOGETHER = ''


class Wanted(NamedTuple):
  """The gradients that are wanted.

  Attributes:
    plan: Model, and how the batch is divided.
    terms: The estimator, `(logits, labels, where) -> LossTerms`.
    together: Term -> coefficient, of the terms that share a gradient.
    apart: Terms that have one each.
    at_inputs: Whether those of `apart` are by the networks' inputs, not by the
      touched rows.
  """

  plan: StepSpec
  terms: Callable[..., LossTerms]
  together: Mapping[str, Array]
  apart: tuple[str, ...] = ()
  at_inputs: bool = False


class Sums(NamedTuple):
  """Sums over a batch.

  Attributes:
    net: Name of a gradient -> by the network, as `net`.
    rows: Name -> by the touched rows [U, D], or by the inputs, [B, I] each.
    sums: Term -> its sum.
    counts: Term -> its count.
    stats: New batch norm statistics.
  """

  net: dict[str, Any]
  rows: dict[str, Any]
  sums: dict[str, Array]
  counts: dict[str, Array]
  stats: Any


def loss_fn(
    wanted: Wanted,
    name: str,
    net: Any,
    rows: Any,
    touched: Array,
    stats: Any,
    part: tuple[Batch, Array | None],
    key: Array,
) -> tuple[Array, Any]:
  """Computes the sum of a term, or of those together, on a part.

  Args:
    wanted: See there.
    name: A term, or `TOGETHER`.
    net: Parameters of the network.
    rows: What is differentiated by in place of `touched`: these, or what is
      added to the inputs where `wanted.at_inputs` says so for this name.
    touched: The touched rows [U, D].
    stats: Batch norm statistics.
    part: Of the batch, and the weights of its rows or None.
    key: For dropout.

  Returns:
    The sum; the sums and counts of all terms, and new statistics.
  """
  part, weighted = part
  by_inputs = wanted.at_inputs and name != TOGETHER
  with inputs.added(rows if by_inputs else None):
    logits, updated = wanted.plan.model.apply(
        {'params': net, 'batch_stats': stats},
        touched if by_inputs else rows,
        part,
        train=True,
        rngs={'dropout': key},
        mutable=['batch_stats'],
    )
  where = part.where if weighted is None else weighted
  terms = wanted.terms(logits, part.labels, where)
  sums = {k: total for k, (total, _) in terms.items()}
  counts = {k: count for k, (_, count) in terms.items()}
  if name == TOGETHER:
    # 0. first: without such terms the sum is still an array.
    loss = sum((c * sums[k] for k, c in wanted.together.items()), jnp.zeros(()))
  else:
    loss = sums[name]
  return loss, (sums, counts, updated.get('batch_stats', {}))


def _of_part(
    wanted: Wanted,
    net: Any,
    touched: Array,
    stats: Any,
    part: tuple[Batch, Array | None],
    key: Array,
) -> Sums:
  """Computes the gradients on one part of the batch."""
  at_zero = None
  if wanted.at_inputs:
    at_zero = inputs.zeros(wanted.plan.model, net, stats, touched, part[0])

  # Each traces the forward pass; XLA computes the equal ones once.
  def grad(name: str) -> Any:
    rows = at_zero if wanted.at_inputs and name != TOGETHER else touched
    return jax.grad(
        functools.partial(loss_fn, wanted, name), argnums=(0, 1), has_aux=True
    )(net, rows, touched, stats, part, key)

  (net_grads, row_grads), (sums, counts, stats_after) = grad(TOGETHER)
  of_net, of_rows = {TOGETHER: net_grads}, {TOGETHER: row_grads}
  for name in wanted.apart:
    (of_net[name], of_rows[name]), _ = grad(name)
  return Sums(of_net, of_rows, sums, counts, stats_after)


def accumulate(
    wanted: Wanted,
    net: Any,
    touched: Array,
    stats: Any,
    whole: tuple[Batch, Array | None],
    key: Array,
) -> Sums:
  """Sums the gradients over the parts of the batch.

  Args:
    wanted: See there.
    net: Parameters of the network.
    touched: The touched rows [U, D].
    stats: Batch norm statistics.
    whole: The batch, and the weights of its rows or None.
    key: Random key of the replica.
  """
  batch, weighted = whole
  num = wanted.plan.micro_batches
  if num == 1:
    return _of_part(wanted, net, touched, stats, whole, key)

  def work(carry, part_and_key):
    totals, stats = carry
    part, key = part_and_key
    part = _with_groups(batch, part)
    new = _of_part(wanted, net, touched, stats, part, key)
    at_inputs = {}
    if wanted.at_inputs:  # Of examples, so they are not added up.
      at_inputs = {k: new.rows[k] for k in wanted.apart}
      new = new._replace(rows={TOGETHER: new.rows[TOGETHER]})
    totals = jax.tree.map(jnp.add, totals, new._replace(stats={}))
    return (totals, new.stats), at_inputs

  names = (TOGETHER, *wanted.apart)
  none = functools.partial(jax.tree.map, jnp.zeros_like)
  zero = {name: jnp.zeros(()) for name in _all_terms(wanted, batch)}
  start = Sums(
      dict.fromkeys(names, none(net)),
      dict.fromkeys(names[:1] if wanted.at_inputs else names, none(touched)),
      zero,
      zero,
      {},
  )
  (totals, stats), at_inputs = jax.lax.scan(
      work, (start, stats), (_divided(whole, num), jax.random.split(key, num))
  )
  joined = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), at_inputs)
  return totals._replace(rows=totals.rows | joined, stats=stats)


def sums_alone(
    wanted: Wanted,
    net: Any,
    touched: Array,
    stats: Any,
    whole: tuple[Batch, Array | None],
    key: Array,
) -> tuple[dict[str, Array], dict[str, Array]]:
  """Sums the terms over the parts of the batch, without gradients.

  Args:
    wanted: See there, as for the rest `accumulate`.

  Returns:
    Term -> sum, and term -> count.
  """
  num = wanted.plan.micro_batches

  def work(part_and_key):
    part, key = part_and_key
    part = _with_groups(whole[0], part)
    _, (sums, counts, _) = loss_fn(
        wanted, TOGETHER, net, touched, touched, stats, part, key
    )
    return sums, counts

  if num == 1:
    return work(((*whole, None), key))
  parts = _divided(whole, num), jax.random.split(key, num)
  return jax.tree.map(lambda x: x.sum(axis=0), jax.lax.map(work, parts))


def _divided(whole: tuple[Batch, Array | None], num: int) -> Any:
  """Divides a batch: its rows, their weights and their groups, [num, ...]."""
  batch, weighted = whole
  split = functools.partial(
      jax.tree.map, lambda x: x.reshape(num, x.shape[0] // num, *x.shape[1:])
  )
  # Rows and groups have no axis of examples; each part embeds all groups.
  parts = split(
      (batch._replace(rows=jnp.zeros(num, jnp.int32), groups=None), weighted)
  )
  groups = batch.groups
  return *parts, None if groups is None else split(groups.segment_ids)


def _with_groups(
    batch: Batch, divided: Any
) -> tuple[Batch, Array | None]:
  """Gives a part the groups of the whole batch, and its weights."""
  part, weighted, group_index = divided
  if group_index is not None:
    groups = batch.groups._replace(segment_ids=group_index)
    part = part._replace(groups=groups)
  return part, weighted


def _all_terms(wanted: Wanted, batch: Batch) -> list[str]:
  """Returns the names of the estimator's terms."""
  logits = {name: batch.where for name in wanted.plan.model.outputs}
  shapes = jax.eval_shape(wanted.terms, logits, batch.labels, batch.where)
  return sorted(shapes)
