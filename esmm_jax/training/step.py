"""One optimizer step of all replicas, as a pure function."""

from collections.abc import Mapping
from typing import Any

from esmm_jax.embeddings.lookup import gather_rows, mask_padding_rows
from esmm_jax.embeddings.lookup import scatter_rows
from esmm_jax.optim.lazy import tree_where
from esmm_jax.training import non_finite
from esmm_jax.training.gradients import Gradients, gradients, losses
from esmm_jax.training.noting import notes
from esmm_jax.training.state import StepSpec, TracedHyperparameters, TrainState
from esmm_jax.types import Array, Batch
import jax
import jax.numpy as jnp


def train_step(
    state: TrainState,
    batch: Batch,
    hyper: TracedHyperparameters,
    *,
    plan: StepSpec,
) -> TrainState:
  """Takes one optimizer step of all R replicas.

  Only the U table rows that the batch touches are gathered, differentiated,
  updated and scattered back, so the cost does not depend on V.

  Args:
    state: Table [V, R, D], network leaves [R, ...], and their optimizer states.
    batch: B examples; `batch.rows` int32 [U] are the touched rows, those at or
      past V padding.
    hyper: Learning rate, loss weights and options of each replica, each [R].
    plan: Model, estimator and optimizers; static under jit.

  Returns:
    The state after the step, with the terms' means [R] added to `sums`. A
    replica with a loss or gradient that is not finite is unchanged where
    `plan.skip_ceiling` allows it; else `bad_step` notes the step.
  """
  padded = state.table.shape[0]
  # Padding ids must lie past the padded table too: a scatter drops them.
  rows = mask_padding_rows(batch.rows, plan.model.schema.num_rows, padded)
  touched = state.table if plan.dense else gather_rows(state.table, rows)
  keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(state.keys, state.step)
  computed = gradients(
      plan, state.net, touched, state.stats, batch, keys, hyper, state.step,
      state.balance,
  )
  net_grads, row_grads, stats, means, balance, _ = computed
  # Checked before L2 and clipping, which could hide an inf.
  good = non_finite.good(means['loss'], net_grads, row_grads)
  net_grads, row_grads, noted = _regularize(
      plan, state, touched, net_grads, row_grads
  )
  moved, net, net_opt, table_opt = _optimize(
      plan, state, hyper, touched, rows, net_grads, row_grads, good
  )
  if plan.balancer is not None and plan.balancer.after:
    balance = _after(
        plan, state, hyper, batch, keys, computed, net, moved
    )
  skipped, bad = state.skipped, ~good
  if plan.skip_ceiling:
    # The optimizers ran on all replicas; those that are not good keep what they
    # had. The table's state is kept by the row optimizer itself.
    moved = jnp.where(good[:, None], moved, touched)
    new = (net, stats, net_opt, balance)
    old = (state.net, state.stats, state.net_opt, state.balance)
    net, stats, net_opt, balance = tree_where(good, new, old)
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
      steps_since_report=state.steps_since_report + 1,
      bad_step=jnp.where(bad, state.step, state.bad_step),
      skipped=skipped,
      balance=balance,
      noted=noted,
  )


def _after(
    plan: StepSpec,
    state: TrainState,
    hyper: TracedHyperparameters,
    batch: Batch,
    keys: Array,
    computed: Gradients,
    net: Any,
    moved: Array,
) -> Any:
  """Lets the method see what the step did to the losses of its batch.

  Returns:
    Its new state, each leaf [R, ...].
  """
  now = losses(
      plan, net, moved, state.stats, batch, keys, hyper, state.step
  )  # [R, T]
  before, counts = computed.tasks

  def after(before, now, counts, state, options):
    return plan.balancer.after(before, now, counts, state, **options)

  return {
      part: jax.vmap(after)(before, now, counts, one, hyper.balancing)
      for part, one in computed.balance.items()
  }


def _optimize(
    plan: StepSpec,
    state: TrainState,
    hyper: TracedHyperparameters,
    touched: Array,
    rows: Array,
    net_grads: Any,
    row_grads: Array,
    good: Array,
) -> tuple[Array, Any, Any, Any]:
  """Runs the optimizers on the touched rows and on the network.

  Returns:
    The new rows [U, R, D], the new network, and the states of its optimizer
    and of the table's.
  """
  num = state.keys.shape[0]
  # Transformations give directions: each replica has its own learning rate.
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
      touched,
      rows,
      state.table.shape[0],
      good if plan.skip_ceiling else None,
  )
  # One replica: a scalar, so that XLA sees a flat loop.
  row_rate = rate[0] if num == 1 else rate[:, None]
  return touched + row_rate * directions, net, net_opt, table_opt


def _regularize(
    plan: StepSpec,
    state: TrainState,
    touched: Array,
    net_grads: Any,
    row_grads: Array,
) -> tuple[Any, Array, Mapping[str, Array] | None]:
  """Adds the L2 terms to the gradients, then clips them.

  Returns:
    The gradients, and what the step notes of those before, see
    `notes.of_step`.
  """
  noted = notes.of_step(state, net_grads, row_grads)
  if plan.embedding_l2:
    row_grads = row_grads + plan.embedding_l2 * touched
  if plan.tower_l2:
    net_grads = _add_tower_l2(net_grads, state.net, plan.tower_l2)
  # After L2: the norm is that of the gradient that the optimizers see.
  if plan.clip_norm:
    net_grads, row_grads = _clip(net_grads, row_grads, plan.clip_norm)
  return net_grads, row_grads, noted


def _add_tower_l2(net_grads: Any, net: Any, l2: float) -> Any:
  """Adds the gradient of l2 / 2 |W|^2 to the kernels of towers.

  Towers are found by the prefix `tower` of their name; see `StepSpec.tower_l2`.
  """

  def add(path, gradient, kernel):
    names = [p.key for p in path]
    if names[0].startswith('tower') and names[-1] == 'kernel':
      return gradient + l2 * kernel
    return gradient

  return jax.tree_util.tree_map_with_path(add, net_grads, net)


def _clip(net_grads: Any, row_grads: Array, norm: float) -> tuple[Any, Array]:
  """Scales each replica's gradient, network and rows, to at most `norm`."""
  total = notes.global_norm(net_grads, row_grads)  # [R]
  factor = jnp.minimum(1.0, norm / jnp.maximum(total, 1e-30))
  return (
      jax.tree.map(
          lambda g: g * factor.reshape((-1,) + (1,) * (g.ndim - 1)), net_grads
      ),
      row_grads * factor[:, None],
  )
