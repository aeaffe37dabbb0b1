"""Means over a whole run of what its lines say of balancing.

A line of metrics.jsonl has means over the steps since the line before, so the
mean of the run weighs each line by its steps: a run that was killed and resumed
has the same, and where the lines fall (`log_every`) does not matter.
"""

from collections.abc import Iterable, Mapping
import math
from typing import Any

from esmm_jax.metric_names import Balance, BALANCING, GEOMETRIC

_PREFIX = 'train/'


def over_run(lines: Iterable[Mapping[str, Any]]) -> dict[str, float]:
  """Computes the means over all steps of a run.

  Steps that were skipped count nothing, and what is of two terms counts in the
  steps whose batch had rows of both (`balancing/both/...`).

  Args:
    lines: Those of metrics.jsonl, in their order; only those of training, which
      have a loss, count.

  Returns:
    `balancing/...` -> mean, of ratios the geometric one; nan where it never
    counted. {} without a record.
  """
  totals: dict[str, float] = {}
  weights: dict[str, float] = {}
  before = 0
  for line in lines:
    if f'{_PREFIX}loss' not in line:
      continue
    steps = line['step'] - before - (line.get(f'{_PREFIX}skipped') or 0)
    before = line['step']
    for name, value in line.items():
      if not name.startswith(f'{_PREFIX}{BALANCING}'):
        continue
      key = name.removeprefix(_PREFIX)
      weight = steps * _rate(Balance.of(key), line)
      value = _to_sum(key, value)
      totals.setdefault(key, 0.0)
      weights.setdefault(key, 0.0)
      if weight and math.isfinite(value):
        totals[key] += weight * value
        weights[key] += weight
  return {key: _mean(key, totals[key], weights[key]) for key in totals}
