"""Tells in a results table what the histories of its runs know."""

from collections.abc import Sequence

from esmm_jax import histories
from esmm_jax.reporting.grid import text, titled
from esmm_jax.sweeps.results import Block, Row
from esmm_jax.sweeps.table import Table


def row_texts(row: Row) -> list[str]:
  """Returns the values of a row, the last with what its histories know."""
  texts = list(map(text, row.values))
  if texts:
    texts[-1] = histories.labelled(texts[-1], row.history)
  return texts


def row_name(row: Row) -> str:
  """Returns the name of a row with what its histories know."""
  return histories.labelled(row.name, row.history)


def of_block(block: Block) -> str:
  """Returns what the histories of the finished runs of a block know."""
  return histories.joined(
      row.history for row in block.rows if row.missing < len(row.runs)
  )


def comparisons(table: Table, blocks: Sequence[Block]) -> list[str]:
  """Returns a line for each comparison of runs that know different things.

  Args:
    table: The results table.
    blocks: Its blocks, which a line names where there are several.
  """
  lines = []
  names = [titled(table.blocks, block.values) for block in blocks]
  for name, block in zip(names, blocks):
    if line := _within(block):
      lines.append(f'{name}: {line}' if name and len(blocks) > 1 else line)
  if not lines:  # Then each block has one protocol.
    lines.append(
        histories.comparison(list(map(of_block, blocks)), names, 'table')
    )
  return [line for line in lines if line]


def below(table: Table, blocks: Sequence[Block], block: Block) -> list[str]:
  """Returns the lines below the means of a block.

  Args:
    table: The results table.
    blocks: All its blocks.
    block: One of them.
  """
  if line := _within(block):
    return [line]
  known = [h for h in dict.fromkeys(r.history for r in block.rows) if h]
  lines = [f'History: {histories.meaning(history)}' for history in known]
  if not any(map(_within, blocks)):
    lines += comparisons(table, blocks)
  return lines


def of_gains(rows: Sequence[Row]) -> list[str]:
  """Returns the lines below gains over runs that know other things."""
  lines = []
  for row in rows:
    if histories.comparison([row.history, row.against]):
      lines.append(
          f'{row_name(row)}: its gain is over runs that'
          f' {"are " + row.against if row.against else "have no history"}; it'
          ' is of what the runs know of the test days, not of the model alone.'
      )
  return lines


def _within(block: Block) -> str:
  """Returns the comparison of the rows of a block, by their numbers."""
  # A row without a finished run has no number to compare.
  shown = [row.history for row in block.rows if row.missing < len(row.runs)]
  if not histories.comparison(shown):
    return ''
  return histories.comparison([row.history for row in block.rows])
