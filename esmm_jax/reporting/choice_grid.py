"""The grid of a choice on the validation split: every candidate's mean."""

from esmm_jax.reporting import history_notes
from esmm_jax.reporting.grid import counted, Grid, short, spread, text, titled
from esmm_jax.sweeps.results import Block
from esmm_jax.sweeps.table import Table

_VALID_DECIMALS = 5


def choice_grid(table: Table, block: Block) -> Grid:
  """Shows every candidate with its mean on the validation split."""
  assert table.choice is not None
  metric, mode = table.choice.metric, table.choice.mode
  name = short(table.choice.key)
  rows = []
  for row in block.rows:
    chosen = row.chosen
    if chosen is None:
      continue
    for value, summary in chosen.means.items():
      star = '*' if chosen.taken and value == chosen.value else ''
      seeds = counted(summary.n, chosen.planned)
      mean = spread(summary, _VALID_DECIMALS)
      names = history_notes.row_texts(row)
      rows.append([*names, text(value), seeds, mean + star])
  what = {'max': 'largest', 'min': 'smallest'}[mode]
  below = [
      f'* chosen: the {what} mean of {metric} over the seeds that all values'
      ' of the row have, the first of equal ones. The test split has no part'
      ' in it.'
  ]
  for row in block.rows:
    if row.chosen and row.chosen.undefined:
      values = ', '.join(map(text, row.chosen.undefined))
      below.append(
          f'{row.name}: {metric} is no number in a finished run of {values},'
          ' which cannot be chosen.'
      )
  title = titled(table.blocks, block.values)
  title = f'{title}: choice of {name}' if title else f'Choice of {name}'
  headers = [*map(short, table.rows), name, 'n', metric]
  return Grid(title, headers, rows, len(table.rows) + 1, below)
