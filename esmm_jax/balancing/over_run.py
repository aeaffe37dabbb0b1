"""Means over a whole run of what it records of balancing.

A report has means over the steps since the report before. The mean of the run
weighs each report by its steps, so a run that was killed and resumed has the
same, and it does not matter where the reports fall (`log_every`).
"""

from collections.abc import Iterable, Mapping, Sequence
import math
from typing import Any

from esmm_jax.balancing import records
import jax.numpy as jnp

_TRAIN = 'train/'


class Totals:
  """Sums of the records of a run, each times the steps that it is of.

  A checkpoint holds them: metrics.jsonl is for people, who may change it.
  """

  def __init__(self) -> None:
    """Makes those of a run that begins."""
    self._step = 0
    self._sums: dict[str, float] = {}
    self._weights: dict[str, float] = {}

  def add(self, step: int, report: Mapping[str, Any]) -> None:
    """Adds a report.

    Steps that were skipped count nothing, and a record counts in the steps that
    define it (`records.defined`).

    Args:
      step: Steps done.
      report: Means since the last one, `train/...`, as a line of metrics.jsonl
        has them; None where a value is no number.
    """
    steps = step - self._step - (report.get(f'{_TRAIN}skipped') or 0)
    self._step = step
    for name, value in report.items():
      key = name.removeprefix(_TRAIN)
      if not records.is_record(key) or value is None:
        continue
      if not math.isfinite(value):  # Gradients too large to be compared.
        continue
      by = records.defined(key)
      weight = steps * (1 if by is None else report[f'{_TRAIN}{by}'])
      value = math.log(value) if records.is_geometric(key) else value
      self._sums[key] = self._sums.get(key, 0.0) + weight * value
      self._weights[key] = self._weights.get(key, 0.0) + weight

  def means(self) -> dict[str, float]:
    """Returns `balancing/...` -> mean, of ratios the geometric one.

    A record that no step defines is left out; {} without records.
    """
    means = {k: self._sums[k] / w for k, w in self._weights.items() if w > 0}
    return {
        k: math.exp(mean) if records.is_geometric(k) else mean
        for k, mean in means.items()
    }

  def position(self) -> dict[str, Any]:
    """Returns what a checkpoint holds, as JSON; {} without records."""
    if not self._sums:
      return {}
    return {
        'step': self._step,
        'sums': dict(self._sums),
        'weights': dict(self._weights),
    }

  def load(self, position: Mapping[str, Any]) -> None:
    """Takes over what `position` gave."""
    if position:
      self._step = position['step']
      self._sums = dict(position['sums'])
      self._weights = dict(position['weights'])


def over_run(lines: Iterable[Mapping[str, Any]]) -> dict[str, float]:
  """Computes the means over all steps of a run of its lines.

  >>> from esmm_jax.balancing.over_run import over_run
  >>> over_run([
  ...     {'step': 1, 'train/loss': 0.7, 'train/balancing/degenerate': 1.0},
  ...     {'step': 4, 'train/loss': 0.6, 'train/balancing/degenerate': 0.0}])
  {'balancing/degenerate': 0.25}

  Args:
    lines: Those of metrics.jsonl, in their order. Only those with a loss count,
      which are of training.

  Returns:
    As `Totals.means`.
  """
  totals = Totals()
  for line in lines:
    if f'{_TRAIN}loss' in line:
      totals.add(line['step'], line)
  return totals.means()


def keys(terms: Sequence[str], parts: Sequence[str]) -> list[str]:
  """Lists the records that runs may have.

  Args:
    terms: T tasks.
    parts: Parts of the parameters, `all` and those that may have weights of
      their own.
  """
  ones = jnp.ones((len(terms), len(terms)))
  weights = {part: ones[0] for part in ('', *parts) if part != 'all'}
  raw = records.of_step(terms, weights, dict.fromkeys(parts, ones), ones[0])
  return [*records.reported(dict.fromkeys((*raw, records.DEGENERATE), 1.0))]


def told(name: str, whole: Mapping[str, float]) -> str:
  """Returns the line that a program prints at the end of a balanced run.

  >>> from esmm_jax.balancing.over_run import told
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
    texts.append(f'conflict at most {100 * value:.3g} % ({pair})')
  if rate := whole.get(f'{records.PREFIX}degenerate'):
    texts.append(f'no solution in {100 * rate:.3g} % of the steps')
  return f'balancing {name}: {"; ".join(texts) or "no step on record"}'
