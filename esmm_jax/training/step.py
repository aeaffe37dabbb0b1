"""One step of training and one of prediction, as pure functions.

The step takes R replicas at once; see `train_state.py`.
"""

from collections.abc import Callable, Mapping
import functools
from typing import Any

from esmm_jax.balancing import static as balancing
from esmm_jax.embeddings.lookup import gather_rows, lookup_rows
from esmm_jax.embeddings.lookup import mask_padding_rows, scatter_rows
from esmm_jax.estimators import sampling
from esmm_jax.estimators.losses import ROWS
from esmm_jax.models.experts import GATES
from esmm_jax.optim.lazy import tree_where
from esmm_jax.training import non_finite
from esmm_jax.training.state import Hyper, Plan, TrainState
from esmm_jax.types import Array, Batch, LossTerms
import jax
import jax.numpy as jnp

_CVR_ROWS = f'cvr_clicked{ROWS}'
# Sets the key of the sampling apart from that of dropout.
_DRAW = 0x5A3B1E


def train_step(
    state: TrainState, batch: Batch, hyper: Hyper, *, plan: Plan
) -> TrainState:
  """One step of every replica.

  gather the touched rows -> loss -> gradient -> optimizer on those rows and on
  the network -> scatter the rows back.
  """
  padded = state.table.shape[0]
  rows = mask_padding_rows(batch.rows, plan.model.schema.num_rows, padded)
  small = state.table if plan.dense else gather_rows(state.table, rows)
  num = state.keys.shape[0]
  keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(state.keys, state.step)
  net_grads, row_grads, stats, means = _every_replica(
      plan, state.net, small, state.stats, batch, keys, hyper
  )
  good = non_finite.good(means['loss'], net_grads, row_grads)
  if plan.embedding_l2:
    row_grads = row_grads + plan.embedding_l2 * small
  if plan.tower_l2:
    net_grads = _add_tower_l2(net_grads, state.net, plan.tower_l2)
  if plan.clip_norm:
    net_grads, row_grads = _clip(net_grads, row_grads, plan.clip_norm)

  rate = -hyper.learning_rate * plan.schedule(state.step)  # [R]
  directions, net_opt = plan.net_tx.update(net_grads, state.net_opt, state.net)
  net = jax.tree.map(
      lambda p, d: p + rate.reshape((num,) + (1,) * (p.ndim - 1)) * d,
      state.net,
      directions,
  )
  directions, table_opt = plan.row_tx.update(
      row_grads,
      state.table_opt,
      small,
      rows,
      padded,
      good if plan.skip_ceiling else None,
  )
  # One replica: a scalar, so that XLA sees a flat loop.
  row_rate = rate[0] if num == 1 else rate[:, None]
  moved = small + row_rate * directions
  skipped, bad = state.skipped, ~good
  if plan.skip_ceiling:
    moved = jnp.where(good[:, None], moved, small)
    new, old = (net, stats, net_opt), (state.net, state.stats, state.net_opt)
    net, stats, net_opt = tree_where(good, new, old)
    means = {k: jnp.where(good, v, 0.0) for k, v in means.items()}
    skipped = skipped + ~good
    bad = skipped[0] > plan.skip_ceiling
  table = moved if plan.dense else scatter_rows(state.table, rows, moved)
  bad = bad & (state.bad_step < 0)
  return TrainState(
      step=state.step + 1,
      table=table,
      net=net,
      stats=stats,
      table_opt=table_opt,
      net_opt=net_opt,
      keys=state.keys,
      sums={k: total + means[k] for k, total in state.sums.items()},
      since=state.since + 1,
      bad_step=jnp.where(bad, state.step, state.bad_step),
      skipped=skipped,
  )


