"""The grid of means over seeds, with the best ones in bold."""

from collections.abc import Set
import math

from esmm_jax.metrics.significance import Summary
from esmm_jax.reporting import history_notes
from esmm_jax.reporting.best import best
from esmm_jax.reporting.grid import ARROWS, counted, Grid, short, spread, text
from esmm_jax.reporting.grid import titled
from esmm_jax.sweeps.results import Block, Row
from esmm_jax.sweeps.table import Column, Table

FEWER = '†'


def means_grid(table: Table, block: Block) -> Grid:
  """Shows mean ± standard deviation over seeds, and the published numbers.

  Args:
    table: The results table.
    block: Its rows.
  """
  in_paper = {m for _, m in (table.paper.values if table.paper else {})}
  headers = list(map(short, table.rows))
  if table.choice:
    headers.append(short(table.choice.key))
  headers.append('n')
  numbers = {}
  for column in block.columns:
    numbers[column.metric] = len(headers)
    headers.append(column.header + ARROWS[column.better])
    if column.metric in in_paper:
      headers.append('paper')
  headers += [c.header + ARROWS[c.better] for c in block.extra_columns]
  lines = [_line(table, block, row, in_paper) for row in block.rows]
  chosen = best(table, block)
  below = [chosen.note] if chosen.note else []
  if any(row.missing for row in block.rows):
    below.append(f'{FEWER} of fewer runs than planned; see the column n.')
  fewer = [
      f'{row.name} chosen on {row.chosen.seeds} of {row.chosen.planned} seeds'
      for row in block.rows
      if row.chosen and row.chosen.fewer
  ]
  if fewer:
    below.append(f'{FEWER} of {headers[len(table.rows)]}: {", ".join(fewer)}.')
  if 'paper' in headers:
    below.append(f'paper: {table.paper.source}.')
  title = titled(table.blocks, block.values)
  bold = frozenset((i, numbers[metric]) for i, metric in chosen.cells)
  return Grid(title, headers, lines, len(table.rows), below, bold)


def _line(
    table: Table, block: Block, row: Row, in_paper: Set[str]
) -> list[str]:
  """Returns the texts of one row of the grid."""
  texts = history_notes.row_texts(row)
  if row.chosen:
    chosen = text(row.chosen.value) if row.chosen.taken else 'missing'
    texts.append(chosen + (FEWER if row.chosen.fewer else ''))
  planned = len(row.runs)
  texts.append(counted(planned - row.missing, planned))
  for column in block.columns:
    texts.append(_mean(row, column))
    if column.metric in in_paper:
      summary = Summary(*published(table, row, column.metric), 1)
      texts.append(spread(summary, column.decimals))
  for column in block.extra_columns:
    # The mean alone: beside the metrics these are context.
    summary = row.cells[column.metric]._replace(std=math.nan)
    texts.append(spread(summary, column.decimals))
  return texts


def _mean(row: Row, column: Column) -> str:
  """Formats a mean; n where some finished runs lack the metric."""
  summary = row.cells[column.metric]
  num_finished = len(row.runs) - row.missing
  if not num_finished:
    return 'missing'
  cell = spread(summary, column.decimals)
  if 0 < summary.n < num_finished:
    cell += f' (n={summary.n})'
  return cell + (FEWER if row.missing else '')


def published(table: Table, row: Row, metric: str) -> tuple[float, float]:
  """Returns mean and standard deviation in the paper, nan where not given."""
  values = table.paper.values if table.paper else {}
  value = values.get((row.name, metric), math.nan)
  return value if isinstance(value, tuple) else (value, math.nan)
