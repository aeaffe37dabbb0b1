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
gradient of its own, which is added up over the parts and then multiplied. So
has a task that is weighed by its gradient or its loss (`balanced`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from esmm_jax.embeddings import vectors
from esmm_jax.training.gradients.balanced import balanced, Replica, summed
from esmm_jax.training.gradients.objective import objective
from esmm_jax.training.gradients.parts import sums_alone, Wanted
from esmm_jax.training.gradients.weighing import Tasks
from esmm_jax.training.state import StepSpec, TracedHyperparameters
from esmm_jax.types import Array, Batch
import jax
import jax.numpy as jnp


class Gradients(NamedTuple):
  """The gradients of a step.

  Attributes:
    net: By the network, each leaf [R, ...].
    rows: By the touched rows, float32 [U, R, D].
    stats: New batch norm statistics, each leaf [R, ...].
    means: The mean of each term, the `loss` with static weights, and the
      records of balancing, [R].
    balance: New state of the method of balancing, each leaf [R, ...].
    tasks: What the method was told of each task; None without a method.
  """

  net: Any
  rows: Array
  stats: Any
  means: dict[str, Array]
  balance: Any
  tasks: Tasks | None


def gradients(
    plan: StepSpec,
    net: Any,
    touched: Array,
    stats: Any,
    batch: Batch,
    keys: Array,
    hyper: TracedHyperparameters,
    step: Array,
    balance: Any,
) -> Gradients:
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
    balance: State of the method of balancing, each leaf [R, ...].
  """
  frozen = vectors.divided(stats)[1]
  stats, batch = vectors.attached(plan.model.schema, stats, batch)

  def one(net, touched, stats, key, hyper, balance):
    loss = objective(plan, batch, step, key, hyper)
    replica, tasks = Replica(net, touched, stats, key), None
    if plan.balancer is None:
      result = summed(plan, loss, replica)
    else:
      result, balance, tasks = balanced(
          plan, loss, replica, hyper, step, balance
      )
    return Gradients(
        result.net, result.rows, result.total.stats, result.means, balance,
        tasks,
    )

  result = _mapped(one, plan, net, touched, stats, keys, hyper, balance)
  return result._replace(stats={**result.stats, **frozen})


def losses(
    plan: StepSpec,
    net: Any,
    touched: Array,
    stats: Any,
    batch: Batch,
    keys: Array,
    hyper: TracedHyperparameters,
    step: Array,
) -> Array:
  """Computes the losses of the tasks with other parameters, on the same batch.

  Args:
    plan: As for `gradients`, which the rest is too.

  Returns:
    float32 [R, T], as `Tasks.losses`.
  """
  stats, batch = vectors.attached(plan.model.schema, stats, batch)

  def one(net, touched, stats, key, hyper):
    loss = objective(plan, batch, step, key, hyper)
    wanted = Wanted(plan, loss.terms, {})
    sums, counts = sums_alone(wanted, net, touched, stats, loss.whole, key)
    coefficients, _ = loss.coefficients(counts, sums)
    tasks = Tasks.of(plan.balancer, coefficients, sums, loss.all_counts(counts))
    return Gradients({}, touched, {}, {}, {}, tasks)

  mapped = _mapped(one, plan, net, touched, stats, keys, hyper)
  return mapped.tasks.losses


def _mapped(
    one: Callable[..., Gradients],
    plan: StepSpec,
    net: Any,
    touched: Array,
    stats: Any,
    keys: Array,
    hyper: TracedHyperparameters,
    *more: Any,
) -> Gradients:
  """Maps a function of one replica over all.

  Args:
    one: Of the next arguments without the axis R.
    plan: Says whether a replica is worked through after the other.
    net: Each leaf [R, ...].
    touched: [U, R, D].
    stats: Each leaf [R, ...].
    keys: [R].
    hyper: [R].
    *more: Each leaf [R, ...].
  """
  if keys.shape[0] > 1 and plan.map_replicas_sequentially:
    # A CPU gains nothing from larger products, and one replica's arrays fit
    # its cache where those of all do not.
    by_replica = (net, jnp.moveaxis(touched, 1, 0), stats, keys, hyper, *more)
    result = jax.lax.map(lambda args: one(*args), by_replica)
    return result._replace(rows=jnp.moveaxis(result.rows, 0, 1))
  every = jax.vmap(
      one,
      in_axes=(0, 1, 0, 0, 0, *(0 for _ in more)),
      out_axes=Gradients(0, 1, 0, 0, 0, 0),
  )
  return every(net, touched, stats, keys, hyper, *more)
