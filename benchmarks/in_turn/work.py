"""The steps of `benchmarks.in_turn.growth` and their work.

Work is over that of the base: ESMM with 23 fields, no lists, one replica,
static weights.
"""

from collections.abc import Mapping, Sequence
import functools
import math
from typing import NamedTuple

from esmm_jax.balancing import BALANCERS, binding
from esmm_jax.balancing.options import BalancingOptions, REPLAY, STATIC
from esmm_jax.estimators import ESTIMATORS, sampling
from esmm_jax.estimators.contract import bind
from esmm_jax.estimators.contract.dependence import logit_counts
from esmm_jax.tasks import FUNNEL
from esmm_jax.training.gradients import weighing
from esmm_jax.types import Array, Logits
import jax
import jax.numpy as jnp

from benchmarks import common, step_parts
from benchmarks.in_turn.arms import Case

FIELDS = (10, 50, 100)
# Number of lists, and of the longest one's entries.
LISTS = ((5, 8), (5, 20), (5, 50))
REPLICAS = (4, 16)
AXES = ('fields', 'lists', 'replicas', 'estimators', 'balancers')
# Of a batch that shows which towers a term trains.
ROWS = 64
# Replays need a finished run.
METHODS = tuple(k for k in BALANCERS if k not in (REPLAY, STATIC))
OTHERS = tuple(k for k in ESTIMATORS if k != 'entire_space')


class Point(NamedTuple):
  """A step of the table.

  Attributes:
    name: Of its line.
    work: See the module.
    case: What the step is.
    data: Arguments of `common.make_data`.
  """

  name: str
  work: float
  case: Case = Case()
  data: Mapping[str, int] = {}


def points(
    axis: str, estimators: Sequence[str], balancers: Sequence[str]
) -> list[Point]:
  """Lists the steps of an axis; those of more work come later.

  Args:
    axis: One of `AXES`.
    estimators: Those that have a line.
    balancers: The same.
  """
  if axis == 'fields':
    return [
        Point(f'fields_{n}', n / common.NUM_FIELDS, data={'num_fields': n})
        for n in FIELDS
    ]
  if axis == 'lists':
    return [
        Point(
            f'lists_{num}x{length}',
            list_work(num, length),
            data={'lists': num, 'list_len': length},
        )
        for num, length in LISTS
    ]
  if axis == 'replicas':
    return [
        Point(f'replicas_{n}', float(n), Case(replicas=n)) for n in REPLICAS
    ]
  if axis == 'estimators':
    return [
        Point(name, estimator_work(name), Case(estimator=name))
        for name in estimators
    ]
  return [
      Point(
          name,
          balancer_work(name),
          Case(balancing=BalancingOptions(name=name)),
      )
      for name in balancers
  ]


def list_work(lists: int, list_len: int) -> float:
  """Returns the ids of an example over those of 23 fields without lists.

  Args:
    lists: So many of the fields.
    list_len: Entries of the longest list; the mean is half of it.
  """
  ids = common.NUM_FIELDS - lists + lists * list_len / 2
  return ids / common.NUM_FIELDS


def estimator_work(name: str) -> float:
  """Returns the products of matrices over those of ESMM.

  Each output is a tower: a forward pass, a third of its work, and a backward
  pass, the rest. Terms whose factor is known after the batch have a gradient
  each, and so towers that several of them train have several.
  """
  bound = bind(name, ESTIMATORS[name], {}, FUNNEL)
  outputs = [t.name for t in FUNNEL] + [h.name for h in bound.needs.heads]
  keys = jax.random.split(jax.random.key(0), len(outputs))
  logits = {k: jax.random.normal(key, (ROWS,)) for k, key in zip(outputs, keys)}
  where = jnp.ones(ROWS)
  click = jnp.arange(ROWS) % 2.0
  labels = dict.fromkeys(bound.needs.truth_labels, click)
  labels |= {'click': click, 'conversion': click * (jnp.arange(ROWS) % 3 < 1)}
  if bound.needs_uniform:
    labels[sampling.UNIFORM] = jnp.linspace(0.0, 0.99, ROWS)
  more = {'step': jnp.int32(0)} if bound.sees_step else {}
  terms = functools.partial(bound.terms, **bound.traced, **more)

  def sums(logits: Logits) -> dict[str, Array]:
    return {k: total for k, (total, _) in terms(logits, labels, where).items()}

  gradients = jax.jacrev(sums)(logits)
  apart = {*logit_counts(terms, logits, labels, where)}
  if bound.rescale:
    apart |= {*bound.rescale(sums(logits), **bound.traced)}
  trained = [k for k in gradients if bound.weights.get(k)]
  together = [k for k in trained if k not in apart]
  backward = sum(
      any(jnp.any(gradients[term][output] != 0) for term in group)
      for group in (together, *([k] for k in trained if k in apart))
      for output in outputs
  )
  return (len(outputs) + 2 * backward) / 6


def balancer_work(name: str) -> float:
  """Returns the products of matrices over those of static weights.

  A tower's forward pass is a third of its work, the backward pass the rest.
  With a gradient for each task the tower of CTR has two, since CTCVR goes
  through it; with losses after the step each tower has a second forward pass.
  """
  options = BalancingOptions(name=name)
  terms = [k for k, w in step_parts.ENTIRE_SPACE.weights.items() if w]
  balancer = binding.bind(options, BALANCERS[name], terms)
  if balancer is None:
    return 1.0
  traced = binding.traced_options(options)
  early, reads_products = weighing.needs(
      balancer, traced, {'': balancer.init(**traced)}, jax.random.key(0)
  )
  thirds = 6
  if reads_products or not (early and balancer.weighted):
    thirds += 2
  if balancer.after:
    thirds += 2
  return thirds / 6


def exponent(
    work: float, ratio: float, others: Sequence[tuple[float, float]]
) -> float | None:
  """Returns e where the cost grows as work ** e; above 1 is super-linear.

  Args:
    work: Over that of the base.
    ratio: The time over that of the base.
    others: Work and ratio of steps of the same axis. The growth is from the
      nearest that lies between the base and this one, or from the base.

  Returns:
    The exponent; None where there is no more work than in the base.
  """
  if work == 1:
    return None
  between = [
      other
      for other in [(1.0, 1.0), *others]
      if other[0] != work and (work < other[0] <= 1 or 1 <= other[0] < work)
  ]
  near = min(between, key=lambda other: abs(math.log(work / other[0])))
  return math.log(ratio / near[1]) / math.log(work / near[0])
