"""Binds a method of balancing to the options and the terms of a run."""

from collections.abc import Callable, Sequence
import functools
import inspect
from typing import Any, NamedTuple

from esmm_jax.balancing import BALANCERS
from esmm_jax.balancing import method as methods
from esmm_jax.balancing.method import Method
from esmm_jax.balancing.options import BalancingOptions, STATIC
from esmm_jax.signatures import taken
from esmm_jax.types import Array, InputError
import jax
import jax.numpy as jnp


class Balancer(NamedTuple):
  """A method with its fixed options and the tasks that it weighs.

  Attributes:
    weights: `(gram, losses, counts, state, key, **traced)`, and `step` if it
      `sees_step`.
    init: `(**traced)` -> state at the start.
    after: `(before, after, counts, state, **traced)` -> state, or None.
    terms: The tasks, in the order of the arrays.
    trained: The terms whose weight is not 0 in all replicas, the tasks and
      others.
    sees_step: Whether `weights` takes the number of steps done.
    weighted: Whether parameters of a single task get the weighted gradient.
    at_inputs: Whether the products are of gradients at the networks' inputs.
    each_part: Whether each part of the shared parameters has its own weights.
    measures: Whether gradients are compared even where that is not needed.
  """

  weights: Callable[..., tuple[Array, Any]]
  init: Callable[..., Any]
  after: Callable[..., Any] | None
  terms: tuple[str, ...]
  trained: tuple[str, ...]
  sees_step: bool
  weighted: bool
  at_inputs: bool
  each_part: bool
  measures: bool


def bind(
    options: BalancingOptions, method: Method, terms: Sequence[str]
) -> Balancer | None:
  """Binds options and terms to a method.

  Args:
    options: The section.
    method: The one that it names.
    terms: Terms of the estimator whose weight is not 0.

  Returns:
    None for static weights that are not measured.

  Raises:
    InputError: A term is unknown, or there are too few or too many.
  """
  chosen = _chosen(options, terms)
  if options.name == STATIC and not options.measure:
    return None
  if not 2 <= len(chosen) <= method.largest:
    raise InputError(
        f'balancing.name={options.name!r} balances 2 to {method.largest} terms,'
        f' but this run has {len(chosen)} ({list(chosen)}); choose them with'
        ' balancing.terms, or leave balancing unset.'
    )
  fixed = _every(options, traced=False)
  bound = lambda f: functools.partial(f, **taken(f, {**fixed, 'terms': chosen}))
  init = _without_state
  if method.init:
    init = functools.partial(_taking, bound(method.init), len(chosen))
  after = method.after and functools.partial(_after, bound(method.after))
  towers = options.towers or method.towers
  result = Balancer(
      weights=bound(method.weights),
      init=init,
      after=after,
      terms=chosen,
      trained=tuple(terms),
      sees_step='step' in inspect.signature(method.weights).parameters,
      weighted=towers == 'weighted' and options.parts == 'all',
      at_inputs=options.gram == 'representation',
      each_part=options.parts == 'each',
      measures=options.measure,
  )
  _try(options, result)
  return result


def _try(options: BalancingOptions, balancer: Balancer) -> None:
  """Traces a method once, so that what it refuses is refused early.

  Raises:
    InputError: It does, or its weights are not [T].
  """
  num, traced = len(balancer.terms), traced_options(options)
  more = {'step': jnp.int32(0)} if balancer.sees_step else {}

  def call(gram: Array, losses: Array) -> Array:
    key, state = jax.random.key(0), balancer.init(**traced)
    return balancer.weights(
        gram, losses, losses, state, key, **traced, **more
    )[0]

  shape = jax.eval_shape(call, jnp.zeros((num, num)), jnp.zeros(num)).shape
  if shape != (num,):
    raise InputError(
        f'balancing.name={options.name!r} returns weights of shape {shape}, not'
        f' one for each of the {num} terms {list(balancer.terms)}.'
    )


def traced_options(options: BalancingOptions) -> dict[str, float]:
  """Returns the options in which replicas may differ, with their values."""
  return {
      k: float(v) for k, v in _every(options, traced=True).items()
  }


def _every(options: BalancingOptions, traced: bool) -> dict[str, Any]:
  """Returns the values of the options that are traced, or of the others."""
  method = BALANCERS.get(options.name)  # Refused later if None.
  every = methods.options(method) if method else {}
  return {
      k: options.options.get(k, o.default)
      for k, o in every.items()
      if o.traced == traced
  }


def _chosen(
    options: BalancingOptions, terms: Sequence[str]
) -> tuple[str, ...]:
  """Returns the terms that are balanced, in the order of the estimator's."""
  for name in options.terms:
    if name not in terms:
      raise InputError(
          f'balancing.terms names {name!r}; the terms whose weight is not 0 are'
          f' {list(terms)}.'
      )
  return tuple(k for k in terms if not options.terms or k in options.terms)


def _without_state(**traced: Array) -> Any:
  del traced
  return ()


def _taking(init: Callable[..., Any], num: int, **traced: Array) -> Any:
  """Calls `init` with those of the traced options that it names."""
  return init(num, **taken(init, traced))


def _after(
    after: Callable[..., Any],
    before: Array,
    now: Array,
    counts: Array,
    state: Any,
    **traced: Array,
) -> Any:
  """Calls `after` with those of the traced options that it names."""
  return after(before, now, counts, state, **taken(after, traced))

