"""Times the train step as its work grows: nothing may be super-linear.

  python -m benchmarks.in_turn.growth --markdown=growth.md

Prints one JSON object a line. From the base (ESMM with 23 fields, one replica,
static weights, batches on the device) it varies one thing at a time: fields;
number and length of lists; replicas; estimators; methods of balancing. Each
step takes its windows in turn with the base, so that `ratio` and `cpu_ratio`,
medians over the rounds, are of one time. `work` is over that of the base: ids
of an example (fields, lists), models (replicas), towers (estimators), products
of matrices (balancers). `exponent` is that of the work by which `ratio` grows,
from the step of the same axis before, or from the base; above 1 is
super-linear. `cpu_ms` is the processor time of a step, all threads, `batch_ms`
that in which the host makes its batch, ahead of it.
"""

from typing import Any

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
    'name', 'work', 'ms', 'cpu_ms', 'batch_ms', 'examples_per_second', 'ratio',
    'cpu_ratio', 'exponent', 'cpu_exponent',
)


def rounded(value: float | None) -> float | None:
  """Rounds to three places; None stays."""
  return None if value is None else round(value, 3)


def measure(
    point: work.Point,
    base: arms.Arm,
    data: Any,
    rows: int,
    size: int,
    others: list[tuple[float, float, float]],
) -> None:
  """Times a step in turn with the base and prints its line.

  Args:
    point: The step.
    base: What it is compared with.
    data: Of the base; used unless the step has data of its own.
    rows: Rows of the embedding table.
    size: Examples of a batch.
    others: Work, ratio and cpu_ratio of the axis' steps before; gets this one.
  """
  if point.data:
    data = common.make_data(rows, examples=EXAMPLES, **point.data)
  arm = arms.Arm(point.case, data, size, seconds=_SECONDS.value)
  of_base, times = arms.turns([base, arm], _ROUNDS.value)
  ratio, cpu_ratio = (
      arms.ratio(times[:, k], of_base[:, k]) for k in range(2)
  )
  ms, cpu_ms = np.median(times, axis=0)
  replicas = point.case.replicas
  growth = [
      work.exponent(point.work, r, [(o[0], o[k]) for o in others])
      for k, r in ((1, ratio), (2, cpu_ratio))
  ]
  common.emit(
      point.name,
      rows,
      size,
      float(ms),
      examples=size * replicas,
      replicas=replicas,
      cpu_ms=rounded(float(cpu_ms)),
      batch_ms=rounded(arms.batch_ms(arm.batches)),
      work=rounded(point.work),
      ratio=rounded(ratio),
      cpu_ratio=rounded(cpu_ratio),
      exponent=rounded(growth[0]),
      cpu_exponent=rounded(growth[1]),
      traces=arm.traces,
  )
  others.append((point.work, ratio, cpu_ratio))


def main() -> None:
  common.check_markdown(_MARKDOWN.value)
  for rows in common.counts(_ROWS.value):
    data = common.make_data(rows, examples=EXAMPLES)
    for size in common.counts(_BATCH_SIZE.value):
      base = arms.Arm(arms.Case(), data, size, seconds=_SECONDS.value)
      measure(work.Point('base', 1.0), base, data, rows, size, [])
      for axis in _AXES.value:
        others = []
        for point in work.points(axis, _ESTIMATORS.value, _BALANCERS.value):
          # Linear growth with towers or products is from the base.
          before = [] if axis in ('estimators', 'balancers') else others
          measure(point, base, data, rows, size, before)
  if _MARKDOWN.value:
    common.write_markdown(_MARKDOWN.value, COLUMNS)


if __name__ == '__main__':
  cli.run(main)
