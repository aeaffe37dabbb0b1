"""Gradients of one replica whose tasks a method of balancing weighs.

On parameters that the gradients of two tasks or more reach, the update is
sum_i w_i g_i; what a single task trains gets g_i, or w_i g_i
(`Balancer.weighted`). Two ways lead there. Weights that are known before the
gradients (of the state alone, or random) are factors of the loss weights: one
gradient serves all. Others need the gradient of each task first.
"""

from collections.abc import Mapping
import functools
from typing import Any, NamedTuple

from esmm_jax.balancing import records
from esmm_jax.training.gradients import each, inputs, parts, shared, weighing
from esmm_jax.training.gradients.objective import Objective
from esmm_jax.training.gradients.parts import Sums, TOGETHER, Wanted
from esmm_jax.training.gradients.weighing import Tasks, Weighed
from esmm_jax.training.state import StepSpec, TracedHyperparameters
from esmm_jax.types import Array
import jax
import jax.numpy as jnp


class Replica(NamedTuple):
  """A replica in a step, without the axis R.

  Attributes:
    net: Parameters of the network.
    touched: The touched rows, float32 [U, D].
    stats: Batch norm statistics.
    key: Random key of this step.
  """

  net: Any
  touched: Array
  stats: Any
  key: Array


class Result(NamedTuple):
  """Gradients of one replica.

  Attributes:
    net: By the network.
    rows: By the touched rows [U, D].
    total: What was summed over the batch.
    coefficients: Term -> factor of its sum, with static weights.
    means: Term -> mean.
  """

  net: Any
  rows: Array
  total: Sums
  coefficients: Mapping[str, Array]
  means: dict[str, Array]


def summed(
    plan: StepSpec,
    objective: Objective,
    replica: Replica,
    compared: tuple[str, ...] = (),
    at_inputs: bool = False,
    without: tuple[str, ...] = (),
) -> Result:
  """Computes the gradient of the weighted sum of the terms.

  Args:
    plan: Model, estimator and how the batch is divided.
    objective: The loss.
    replica: The parameters.
    compared: Terms that have a gradient of their own as well, in
      `Result.total`, which is no part of the sum.
    at_inputs: Whether that is by the networks' inputs.
    without: Terms that are left out of the sum.
  """
  names = tuple(sorted({*objective.apart, *compared}))
  known = {k: c for k, c in objective.known().items() if k not in without}
  wanted = Wanted(plan, objective.terms, known, names, at_inputs)
  total = parts.accumulate(
      wanted, replica.net, replica.touched, replica.stats, objective.whole,
      replica.key,
  )
  coefficients, means = objective.coefficients(total.counts, total.sums)
  net, rows = total.net[TOGETHER], total.rows[TOGETHER]
  for name in objective.apart:
    if name in without:
      continue
    scale = functools.partial(jnp.multiply, coefficients[name])
    net = jax.tree.map(jnp.add, net, jax.tree.map(scale, total.net[name]))
    more = jax.tree.map(scale, total.rows[name])
    if at_inputs:
      more = _scattered(plan, objective, replica, more)
    rows = jnp.add(rows, more)
  return Result(net, rows, total, coefficients, means)


def balanced(
    plan: StepSpec,
    objective: Objective,
    replica: Replica,
    hyper: TracedHyperparameters,
    step: Array,
    state: Any,
) -> tuple[Result, Any, Tasks]:
  """Computes the gradient with the weights of a method.

  Args:
    plan: With a balancer.
    objective: The loss.
    replica: The parameters.
    hyper: Options of the method, scalars.
    step: Steps done.
    state: Of the method.

  Returns:
    Gradients, whose means have the records of balancing too; the new state; and
    what the method was told.
  """
  balancer, options = plan.balancer, hyper.balancing
  ask = functools.partial(
      weighing.weigh, balancer, options, replica.key, step
  )
  is_early, reads_products = weighing.needs(
      balancer, options, state, replica.key
  )
  if is_early and balancer.weighted and not reads_products:
    return _with_early_weights(plan, objective, replica, ask, state)
  return _with_late_weights(plan, objective, replica, ask, state)


