"""Means over a whole run of what its lines say of balancing.

A line of metrics.jsonl has means over the steps since the line before. The mean
of the run weighs each line by its steps, so a run that was killed and resumed
has the same, and it does not matter where the lines fall (`log_every`).
"""

from collections.abc import Iterable, Mapping
import math
from typing import Any

from esmm_jax.balancing import records

_TRAIN = 'train/'


def over_run(lines: Iterable[Mapping[str, Any]]) -> dict[str, float]:
  """Computes the means over all steps of a run.

  Steps that were skipped count nothing, and a record counts in the steps that
  define it (`records.defined`).

  >>> over_run([
  ...     {'step': 1, 'train/loss': 0.7, 'train/balancing/degenerate': 1.0},
  ...     {'step': 4, 'train/loss': 0.6, 'train/balancing/degenerate': 0.0}])
  {'balancing/degenerate': 0.25}

  Args:
    lines: Those of metrics.jsonl, in their order. Only those with a loss count,
      which are of training.

  Returns:
    `balancing/...` -> mean, of ratios the geometric one; {} without records.
    One that no step defines is left out.
  """
  totals: dict[str, float] = {}
  weights: dict[str, float] = {}
  before = 0
  for line in lines:
    if f'{_TRAIN}loss' not in line:
      continue
    steps = line['step'] - before - (line.get(f'{_TRAIN}skipped') or 0)
    before = line['step']
    for key, value in _of_line(line).items():
      by = records.defined(key)
      weight = steps * (1.0 if by is None else line.get(f'{_TRAIN}{by}') or 0)
      value = math.log(value) if records.is_geometric(key) else value
      totals[key] = totals.get(key, 0.0) + weight * value
      weights[key] = weights.get(key, 0.0) + weight
  result = {}
  for key, weight in weights.items():
    if weight > 0:
      mean = totals[key] / weight
      result[key] = math.exp(mean) if records.is_geometric(key) else mean
  return result


def _of_line(line: Mapping[str, Any]) -> dict[str, float]:
  """Returns the records of a line that are numbers."""
  return {
      key.removeprefix(_TRAIN): value
      for key, value in line.items()
      if records.is_record(key.removeprefix(_TRAIN))
      and key.startswith(_TRAIN)
      and value is not None
  }


def told(name: str, whole: Mapping[str, float]) -> str:
  """Returns the line that a program prints at the end of a balanced run.

  >>> told('pcgrad', {
  ...     'balancing/share/ctr': 0.25, 'balancing/share/ctcvr': 0.75,
  ...     'balancing/conflict/all/ctr|ctcvr': 0.125})
  'balancing pcgrad: mean share ctr 0.250, ctcvr 0.750; conflict 12.5 %'

  Args:
    name: The method.
    whole: The records of the run, as `over_run` returns them.
  """
  of = lambda kind: {
      key.removeprefix(f'{records.PREFIX}{kind}/'): value
      for key, value in whole.items()
      if key.startswith(f'{records.PREFIX}{kind}/')
  }
  shares = [f'{term} {value:.3f}' for term, value in of('share').items()]
  texts = [f'mean share {", ".join(shares)}'] if shares else []
  conflicts = of('conflict/all')
  if len(conflicts) == 1:
    texts += [f'conflict {100 * v:.3g} %' for v in conflicts.values()]
  elif conflicts:
    pair, value = max(conflicts.items(), key=lambda item: item[1])
    texts.append(f'most conflict {100 * value:.3g} % ({pair})')
  if rate := whole.get(records.DEGENERATE):
    texts.append(f'no solution in {100 * rate:.3g} % of the steps')
  return f'balancing {name}: {"; ".join(texts) or "no step on record"}'
