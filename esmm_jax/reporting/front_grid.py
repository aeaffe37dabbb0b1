"""Rows as curves: their values, and the gain of their fronts.

The curves of a results table (`sweeps.table.Front`) have a point for each
weight, two scores at each seed. The grid says how much more area their fronts
dominate than the point of the single-task models does.
"""

import math
from typing import Any, NamedTuple

from esmm_jax.metrics import fronts
from esmm_jax.reporting.grid import counted, Grid, interval, NONE, number, short
from esmm_jax.reporting.grid import text, titled  # fmt: skip
from esmm_jax.sweeps.results import Block, Row
from esmm_jax.sweeps.table import Front, Table
import numpy as np

# AUC of random scores in both.
REFERENCE = (0.5, 0.5)
_SLOPE_DECIMALS = 2
_VOLUME_DECIMALS = 5


class Curves(NamedTuple):
  """The scores of a block.

  Attributes:
    series: Name -> float64 [S, P, 2]: seed, weight, score; nan where a run is
      missing. Without the single-task models.
    along: [P], the weights, ascending.
    single: float64 [S, 2], the single-task models.
    points: Name of a series that is no curve -> text of `along` -> float64
      [S, 2].
  """

  series: dict[Any, np.ndarray]
  along: list[float]
  single: np.ndarray
  points: dict[Any, dict[str, np.ndarray]] = {}


def curves(table: Table, block: Block) -> Curves:
  """Collects the two scores of all runs of a block of a table with a front."""
  front = table.front
  assert front is not None
  rows: dict[Any, dict[Any, Row]] = {}
  for row in block.rows:
    names = dict(zip(table.rows, row.values))
    rows.setdefault(names[front.series], {})[names[front.along]] = row
  seeds = list(dict.fromkeys(s for row in block.rows for s in row.runs))
  (single,) = rows.pop(front.single).values()
  points = {
      name: {w: _scores(row, front, seeds) for w, row in by_text.items()}
      for name, by_text in rows.items()
      if all(isinstance(w, str) for w in by_text)
  }
  rows = {name: row for name, row in rows.items() if name not in points}
  along = sorted(set().union(*rows.values()))
  return Curves(
      {
          name: np.stack(
              [_scores(by_weight[w], front, seeds) for w in along], axis=1
          )
          for name, by_weight in rows.items()
      },
      along,
      _scores(single, front, seeds),
      points,
  )


def _scores(row: Row, front: Front, seeds: list[Any]) -> np.ndarray:
  """Returns both scores [S, 2], nan where the run is missing."""
  scores = np.full((len(seeds), 2), math.nan)
  for k, seed in enumerate(seeds):
    if seed in row.runs:
      scores[k] = [row.runs[seed].value(m) for m in (front.x, front.y)]
  return scores


def front_grid(table: Table, block: Block) -> Grid:
  """Shows each curve in a line: its front, and how its scores trade off."""
  front = table.front
  assert front is not None
  scores = curves(table, block)
  headers_of = {c.metric: c.header for c in table.columns}
  decimals = {c.metric: c.decimals for c in table.columns}
  x, y = headers_of[front.x], headers_of[front.y]
  single = text(front.single)
  headers = [
      short(front.series), 'n', 'front volume gain ↑', f'best {x} ↑',
      f'best {y} ↑', 'on front', 'slope', 'Spearman',
  ]  # fmt: skip
  single_scores = scores.single[~np.isnan(scores.single).any(-1)]
  seeds = len(scores.single)
  places = (decimals[front.x], decimals[front.y])
  lines = [[single, counted(len(single_scores), seeds), NONE,
       *_best(single_scores, places)]]
  lines[0] += [NONE] * 3
  for name, values in scores.series.items():
    lines.append(_line(name, values, scores.single, places))
  notes = [
      f'Front volume gain: area that the front of the mean points of {x} and'
      f' {y} dominates above {REFERENCE}, less that of the mean point of'
      f' {single} at the same seeds [95 % bootstrap over seeds]. Best: the'
      f' largest mean over {short(front.along)}. On front: points that no other'
      f' one of the curve dominates. Slope and Spearman: {y} on {x} over the'
      f' mean points. A seed counts if all runs of its curve and {single} are'
      ' there; see n.',
      'The front and the best are the largest of noisy test means, so they are'
      f' optimistic, the more so the more points there are, and {single} is one'
      ' point; the bootstrap does not take that out.',
  ]
  title = titled(table.blocks, block.values)
  title = f'{title}: fronts' if title else 'Fronts'
  return Grid(title, headers, lines, 1, notes)


def _line(
    name: Any,
    values: np.ndarray,
    single: np.ndarray,
    decimals: tuple[int, int],
) -> list[str]:
  """Returns the line of a curve [S, P, 2], over the seeds that it has whole."""
  whole = ~np.isnan(values).any((1, 2)) & ~np.isnan(single).any(1)
  values, single = values[whole], single[whole]
  texts = [text(name), counted(len(values), len(whole))]
  if not len(values):
    return [*texts, 'missing', *[NONE] * 5]
  volume = fronts.front_volume(values, REFERENCE, single)
  mean = values.mean(0)
  slope, spearman = fronts.trade_off(mean)
  return [
      *texts,
      interval(volume.value, volume.low, volume.high, _VOLUME_DECIMALS),
      *_best(values, decimals),
      f'{int(fronts.pareto(mean).sum())} of {len(mean)}',
      number(slope, _SLOPE_DECIMALS, '+'),
      number(spearman, _SLOPE_DECIMALS, '+'),
  ]


def _best(values: np.ndarray, decimals: tuple[int, int]) -> list[str]:
  """Formats the largest mean of each score in values [S, ..., 2]."""
  if not len(values):
    return [NONE, NONE]
  best = values.mean(0).reshape(-1, 2).max(0)
  return [number(float(b), d) for b, d in zip(best, decimals)]
