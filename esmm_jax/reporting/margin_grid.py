"""The grid of points that are compared with a curve of weights."""

from typing import Any

from esmm_jax.metrics.front_margin import front_margin
from esmm_jax.metrics.score_pairs import complete
from esmm_jax.reporting.front_grid import curves
from esmm_jax.reporting.grid import counted, Grid, interval, NONE, number, short
from esmm_jax.reporting.grid import text, titled  # fmt: skip
from esmm_jax.sweeps.results import Block
from esmm_jax.sweeps.table import Column, Table
import numpy as np


def margin_grid(table: Table, block: Block) -> Grid:
  """Shows how far each point lies beyond the curve of a table with a front.

  Args:
    table: The results table.
    block: Its rows; those of series that are no curve are shown. Without any
      the grid has no rows.
  """
  front = table.front
  assert front is not None
  columns = {c.metric: c for c in table.columns}
  pair = columns[front.x], columns[front.y]
  scores = curves(table, block)
  (name, curve), *_ = scores.series.items()
  lines = [
      [text(series), where, *_line(curve, point, pair)]
      for series, by_text in scores.points.items()
      for where, point in by_text.items()
  ]
  x, y = (column.header for column in pair)
  title = titled(table.blocks, block.values)
  return Grid(
      f'{title}: margins over {name}' if title else f'Margins over {name}',
      [short(front.series), short(front.along), 'n', 'margin ↑', x, y],
      lines,
      2,
      [
          f'Margin: the least of max({x}, {y}) by which the mean point lies'
          f' ahead of a point of the lines that join the means of {name}, at'
          ' the same seeds [95 % bootstrap over seeds]. Positive: no point'
          f' of {name} comes within it in both; negative: one is better by as'
          f' much in both. {name} is the best of noisy means, which lowers the'
          ' margins, and a point beyond an end of it has a positive one.'
      ],
  )


def _line(
    curve: np.ndarray, point: np.ndarray, pair: tuple[Column, Column]
) -> list[Any]:
  """Returns the texts of a point [S, 2] against a curve [S, P, 2]."""
  margin = front_margin(curve, point)
  texts = [counted(margin.n, len(point))]
  if not margin.n:
    return [*texts, 'missing', NONE, NONE]
  decimals = max(column.decimals for column in pair)
  whole = complete(point) & complete(curve).all(1)
  means = point[whole].mean(0)
  return [
      *texts,
      interval(margin.value, margin.low, margin.high, decimals),
      *(number(float(m), c.decimals) for m, c in zip(means, pair)),
  ]