def predict_step(
    table: Array, net: Any, stats: Any, batch: Batch, *, plan: Plan
) -> tuple[dict[str, Array], dict[str, dict[str, Array]]]:
  """Outputs of a batch that is not compacted, and how its gates were used.

  Args:
    table: float32 [V, R, num_tables * D].
    net: Parameters, each leaf [R, ...].
    stats: Batch norm statistics, each leaf [R, ...].
    batch: Slots are rows of the table.
    plan: Says the model.

  Returns:
    Output -> float32 [R, B]: log-odds `ctr`, `cvr`, `ctcvr`, say, or values
    of a regression. And for each gate over the real examples of the batch the
    sums of its weights, `load` float32 [R, E], and of their entropy in nats,
    `entropy` float32 [R].
  """
  flat = batch.slots.reshape(-1)
  groups = batch.groups
  if groups is not None:
    flat = jnp.concatenate([flat, groups.slots.reshape(-1)])
  small = lookup_rows(table, flat)  # [B * S + G * S', R, .]
  places = jnp.arange(small.shape[0], dtype=jnp.int32)
  size = batch.slots.size
  batch = batch._replace(slots=places[:size].reshape(batch.slots.shape))
  if groups is not None:
    own = places[size:].reshape(groups.slots.shape)
    batch = batch._replace(groups=groups._replace(slots=own))

  def predict(net, stats, small):
    variables = {'params': net, 'batch_stats': stats}
    raw, sown = plan.model.apply(variables, small, batch, mutable=[GATES])
    return plan.outputs(raw), _gate_use(sown.get(GATES, {}), batch.where)

  return jax.vmap(predict, in_axes=(0, 0, 1))(net, stats, small)


def _gate_use(sown: Any, where: Array) -> dict[str, dict[str, Array]]:
  """Sums over the examples of each gate's weights and of their entropy."""
  use = {}
  for name, values in sown.items():
    (weights,) = values['weights']  # [B, E]
    entropy = jnp.sum(jax.scipy.special.entr(weights), axis=-1)
    use[name] = {'load': where @ weights, 'entropy': where @ entropy}
  return use


def _add_tower_l2(net_grads: Any, net: Any, l2: float) -> Any:
  """Adds the gradient of l2 / 2 |W|^2 to the kernels of towers.

  Towers are found by the prefix `tower` of their name; see `Plan.tower_l2`.
  """

  def add(path, gradient, kernel):
    names = [p.key for p in path]
    if names[0].startswith('tower') and names[-1] == 'kernel':
      return gradient + l2 * kernel
    return gradient

  return jax.tree_util.tree_map_with_path(add, net_grads, net)


def _every_replica(
    plan: Plan,
    net: Any,
    small: Array,
    stats: Any,
    batch: Batch,
    keys: Array,
    hyper: Hyper,
) -> tuple[Any, Array, Any, dict[str, Array]]:
  """`_one_replica` of each: all at once, or one after the other.

  A CPU gains nothing from larger products, and one replica's arrays fit its
  cache where those of all do not.
  """
  if keys.shape[0] > 1 and plan.one_by_one:
    one = lambda args: _one_replica(plan, batch, *args)
    by_replica = (net, jnp.moveaxis(small, 1, 0), stats, keys, hyper)
    net_grads, row_grads, stats, means = jax.lax.map(one, by_replica)
    return net_grads, jnp.moveaxis(row_grads, 0, 1), stats, means
  every = jax.vmap(
      functools.partial(_one_replica, plan, batch),
      in_axes=(0, 1, 0, 0, 0),
      out_axes=(0, 1, 0, 0),
  )
  return every(net, small, stats, keys, hyper)


