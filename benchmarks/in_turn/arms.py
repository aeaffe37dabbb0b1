"""A step of some kind that takes its windows of time in turn with others."""

from collections.abc import Sequence
import time
from typing import Any, NamedTuple

from esmm_jax.balancing import BALANCERS, binding
from esmm_jax.balancing.options import BalancingOptions
from esmm_jax.data.batching.batches import Batches
from esmm_jax.estimators import ESTIMATORS
from esmm_jax.estimators.contract import bind
from esmm_jax.parallel.layout import Layout
from esmm_jax.schema import Schema
from esmm_jax.training.initial import with_balance
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import common, step_parts

# Batches that lie on the device; they come again.
DISTINCT = 8
ENDLESS = 1 << 30


class Case(NamedTuple):
  """The step of an arm.

  Attributes:
    replicas: Models trained at once.
    estimator: One of `ESTIMATORS`, with its own options.
    balancing: The method that weighs its terms.
    model: Of the architecture.
  """

  replicas: int = 1
  estimator: str = 'entire_space'
  balancing: BalancingOptions = BalancingOptions()
  model: str = 'shared_embedding'


class Arm:
  """A compiled step with its state and its batches.

  Attributes:
    case: Its kind.
    window: Steps of a window.
    batches: What the host makes.
  """

  def __init__(
      self,
      case: Case,
      data: tuple[common.MemorySource, Schema],
      batch_size: int,
      window: int = 0,
      seconds: float = 0.0,
      kind: str = 'lazy',
  ):
    """Compiles the step.

    Args:
      case: Its kind.
      data: As `common.make_data` makes it.
      batch_size: Examples of a batch.
      window: Steps of a window; 0: as many as take `seconds`, at least 2.
      seconds: See `window`.
      kind: As of `benchmarks.step`; 'lazy': `DISTINCT` batches, on the device.
    """
    source, schema = data
    self.case = case
    estimator = bind(
        case.estimator, ESTIMATORS[case.estimator], {}, schema.tasks
    )
    batches = Batches(
        source,
        schema,
        batch_size,
        truth=source,
        truth_labels=estimator.needs.truth_labels,
    )
    plan = step_parts.make_plan(
        schema, batch_size, model=case.model, estimator=estimator
    )
    terms = [k for k, w in estimator.weights.items() if w]
    plan = plan._replace(
        balancer=binding.bind(
            case.balancing, BALANCERS[case.balancing.name], terms
        )
    )
    traced = binding.traced_options(case.balancing)
    self._hyper = step_parts.make_hyper(case.replicas, estimator)._replace(
        balancing={k: jnp.full(case.replicas, v) for k, v in traced.items()}
    )
    state = step_parts.beginning(
        plan, schema, batches, case.replicas, estimator=estimator
    )
    state = with_balance(state, plan, self._hyper, batches(0))
    layout = Layout(None, jax.devices()[:1])
    self._state = layout.put_state(state)
    if kind == 'lazy':
      self._feed = step_parts.OnDevice(plan, batches, layout, 0, DISTINCT)
    else:
      self._feed = step_parts.FEEDS[kind](plan, batches, layout, 0, ENDLESS)
    self.batches = batches
    self._next = 0
    self._steps(step_parts.WARM_UP)
    self.window = window
    if not window:
      a_step, _ = self._steps(2)
      self.window = max(2, round(seconds * 1e3 / a_step))

  @property
  def traces(self) -> int:
    """The number of times that the step was compiled."""
    return self._feed.traces

  def take_window(self) -> tuple[float, float]:
    """Takes the steps of a window.

    Returns:
      Milliseconds of one by the clock, and of the processors.
    """
    return self._steps(self.window)

  def close(self) -> None:
    """Ends its threads."""
    self._feed.close()

  def _steps(self, num: int) -> tuple[float, float]:
    start, cpu = time.perf_counter(), time.process_time()
    self._state = self._feed.advance(
        self._state, self._next, self._next + num, self._hyper
    )
    jax.block_until_ready(self._state)
    cpu = time.process_time() - cpu
    wall = time.perf_counter() - start
    self._next += num
    return wall / num * 1e3, cpu / num * 1e3


def turns(arms: Sequence[Any], rounds: int) -> np.ndarray:
  """Lets arms take a window each, by rounds.

  Args:
    arms: Each is an `Arm`, or has its `take_window`.
    rounds: Windows of each.

  Returns:
    Milliseconds of a step, float64 [number of arms, rounds, 2]: by the clock,
    and of the processors.
  """
  taken = [[arm.take_window() for arm in arms] for _ in range(rounds)]
  return np.swapaxes(np.array(taken), 0, 1)


def batch_ms(batches: Batches) -> float:
  """Returns the processor time of a batch on the host, in milliseconds."""
  # Whole epochs: rows are read and mixed by windows of several batches. In the
  # second one memory that is used for the first time is no part of it.
  num = len(batches)
  for epoch in (1, 2):
    start = time.process_time()
    for _ in batches.iterate(epoch * num, (epoch + 1) * num):
      pass
    seconds = time.process_time() - start
  return seconds / num * 1e3


def ratio(times: np.ndarray, base: np.ndarray) -> float:
  """Returns the median over the rounds of the time over that of the base.

  Args:
    times: [rounds], and so is `base`.
    base: Of the same rounds.
  """
  return float(np.median(times / base))
