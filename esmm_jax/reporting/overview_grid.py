"""The grid of one metric's gains in all blocks of a results table."""

from collections.abc import Sequence

from esmm_jax.reporting import history_notes
from esmm_jax.reporting.gain_grid import baseline_name, detectable, LEVEL
from esmm_jax.reporting.gain_grid import star
from esmm_jax.reporting.grid import ARROWS, Grid, NONE, number, short, titled
from esmm_jax.sweeps.results import Block, Gain
from esmm_jax.sweeps.table import Column, Table


def overview_grid(
    table: Table, blocks: Sequence[Block], column: Column
) -> Grid:
  """Shows the mean gain of each row in each block.

  The last line is the least gain that the tests of a block find in 80 of 100
  cases, the median of its rows.

  Args:
    table: The results table.
    blocks: All of them; rows of one name share a line.
    column: Of the metric, one of `gain_columns`.
  """
  metric = column.metric
  cells: dict[str, list[str]] = {}
  for k, block in enumerate(blocks):
    for row in block.rows:
      if gain := row.gains.get(metric):
        name = history_notes.row_name(row)
        line = cells.setdefault(name, [NONE] * len(blocks))
        line[k] = _cell(gain, column)
  least = [detectable(block.rows, column) for block in blocks]
  names = ', '.join(map(short, table.rows))
  baseline = baseline_name(table)
  return Grid(
      f'{column.header}{ARROWS[column.better]}: gain over {baseline}, all'
      ' blocks',
      [names, *(titled(table.blocks, b.values) for b in blocks)],
      [[name, *line] for name, line in cells.items()]
      + [['detectable', *least]],
      1,
      [
          f'Mean difference to {baseline} at the same seed; * p of the paired t'
          f' test below {number(LEVEL, 2)} after Holm over the rows of the'
          ' block. detectable: the smallest difference that such a test finds'
          ' in 80 of 100 cases, median of the rows.'
      ],
  )


def _cell(gain: Gain, column: Column) -> str:
  return number(gain.paired.mean, column.decimals, '+') + star(gain)
