"""Chooses the best mean of each column, among rows that may be compared."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from esmm_jax import histories
from esmm_jax.reporting.history_notes import row_name
from esmm_jax.sweeps.results import Block, Row
from esmm_jax.sweeps.table import Column, Table


class Best(NamedTuple):
  """The best means of a block.

  Attributes:
    cells: (number of the row, metric) of each.
    note: A sentence on what was compared; '' if there is no best one.
  """

  cells: frozenset[tuple[int, str]]
  note: str


def best(table: Table, block: Block) -> Best:
  """Chooses the best mean of each column of a block.

  Rows are compared if all their planned runs are finished, were averaged
  without a doubt, and know nothing that a log does not tell. With a baseline
  they are compared with those that have the same one. In a block whose
  histories know different things nothing is compared. All means that a column
  shows as the best one's number are best; there is none where all are equal.

  Args:
    table: The results table.
    block: One of its blocks.
  """
  shown = [row.history for row in block.rows if row.missing < len(row.runs)]
  if histories.comparison(shown):
    return Best(frozenset(), '')
  groups: dict[Any, list[int]] = {}
  left_out = []
  for k, row in enumerate(block.rows):
    if row.missing or row.notes or _knows_the_truth(row):
      left_out.append(row_name(row))
    else:
      groups.setdefault(_baseline(table, block, row), []).append(k)
  cells = frozenset(
      (k, column.metric)
      for column in block.columns
      for rows in groups.values()
      for k in _best(block.rows, rows, column)
  )
  if not cells:
    return Best(cells, '')
  several = sum(len(rows) > 1 for rows in groups.values()) > 1
  note = 'Bold: the best mean of the column'
  note += ' among the rows with one baseline' if several else ''
  note += f'; not compared: {", ".join(left_out)}' if left_out else ''
  return Best(cells, note + '.')


def _best(
    rows: Sequence[Row], numbers: Iterable[int], column: Column
) -> list[int]:
  """Returns which of the numbered rows have the best mean of a column."""
  if column.better is None:
    return []
  shown = {}
  for k in numbers:
    cell = rows[k].cells[column.metric]
    if cell.n == len(rows[k].runs):
      shown[k] = float(f'{cell.mean:.{column.decimals}f}')
  if len(set(shown.values())) < 2:
    return []
  choose = max if column.better == 'higher' else min
  end = choose(shown.values())
  return [k for k, value in shown.items() if value == end]


def _baseline(table: Table, block: Block, row: Row) -> Any:
  """Returns the keys of the row that a row is compared with."""
  if table.baseline is None:
    return None
  point = dict(zip(table.blocks, block.values))
  point |= dict(zip(table.rows, row.values))
  return table.baseline_cell({**point, table.seed: None})


def _knows_the_truth(row: Row) -> bool:
  """Returns whether a run was trained on what a simulator alone knows."""
  configs = [run.config or {} for run in row.runs.values()]
  return any(
      config.get('estimator') == 'conversion_if_clicked'
      or (config.get('estimator_options') or {}).get('propensity') == 'true'
      for config in configs
  )
