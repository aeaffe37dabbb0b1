"""Times the train step as its work grows: nothing may be super-linear.

  python -m benchmarks.in_turn.growth --markdown=growth.md

Prints one JSON object a line. From the base (ESMM with 23 fields, one replica,
static weights, batches on the device) it varies one thing at a time: fields;
five lists and their length; replicas; estimators; methods of balancing. Each
step takes its windows in turn with the base, so that `ratio` and `cpu_ratio`,
medians over the rounds, are of one time. `work` is over that of the base: ids
of an example (fields, lists), models (replicas), products of matrices
(estimators, balancers). `exponent` is that of the work by which `ratio` grows,
from the step of the same axis before, or from the base; above 1 is
super-linear; `cpu_exponent` is that of `cpu_ratio`. `cpu_ms` is the processor
time of a step, all threads, `batch_ms` that in which the host makes a batch,
ahead of it, and `batch_exponent` its growth; it has none from no lists to some.
"""

from collections.abc import Sequence

from absl import flags
import numpy as np

from benchmarks import common
from benchmarks.in_turn import arms, work
from experiments import cli

_ROWS = common.define_rows('1e5', 'Rows of the embedding table.')
_BATCH_SIZE = common.define_batch_size()
_AXES = flags.DEFINE_list('axes', list(work.AXES), 'What is varied.')
_ESTIMATORS = flags.DEFINE_list(
    'estimators', list(work.OTHERS), 'Beside entire_space.'
)
_BALANCERS = flags.DEFINE_list(
    'balancers', list(work.METHODS), 'Beside static weights.'
)
for _name, _choices in (
    ('axes', work.AXES),
    ('estimators', work.OTHERS),
    ('balancers', work.METHODS),
):
  flags.register_validator(
      _name, set(_choices).issuperset, f'must be of {", ".join(_choices)}.'
  )
_ROUNDS = flags.DEFINE_integer('rounds', 5, 'Timed windows of each step.', 1)
_SECONDS = flags.DEFINE_float('seconds', 0.4, 'Of a window, about.', 0.0)
_MARKDOWN = common.define_markdown()
flags.adopt_module_key_flags(common)
# Examples that are drawn; 8 batches of them are used.
EXAMPLES = 1 << 17
COLUMNS = (
    'name', 'work', 'ms', 'cpu_ms', 'examples_per_second', 'ratio', 'cpu_ratio',
    'exponent', 'cpu_exponent', 'batch_ms', 'batch_exponent',
)


class Growth:
  """The steps of an axis, each beside the base.

  Attributes:
    base: The arm that all are compared with.
    data: Of the base, and of the steps that have none of their own.
    rows: Rows of the embedding table.
    size: Examples of a batch.
  """

  def __init__(self, rows: int, size: int):
    """Compiles the base and prints its line."""
    self.rows, self.size = rows, size
    self.data = common.make_data(rows, examples=EXAMPLES)
    self.base = self._arm(work.Point('base', 1.0))
    self._batch_ms = arms.batch_ms(self.base.batches)
    self.measure([work.Point('base', 1.0)])

  def _arm(self, point: work.Point) -> arms.Arm:
    data = self.data
    if point.data:
      data = common.make_data(self.rows, examples=EXAMPLES, **point.data)
    return arms.Arm(point.case, data, self.size, seconds=_SECONDS.value)

  def measure(
      self, points: Sequence[work.Point], stepwise: bool = False
  ) -> None:
    """Times steps in turn with the base and prints their lines.

    Args:
      points: The steps.
      stepwise: Whether growth is from the one before, not from the base.
    """
    before = []
    for point in points:
      arm = self._arm(point)
      base, times = arms.turns([self.base, arm], _ROUNDS.value)
      batch_ms = arms.batch_ms(arm.batches)
      ratios = [arms.ratio(times[:, k], base[:, k]) for k in range(2)]
      ratios.append(batch_ms / self._batch_ms)
      grown = [
          work.exponent(point.work, r, [(w, rs[k]) for w, rs in before])
          for k, r in enumerate(ratios)
      ]
      if not point.data or ('lists' in point.data and not before):
        grown[2] = None
      self._print(point, np.median(times, axis=0), batch_ms, ratios, grown)
      if stepwise:
        before.append((point.work, ratios))

  def _print(
      self,
      point: work.Point,
      times: np.ndarray,
      batch_ms: float,
      ratios: Sequence[float],
      grown: Sequence[float | None],
  ) -> None:
    """Prints a line; `ratios` and `grown` are by clock, processor, batch."""
    values = {
        'cpu_ms': float(times[1]),
        'work': point.work,
        'ratio': ratios[0],
        'cpu_ratio': ratios[1],
        'exponent': grown[0],
        'cpu_exponent': grown[1],
        'batch_ms': batch_ms,
        'batch_exponent': grown[2],
    }
    replicas = point.case.replicas
    common.emit(
        point.name,
        self.rows,
        self.size,
        float(times[0]),
        examples=self.size * replicas,
        replicas=replicas,
        **{k: v if v is None else round(v, 3) for k, v in values.items()},
    )


def main() -> None:
  common.check_markdown(_MARKDOWN.value)
  for rows in common.counts(_ROWS.value):
    for size in common.counts(_BATCH_SIZE.value):
      growth = Growth(rows, size)
      for axis in _AXES.value:
        points = work.points(axis, _ESTIMATORS.value, _BALANCERS.value)
        growth.measure(points, axis not in ('estimators', 'balancers'))
  if _MARKDOWN.value:
    common.write_markdown(_MARKDOWN.value, COLUMNS)


if __name__ == '__main__':
  cli.run(main)