def _with_early_weights(
    plan: StepSpec, objective: Objective, replica: Replica, ask: Any, state: Any
) -> tuple[Result, Any, Tasks]:
  """Makes the weights factors of the loss weights."""
  balancer, names = plan.balancer, plan.balancer.terms
  nothing = {'': jnp.zeros((len(names), len(names)))}
  unknown = dict.fromkeys(objective.counts, jnp.zeros(()))
  tasks = Tasks.of(balancer, objective.static(), unknown, objective.counts)
  early = ask(nothing, tasks, state).weights['']
  weights = dict(objective.weights)
  for i, name in enumerate(names):
    weights[name] = weights[name] * early[i]
  compared = names if balancer.measures else ()
  result = summed(
      plan,
      objective._replace(weights=weights),
      replica,
      compared,
      bool(compared) and balancer.at_inputs,
  )
  # What is reported has the static weights, as that of other methods.
  total = result.total
  coefficients, means = objective.coefficients(total.counts, total.sums)
  result = result._replace(coefficients=coefficients, means=means)
  counts = objective.all_counts(total.counts)
  tasks = Tasks.of(balancer, coefficients, total.sums, counts)
  products = {}
  if compared:
    structure = _structure(plan, objective, replica)
    products, _ = _products(plan, result, structure)
  weighed = ask(nothing, tasks, state)
  # The losses move the state; the weights were those of before.
  weighed = weighed._replace(weights={'': early})
  return _recorded(result, balancer.terms, weighed, products, tasks)


def _with_late_weights(
    plan: StepSpec, objective: Objective, replica: Replica, ask: Any, state: Any
) -> tuple[Result, Any, Tasks]:
  """Combines the gradients of the tasks when all of them are known."""
  balancer, names = plan.balancer, plan.balancer.terms
  # A weight of 0 may be traced: its term would cost a gradient nevertheless.
  idle = (k for k in objective.weights if k not in balancer.trained)
  result = summed(
      plan,
      objective,
      replica,
      names,
      balancer.at_inputs,
      without=(*names, *idle),
  )
  counts = objective.all_counts(result.total.counts)
  tasks = Tasks.of(balancer, result.coefficients, result.total.sums, counts)
  structure = _structure(plan, objective, replica)
  products, gradients = _products(plan, result, structure)
  by_part = {k: g for k, g in products.items() if k != 'all'}
  asked = by_part if balancer.each_part else {'': products['all']}
  weighed = ask(asked, tasks, state)
  net, tables = each.combined(gradients, structure, balancer, weighed.weights)
  net = jax.tree.unflatten(jax.tree.structure(replica.net), net)
  if balancer.at_inputs:
    rows = _scattered(plan, objective, replica, tables)
  else:
    rows = jnp.concatenate(tables, axis=-1)
  result = result._replace(
      net=jax.tree.map(jnp.add, result.net, net), rows=result.rows + rows
  )
  return _recorded(result, names, weighed, products, tasks)


def _structure(
    plan: StepSpec, objective: Objective, replica: Replica
) -> shared.Shared:
  """Finds the parameters that several tasks train."""
  return shared.shared(
      Wanted(plan, objective.terms, {}),
      plan.balancer.terms,
      replica.net,
      replica.touched,
      replica.stats,
      objective.whole,
      replica.key,
  )


def _products(
    plan: StepSpec, result: Result, structure: shared.Shared
) -> tuple[dict[str, Array], each.Each]:
  """Returns the products of the gradients, of `all` and by part, and these."""
  gradients = each.Each.of(
      result.total,
      plan.balancer.terms,
      result.coefficients,
      plan.model.num_tables,
  )
  at_inputs = plan.balancer.at_inputs
  num_floats = len(plan.model.schema.float_fields) if at_inputs else 0
  by_part = gradients.products(structure, num_floats)
  everything = sum(by_part.values())
  if at_inputs and shared.TABLES in by_part:
    everything = by_part[shared.TABLES]
  return {'all': everything, **by_part}, gradients


def _scattered(
    plan: StepSpec, objective: Objective, replica: Replica, tables: list[Array]
) -> Array:
  """Scatters gradients by the inputs, [B, I] each, to the touched rows."""
  embed = lambda touched: inputs.embed(
      plan.model, replica.net, replica.stats, touched, objective.whole[0]
  )
  (rows,) = jax.vjp(embed, replica.touched)[1](tables)
  return rows


def _recorded(
    result: Result,
    terms: tuple[str, ...],
    weighed: Weighed,
    products: Mapping[str, Array],
    tasks: Tasks,
) -> tuple[Result, Any, Tasks]:
  """Adds the records of a step to the means."""
  more = records.of_step(terms, weighed.weights, products, tasks.counts)
  more[records.DEGENERATE] = weighed.degenerate
  result = result._replace(means=result.means | more)
  return result, weighed.state, tasks
