"""Weights and gradients of two tasks along training, a line for each method."""

from collections.abc import Mapping, Sequence
import math
from typing import Any

from esmm_jax.metric_names import Balance, BALANCING, PARTS
from esmm_jax.metrics.significance import summarize
from esmm_jax.reporting import plots
from esmm_jax.reporting.grid import Grid, NONE
from esmm_jax.reporting.page.parts import Missing, Picture, Section, Table
from esmm_jax.reporting.plots.balance import CONFLICT, COSINE, NORMS, RATIO
from esmm_jax.reporting.seesaw.stops import Curve, curve, Lines, mean_curve
from esmm_jax.sweeps.saved_runs import SavedRun

TITLE = 'Ratio and conflict'
# Name in a record -> the panel.
_PANELS = {
    'ratio': RATIO, 'cosine': COSINE, 'norm_ratio': NORMS, 'conflict': CONFLICT
}  # fmt: skip
# Those whose means are geometric; of the second term over the first.
GEOMETRIC = ('ratio', 'norm_ratio')
_DEGENERATE = f'{BALANCING}degenerate'
_ABOUT = (
    'Weight ratio: weight of {a} over that of {b}, times the ratio of their'
    ' loss weights, so that 1 is the static ratio 1. Norm ratio: length of the'
    ' gradient of {a} over that of {b}. Conflict rate: share of the steps whose'
    ' cosine is below 0. Of all parameters that both share; a point is the mean'
    ' over the steps since the line before and over seeds, that of a ratio is'
    ' geometric.'
)


def section(
    terms: tuple[str, str],
    configured: float,
    lines: Mapping[str, Sequence[Lines]],
    runs: Mapping[str, Sequence[SavedRun]],
    path: str,
) -> Section:
  """Shows ratio, cosine, norms and conflicts, by step and by part.

  Args:
    terms: The two losses.
    configured: Ratio of their weights in the config.
    lines: Method -> metrics.jsonl of its runs.
    runs: Method -> its finished runs.
    path: The picture to write.
  """
  panels: dict[str, dict[str, Curve]] = {}
  for arm, of_runs in lines.items():
    for kind, line in curves(terms, configured, of_runs).items():
      panels.setdefault(kind, {})[arm] = line
  if not panels:
    what = 'No method recorded weights or gradients of these two losses.'
    return Section(TITLE, [Missing(what)])
  name = f'{terms[0]} : {terms[1]}'
  plots.balance({name: panels}, path, f'{TITLE}, {name}')
  about = _ABOUT.format(a=terms[0], b=terms[1])
  parts: list[Any] = [Picture(path, about, large=True)]
  for arm, of_arm in runs.items():
    rate = summarize(r.value(_DEGENERATE) for r in of_arm).mean
    if rate > 0:
      parts.append(
          Missing(
              f'In {100 * rate:.3g} % of the steps {arm} had no solution, and'
              ' both losses had the weight 1.'
          )
      )
  grid = parts_grid(terms, configured, runs)
  parts += [Table(grid)] if grid.rows else []
  return Section(TITLE, parts)


def curves(
    terms: tuple[str, str], configured: float, of_runs: Sequence[Lines]
) -> dict[str, Curve]:
  """Returns panel -> (steps, mean over runs) of the first loss to the second.

  Args:
    terms: The two losses.
    configured: Ratio of their weights in the config.
    of_runs: Lines of metrics.jsonl of each run.
  """
  panels = {}
  for name, panel in _PANELS.items():
    of_seeds = []
    for lines in of_runs:
      if (key := _key(name, terms, lines)) is None:
        continue
      steps, values = curve(lines, f'train/{key}')
      changed = [_turned(name, key, terms, v) for v in values]
      of_seeds.append((steps, changed))
    if of_seeds:
      steps, means = mean_curve(of_seeds)
      if name in GEOMETRIC:
        means = [math.exp(m) for m in means]
      scale = configured if name == 'ratio' else 1.0
      panels[panel] = steps, [scale * m for m in means]
  return panels


def parts_grid(
    terms: tuple[str, str],
    configured: float,
    runs: Mapping[str, Sequence[SavedRun]],
) -> Grid:
  """Shows means of whole runs by method and part of the parameters."""
  rows = []
  for arm, of_arm in runs.items():
    for part in ('', *PARTS):
      texts = []
      for name in _PANELS:
        value = whole(name, part, terms, of_arm)
        value *= configured if name == 'ratio' else 1.0
        texts.append(NONE if math.isnan(value) else f'{value:.3g}')
      if any(t != NONE for t in texts):
        rows.append([arm, part or 'weights', *texts])
  notes = ['Means of whole runs, over seeds; of ratios geometric.']
  headers = ['arm', 'part', *_PANELS.values()]
  return Grid('By part of the shared parameters', headers, rows, 2, notes)


def whole(
    name: str, part: str, terms: tuple[str, str], runs: Sequence[SavedRun]
) -> float:
  """Returns the mean over runs of a record in results.json; nan without one."""
  values = []
  for run in runs:
    for key, value in (run.results or {}).items():
      if key.startswith(BALANCING) and value is not None:
        record = Balance.of(key)
        if (record.name, record.part) == (name, part) and (
            set(record.terms) == set(terms)
        ):
          values.append(_turned(name, key, terms, float(value)))
  mean = summarize(values).mean
  return math.exp(mean) if name in GEOMETRIC else mean


def _key(name: str, terms: tuple[str, str], lines: Lines) -> str | None:
  """Returns the record of a pair, of all parts if it is of parts."""
  for key in dict.fromkeys(k for line in lines for k in line):
    if key.startswith(f'train/{BALANCING}'):
      record = Balance.of(key)
      if (
          record.name == name
          and record.part in ('', 'all')
          and set(record.terms) == set(terms)
      ):
        return key.removeprefix('train/')
  return None


def _turned(
    name: str, key: str, terms: tuple[str, str], value: float
) -> float:
  """Returns the value that is averaged: of ratios the log, first over second.

  Records are of the second term that they name over the first.
  """
  if name not in GEOMETRIC:
    return value
  if value <= 0:
    return math.nan
  second_first = Balance.of(key).terms == terms
  return -math.log(value) if second_first else math.log(value)
