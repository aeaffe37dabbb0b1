"""The step that benchmarks time, and its batches."""

import functools

from esmm_jax.estimators import ESTIMATORS, funnel
from esmm_jax.models import MODELS
from esmm_jax.optim import lazy
from esmm_jax.optim import network as optim
from esmm_jax.schema import Schema
from esmm_jax.training.state import MICRO_BATCH, StepSpec
from esmm_jax.training.step import train_step
import jax

from benchmarks import common

# Steps that are not timed.
WARM_UP = 3
LOSS_WEIGHTS = {'ctr': 1.0, 'ctcvr': 1.0, 'cvr_clicked': 0.0}


def make_plan(
    schema: Schema,
    batch_size: int,
    dense: bool = False,
    model: str = 'shared_embedding',
    micro_batches: int = 0,
) -> StepSpec:
  """Builds the step of ESMM with Adam, on touched rows or on all.

  Args:
    schema: The fields.
    batch_size: Examples of a batch.
    dense: Updates all rows of the table.
    model: Of the architecture.
    micro_batches: As the config key.
  """
  tx = optim.optimizer(optim.OptimizerOptions('adam'))
  return StepSpec(
      model=MODELS[model](schema, common.TOWER_UNITS),
      terms=ESTIMATORS['entire_space'].terms,
      outputs=functools.partial(funnel.outputs, tasks=schema.tasks),
      row_tx=(lazy.densely if dense else lazy.lazily)(tx),
      net_tx=tx,
      schedule=lambda step: 1.0,
      micro_batches=micro_batches or max(1, batch_size // MICRO_BATCH),
      dense=dense,
      map_replicas_sequentially=jax.default_backend() == 'cpu',
  )


class OnDevice:
  """A feed whose batches are on the device before the first step."""

  def __init__(self, plan, batches, layout, start: int, total: int):
    self._step = jax.jit(
        functools.partial(train_step, plan=plan), donate_argnums=0
    )
    # A list, so that the pipeline has ended when the first step begins.
    self._batches = iter(
        [layout.put_batch(b) for b in batches.iterate(start, total)]
    )

  @property
  def traces(self) -> int:
    return self._step._cache_size()

  def advance(self, state, start: int, stop: int, hyper):
    """Takes the steps [start, stop)."""
    for _ in range(start, stop):
      state = self._step(state, next(self._batches), hyper)
    return state

  def close(self) -> None:
    pass