def _one_replica(
    plan: Plan,
    batch: Batch,
    net: Any,
    small: Array,
    stats: Any,
    key: Array,
    hyper: Hyper,
) -> tuple[Any, Array, Any, dict[str, Array]]:
  """One replica's gradients.

  Returns:
    Gradients of net and small, new batch norm statistics, and the mean of each
    term with the `loss`.
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
  # The sizes of the terms' sample spaces are of labels alone.
  zeros = {t: jnp.zeros_like(batch.where) for t in plan.model.tasks}
  counts = {
      name: count
      for name, (_, count) in terms(zeros, batch.labels, batch.where).items()
  }
  coefficients = balancing.static(counts, hyper.loss_weights)
  net_grads, row_grads, stats, sums = _gradients(
      plan, terms, net, small, stats, batch, key, coefficients
  )
  means = {k: sums[k] / jnp.maximum(counts[k], 1.0) for k in sums}
  means['loss'] = sum(coefficients[k] * sums[k] for k in sums)
  return net_grads, row_grads, stats, means


def _gradients(
    plan: Plan,
    loss_terms: Callable[..., LossTerms],
    net: Any,
    small: Array,
    stats: Any,
    batch: Batch,
    key: Array,
    coefficients: Mapping[str, Array],
) -> tuple[Any, Array, Any, dict[str, Array]]:
  """Gradients of one replica's loss in `net` and `small`, in parts.

  Returns:
    Gradients of net and small, new batch norm statistics, and the terms' sums.
  """

  def loss_fn(net, small, stats, part, key):
    logits, updated = plan.model.apply(
        {'params': net, 'batch_stats': stats},
        small,
        part,
        train=True,
        rngs={'dropout': key},
        mutable=['batch_stats'],
    )
    terms = loss_terms(logits, part.labels, part.where)
    sums = {name: total for name, (total, _) in terms.items()}
    loss = sum(coefficients[name] * total for name, total in sums.items())
    return loss, (sums, updated.get('batch_stats', {}))

  grad_fn = jax.grad(loss_fn, argnums=(0, 1), has_aux=True)

  def work(carry, part_and_key):
    net_grads, row_grads, sums, stats = carry
    part, of, key = part_and_key
    if of is not None:
      part = part._replace(groups=batch.groups._replace(of=of))
    (dnet, drow), (dsum, stats) = grad_fn(net, small, stats, part, key)
    add = functools.partial(jax.tree.map, jnp.add)
    carry = add(net_grads, dnet), row_grads + drow, add(sums, dsum), stats
    return carry, None

  num = plan.micro_batches
  if num == 1:
    (net_grads, row_grads), (sums, stats) = grad_fn(
        net, small, stats, batch, key
    )
    return net_grads, row_grads, stats, sums
  split = functools.partial(
      jax.tree.map, lambda x: x.reshape(num, x.shape[0] // num, *x.shape[1:])
  )
  # Neither rows nor groups are of examples; each part embeds all groups.
  parts = split(batch._replace(rows=jnp.zeros(num, jnp.int32), groups=None))
  of = None if batch.groups is None else split(batch.groups.of)
  zeros = functools.partial(jax.tree.map, jnp.zeros_like)
  start = (
      zeros(net),
      jnp.zeros_like(small),
      {name: jnp.zeros(()) for name in coefficients},
      stats,
  )
  (net_grads, row_grads, sums, stats), _ = jax.lax.scan(
      work, start, (parts, of, jax.random.split(key, num))
  )
  return net_grads, row_grads, stats, sums


def _clip(net_grads: Any, row_grads: Array, norm: float) -> tuple[Any, Array]:
  """Scales each replica's gradient, network and rows, to at most `norm`."""
  squares = [
      jnp.sum(jnp.square(g), axis=tuple(range(1, g.ndim)))
      for g in jax.tree.leaves(net_grads)
  ]
  total = sum(squares) + jnp.sum(jnp.square(row_grads), axis=(0, 2))  # [R]
  factor = jnp.minimum(1.0, norm / jnp.maximum(jnp.sqrt(total), 1e-30))
  return (
      jax.tree.map(
          lambda g: g * factor.reshape((-1,) + (1,) * (g.ndim - 1)), net_grads
      ),
      row_grads * factor[:, None],
  )
