"""Draws forest plots: the gains of a block over its baseline."""

from collections.abc import Sequence
import math
import os

from esmm_jax.reporting import history_notes, plots
from esmm_jax.reporting.gain_grid import baseline_name
from esmm_jax.reporting.grid import titled
from esmm_jax.sweeps.results import Block, Row
from esmm_jax.sweeps.table import Table

_ACROSS = 4  # Panels side by side.


def forests(table: Table, blocks: Sequence[Block], folder: str) -> list[str]:
  """Draws the gains of each block that has some, a panel for each metric.

  Args:
    table: The results table.
    blocks: Its rows, with their runs.
    folder: Gets the pictures: gains.png, gains-2.png.

  Returns:
    The PNG files that were written.
  """
  paths: list[str] = []
  for block in blocks:
    rows = [row for row in block.rows if row.gains]
    columns = [c for c in block.columns if c.metric in table.gain_columns]
    panels = {
        column.header: {
            history_notes.row_name(row): _gain(row, column.metric)
            for row in rows
        }
        for column in columns
    }
    if not any(
        math.isfinite(x[0]) for panel in panels.values() for x in panel.values()
    ):
      continue
    number = f'-{len(paths) + 1}' if paths else ''
    path = os.path.join(folder, f'gains{number}.png')
    base = baseline_name(table)
    name = titled(table.blocks, block.values)
    plots.gains(
        panels,
        path,
        f'{name}: gain over {base}' if name else f'Gain over {base}',
        columns=_ACROSS,
        lower_is_better={c.header for c in columns if c.better == 'lower'},
    )
    paths.append(path)
  return paths


def _gain(row: Row, metric: str) -> list[float]:
  gain = row.gains[metric]
  return [gain.paired.mean, gain.paired.low, gain.paired.high, gain.p_holm]
