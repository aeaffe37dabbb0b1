"""Asks a method of balancing for the weights of a step."""

from collections.abc import Mapping
import functools
from typing import Any, NamedTuple

from esmm_jax.balancing.binding import Balancer
from esmm_jax.estimators.contract.dependence import dependent
from esmm_jax.optim.lazy import tree_where
from esmm_jax.training.gradients.shared import PARTS
from esmm_jax.types import Array
import jax
import jax.numpy as jnp

# Sets the key of a method apart from that of dropout.
_KEY = 0xBA1A


class Tasks(NamedTuple):
  """The tasks in a step, in the order of `Balancer.terms`.

  Attributes:
    losses: Mean of each, times its weight, float32 [T]; 0 where it is absent.
    counts: Size of its sample space in the batch, float32 [T].
  """

  losses: Array
  counts: Array

  @classmethod
  def of(
      cls,
      balancer: Balancer,
      coefficients: Mapping[str, Array],
      sums: Mapping[str, Array],
      counts: Mapping[str, Array],
  ) -> 'Tasks':
    """Collects them; a term of weight 0 is absent.

    Args:
      balancer: Says which terms are tasks.
      coefficients: Term -> factor of its sum.
      sums: Term -> sum.
      counts: Term -> count.
    """
    each = [(coefficients[k], sums[k], counts[k]) for k in balancer.terms]
    losses = jnp.stack([c * total for c, total, _ in each])
    present = jnp.stack([jnp.where(c > 0, n, 0.0) for c, _, n in each])
    return cls(losses, jax.lax.stop_gradient(present))


class Weighed(NamedTuple):
  """The weights of a step.

  Attributes:
    weights: Part, or '' for all -> float32 [T].
    state: Of the method, after the step.
    degenerate: Whether the method had no solution, float32.
  """

  weights: dict[str, Array]
  state: Any
  degenerate: Array


def initial_state(
    balancer: Balancer | None, options: Mapping[str, Array], num: int
) -> Any:
  """Makes the state of a method, each leaf [R, ...].

  Args:
    balancer: None has none.
    options: Its traced options, [R].
    num: R.
  """
  if balancer is None:
    return {}
  shape = {k: jnp.asarray(v) for k, v in options.items()}
  one = jax.vmap(lambda _, o: balancer.init(**o))
  state = one(jnp.zeros(num), shape)
  return {p: state for p in PARTS} if balancer.each_part else {'': state}


def needs(
    balancer: Balancer, options: Mapping[str, Array], state: Any, key: Array
) -> tuple[bool, bool]:
  """Finds out what a method reads of a step.

  Returns:
    Whether its weights are known before the gradients, and whether it reads the
    products of gradients.
  """
  num = len(balancer.terms)
  zeros = Tasks(jnp.zeros(num), jnp.ones(num))
  some = next(iter(state.values()))
  call = functools.partial(_call, balancer, options, key, jnp.int32(0))
  products = jnp.zeros((num, num))
  by_gram = dependent(
      lambda g: call(g, zeros.losses, zeros.counts, some), products
  )
  by_losses = dependent(
      lambda x: call(products, x, zeros.counts, some)[0], zeros.losses
  )
  weights_by_gram = dependent(
      lambda g: call(g, zeros.losses, zeros.counts, some)[0], products
  )
  return not any(by_losses + weights_by_gram), any(by_gram)


def _call(
    balancer: Balancer,
    options: Mapping[str, Array],
    key: Array,
    step: Array,
    gram: Array,
    losses: Array,
    counts: Array,
    state: Any,
) -> tuple[Array, Any]:
  """Calls the method with its options."""
  more = {'step': step} if balancer.sees_step else {}
  key = jax.random.fold_in(key, _KEY)
  return balancer.weights(gram, losses, counts, state, key, **options, **more)


def weigh(
    balancer: Balancer,
    options: Mapping[str, Array],
    key: Array,
    step: Array,
    products: Mapping[str, Array],
    tasks: Tasks,
    state: Mapping[str, Any],
) -> Weighed:
  """Asks the method for weights.

  Where it has no solution, which it says by nan, present tasks have weight 1
  and its state stays.

  Args:
    balancer: The method.
    options: Its traced options.
    key: Of the step.
    step: Steps done.
    products: '' for all, or part -> G [T, T].
    tasks: Their losses and counts.
    state: '' or part -> the state before the step.
  """
  weights, after, worst = {}, dict(state), jnp.zeros(())
  present = (tasks.counts > 0).astype(jnp.float32)
  for part, gram in products.items():
    proposed, new = _call(
        balancer, options, key, step, gram, *tasks, state[part]
    )
    solved = jnp.isfinite(proposed).all()
    weights[part] = jnp.where(solved, proposed * present, present)
    after[part] = tree_where(solved, new, state[part])
    worst = jnp.maximum(worst, 1.0 - solved)
  return Weighed(weights, after, worst)
