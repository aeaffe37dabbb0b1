"""Times the train step with each method of balancing, beside static weights.

  python -m benchmarks.balancing --models=shared_embedding,mmoe

Prints one JSON object a line. All methods of a model take their windows in
turn, because the machine's speed changes from one minute to the next: `ratio`
is the median over the windows of the time over that of static weights in the
same round. Batches lie on the device; the tasks are CTR and CTCVR.
"""

import time
from typing import Any

from absl import flags
from esmm_jax.balancing import BALANCERS
from esmm_jax.balancing import binding
from esmm_jax.balancing.options import BalancingOptions, REPLAY, STATIC
from esmm_jax.data.batching.batches import Batches
from esmm_jax.parallel.layout import Layout
from esmm_jax.schema import Schema
from esmm_jax.training.initial import with_balance
from esmm_jax.training.state import init_state, TracedHyperparameters
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import common, step_parts
from experiments import cli

_ROWS = common.define_rows('1e5', 'Rows of the embedding table.')
_BATCH_SIZE = common.define_batch_size()
_MODELS = flags.DEFINE_list(
    'models', ['shared_embedding', 'mmoe'], 'Architectures.'
)
_METHODS = flags.DEFINE_list(
    'methods',
    [name for name in BALANCERS if name not in (REPLAY, STATIC)],
    'Methods beside static weights.',
)
_GRAM = flags.DEFINE_enum(
    'gram', 'exact', ['exact', 'representation'], 'As the config key.'
)
_ROUNDS = flags.DEFINE_integer('rounds', 5, 'Timed windows of each method.')
_WINDOW = flags.DEFINE_integer('window', 20, 'Steps of a window.')
flags.adopt_module_key_flags(common)
TERMS = ('ctr', 'ctcvr')


class Arm:
  """A method with its state and its batches."""

  def __init__(self, name: str, model: str, batches: Batches, schema: Schema):
    """Prepares the steps.

    Args:
      name: Of the method.
      model: Of the architecture.
      batches: Their source.
      schema: Its fields.
    """
    options = BalancingOptions(name=name, gram=_GRAM.value)
    self.plan = step_parts.make_plan(
        schema, batches.batch_size, model=model
    )
    self.plan = self.plan._replace(
        balancer=binding.bind(options, BALANCERS[name], TERMS)
    )
    traced = binding.traced_options(options)
    self.hyper = TracedHyperparameters(
        jnp.full(1, 1e-3),
        {k: jnp.full(1, w) for k, w in step_parts.LOSS_WEIGHTS.items()},
        balancing={k: jnp.full(1, v) for k, v in traced.items()},
    )
    state = init_state(
        self.plan, schema.num_rows, common.EMBED_DIM, [0], batches(0),
        list(step_parts.LOSS_WEIGHTS), 0.01,
    )
    state = with_balance(state, self.plan, self.hyper, batches(0))
    layout = Layout(None, jax.devices()[:1])
    self.state = layout.put_state(state)
    total = step_parts.WARM_UP + _ROUNDS.value * _WINDOW.value
    self.feed = step_parts.OnDevice(self.plan, batches, layout, 0, total)
    self.next = 0
    self.advance(step_parts.WARM_UP)

  def advance(self, steps: int) -> float:
    """Takes some steps; returns milliseconds of one."""
    start = time.perf_counter()
    self.state = self.feed.advance(
        self.state, self.next, self.next + steps, self.hyper
    )
    jax.block_until_ready(self.state)
    self.next += steps
    return (time.perf_counter() - start) / steps * 1e3


def measure(model: str, data: Any, rows: int, size: int) -> None:
  """Times all methods with one architecture and prints their lines."""
  source, schema = data
  batches = Batches(source, schema, size)
  arms = {
      name: Arm(name, model, batches, schema)
      for name in (STATIC, *_METHODS.value)
  }
  times = {name: [] for name in arms}
  for _ in range(_ROUNDS.value):
    for name, arm in arms.items():
      times[name].append(arm.advance(_WINDOW.value))
  static = np.array(times[STATIC])
  for name, each in times.items():
    common.emit(
        f'{model}_{name}',
        rows,
        size,
        float(np.median(each)),
        examples=size,
        replicas=1,
        ratio=round(float(np.median(np.array(each) / static)), 3),
        traces=arms[name].feed.traces,
        gram=_GRAM.value,
    )


def main() -> None:
  for rows in common.counts(_ROWS.value):
    data = common.make_data(rows)
    for size in common.counts(_BATCH_SIZE.value):
      for model in _MODELS.value:
        measure(model, data, rows, size)


if __name__ == '__main__':
  cli.run(main)
