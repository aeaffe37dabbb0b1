"""Times the train step with each method of balancing, beside static weights.

  python -m benchmarks.balancing --models=shared_embedding,mmoe

Prints one JSON object a line. All methods of a model take their windows in
turn, because the machine's speed changes from one minute to the next: `ratio`
is the median over the windows of the time over that of static weights in the
same round. Batches lie on the device; the tasks are CTR and CTCVR.
"""

from typing import Any

from absl import flags
from esmm_jax.balancing import BALANCERS
from esmm_jax.balancing.options import BalancingOptions, REPLAY, STATIC
import numpy as np

from benchmarks import common
from benchmarks.in_turn import arms
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


def measure(model: str, data: Any, rows: int, size: int) -> None:
  """Times all methods with one architecture and prints their lines."""
  names = (STATIC, *_METHODS.value)
  each = []
  for name in names:
    options = BalancingOptions(name=name, gram=_GRAM.value)
    case = arms.Case(balancing=options, model=model)
    each.append(arms.Arm(case, data, size, _WINDOW.value))
  times = arms.turns(each, _ROUNDS.value)[:, :, 0]
  for name, arm, of_arm in zip(names, each, times):
    common.emit(
        f'{model}_{name}',
        rows,
        size,
        float(np.median(of_arm)),
        examples=size,
        replicas=1,
        ratio=round(arms.ratio(of_arm, times[0]), 3),
        traces=arm.traces,
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
