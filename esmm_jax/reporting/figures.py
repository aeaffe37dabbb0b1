"""Draws the pictures of a results table from the values of its blocks.

Unfinished runs are left out of a picture. If none of its runs is finished there
is no picture, and `Drawn.skipped` names it.
"""

from collections.abc import Callable, Mapping, Sequence
import math
import os
from typing import Any, NamedTuple

from esmm_jax.histories import labelled
from esmm_jax.metric_names import DECILE_RATIOS
from esmm_jax.metrics import significance
from esmm_jax.reporting import plots
from esmm_jax.reporting.front_grid import curves
from esmm_jax.reporting.gain_grid import baseline_name
from esmm_jax.reporting.grid import ARROWS, slug, text, titled
from esmm_jax.reporting.history_notes import of_block, row_name
from esmm_jax.sweeps.results import Block, Row
from esmm_jax.sweeps.table import Table
from esmm_jax.types import InputError
import numpy as np

_ACROSS = 4  # Panels side by side.
_DECILES = [f'test/cvr_entire/{name}' for name in DECILE_RATIOS]


class Drawn(NamedTuple):
  """The pictures that were drawn, and those that were not.

  Attributes:
    paths: PNG files that were written.
    skipped: A sentence for each picture that was not.
  """

  paths: list[str]
  skipped: list[str]


def draw(table: Table, blocks: Sequence[Block], folder: str) -> Drawn:
  """Writes the pictures that the table asks for into a folder.

  Raises:
    InputError: The table lacks the rows that a picture needs.
  """
  drawn = Drawn([], [])
  for name in table.figures:
    paths, skipped = FIGURES[name](table, blocks, folder)
    drawn.paths.extend(paths)
    drawn.skipped.extend(skipped)
  return drawn


def fronts(table: Table, blocks: Sequence[Block], folder: str) -> Drawn:
  """Draws both scores of each curve, one picture per block: front.png.

  Raises:
    InputError: The table has no `front`.
  """
  front = table.front
  if front is None:
    raise InputError(
        f"Table {table.title!r}: the figure 'fronts' needs front=Front(...)."
    )
  headers = {c.metric: c.header for c in table.columns}
  drawn = Drawn([], [])
  for block, path, title in _pictures(table, blocks, folder, 'front'):
    scores = curves(table, block)
    points = {text(name): by for name, by in scores.points.items()}
    arrays = [scores.series, *points.values()]
    if _absent(drawn, path, [x for by in arrays for x in by.values()]):
      continue
    plots.fronts(
        {text(name): values for name, values in scores.series.items()},
        scores.along,
        scores.single,
        path,
        title,
        headers[front.x],
        headers[front.y],
        points=points,
    )
    drawn.paths.append(path)
  return drawn


def training_size(table: Table, blocks: Sequence[Block], folder: str) -> Drawn:
  """Draws each AUC that has gains by training share: training-size.png.

  Raises:
    InputError: The rows are not '@method' and '@share', or the latter are no
      numbers.
  """
  if set(table.rows) != {'@method', '@share'} or not all(
      isinstance(point['@share'], (int, float)) for point in table.points
  ):
    raise InputError(
        f"Table {table.title!r}: the figure 'training_size' needs the rows"
        " '@method' and '@share', the latter numbers in (0, 1]."
    )
  drawn = Drawn([], [])
  for block, path, title in _pictures(table, blocks, folder, 'training-size'):
    panels: dict[str, dict[str, dict[float, np.ndarray]]] = {}
    for column in block.columns:
      if 'auc' in column.metric and column.metric in table.gain_columns:
        panel = panels.setdefault(column.header, {})
        for row in block.rows:
          names = dict(zip(table.rows, row.values))
          method = panel.setdefault(text(names['@method']), {})
          method[names['@share']] = _values(row, [column.metric])[:, 0]
    methods = [method for panel in panels.values() for method in panel.values()]
    arrays = [values for method in methods for values in method.values()]
    if not _absent(drawn, path, arrays):
      plots.training_size(panels, path, title)
      drawn.paths.append(path)
  return drawn


def cvr_by_ctr_decile(
    table: Table, blocks: Sequence[Block], folder: str
) -> Drawn:
  """Draws predicted over true CVR by CTR decile: cvr-by-ctr-decile.png.

  One picture: the first of the table's block keys are its columns, the others
  its rows.
  """
  path = os.path.join(folder, 'cvr-by-ctr-decile.png')
  panels = {}
  for block in blocks:
    labels = [titled([k], [v]) for k, v in zip(table.blocks, block.values)]
    cell = (', '.join(labels[1:]), ''.join(labels[:1]))
    panels[cell] = {row_name(row): _values(row, _DECILES) for row in block.rows}
  drawn = Drawn([], [])
  arrays = [x for panel in panels.values() for x in panel.values()]
  if not _absent(drawn, path, arrays):
    plots.cvr_by_ctr_decile_panels(panels, path, table.title)
    drawn.paths.append(path)
  return drawn


def gains(table: Table, blocks: Sequence[Block], folder: str) -> Drawn:
  """Draws the gains of each metric, a panel for each block: gains-METRIC.png.

  Grey lines are the other candidates of the baseline, where it has chosen
  among several: what it would have gained or lost by another choice.
  """
  drawn = Drawn([], [])
  for metric in table.gain_columns:
    (column,) = [c for c in table.columns if c.metric == metric]
    path = os.path.join(folder, f'gains-{slug(metric)}.png')
    names = dict.fromkeys(
        row_name(r) for block in blocks for r in block.rows if r.gains
    )
    panels, others = {}, {}
    for block in blocks:
      rows = {row_name(r): _gain(r, metric) for r in block.rows}
      name = titled(table.blocks, block.values) or table.title
      panels[name] = {row: rows.get(row, [math.nan] * 4) for row in names}
      others[name] = _not_chosen(table, block, metric)
    shown = {k: p for k, p in panels.items() if not _empty(p)}
    if _absent(drawn, path, [list(p.values()) for p in shown.values()]):
      continue
    plots.gains(
        shown,
        path,
        f'{table.title}\n{column.header}: gain over {baseline_name(table)}',
        columns=_ACROSS,
        lower_is_better=column.better == 'lower',
        others=others,
        x_label=column.header + ARROWS[column.better],
    )
    drawn.paths.append(path)
  return drawn


def _gain(row: Row, metric: str) -> list[float]:
  """Returns mean, low, high and p-value of a gain; nan without one."""
  if (gain := row.gains.get(metric)) is None:
    return [math.nan] * 4
  return [*gain.paired[1:2], *gain.paired[3:5], gain.p_holm]


def _empty(panel: Mapping[str, Sequence[float]]) -> bool:
  return all(math.isnan(values[0]) for values in panel.values())


def _not_chosen(table: Table, block: Block, metric: str) -> list[float]:
  """Returns how much the baseline's other candidates would have gained."""
  keys, names = dict(table.baseline or {}), (*table.blocks, *table.rows)
  baselines = [
      row
      for row in block.rows
      if keys.items() <= dict(zip(names, (*block.values, *row.values))).items()
  ]
  # Where each row has a baseline of its own they have no common candidates.
  if len(baselines) != 1 or not baselines[0].chosen:
    return []
  (row,) = baselines
  return [
      significance.paired(
          {seed: run.value(metric) for seed, run in runs.items()},
          {seed: run.value(metric) for seed, run in row.runs.items()},
      ).mean
      for value, runs in row.candidates.items()
      if value != row.chosen.value
  ]


# Name in `Table.figures` -> function that draws it.
FIGURES: dict[str, Callable[[Table, Sequence[Block], str], Drawn]] = {
    'fronts': fronts,
    'training_size': training_size,
    'cvr_by_ctr_decile': cvr_by_ctr_decile,
    'gains': gains,
}


def _pictures(
    table: Table, blocks: Sequence[Block], folder: str, stem: str
) -> list[tuple[Block, str, str]]:
  """Returns (block, file, title) of a picture that each block has."""
  pictures = []
  taken: set[str] = set()
  for block in blocks:
    name = titled(table.blocks, block.values)
    part = slug(name)
    several = len(blocks) > 1
    file = f'{stem}-{part}' if several and part else stem
    while file in taken:
      file += '-2'
    taken.add(file)
    title = f'{table.title}: {name}' if name else table.title
    title = labelled(title, of_block(block))
    pictures.append((block, os.path.join(folder, f'{file}.png'), title))
  return pictures


def _values(row: Row, metrics: Sequence[str]) -> np.ndarray:
  """Returns float [S, metrics], nan where the run is missing."""
  return np.array([[r.value(m) for m in metrics] for r in row.runs.values()])


def _absent(drawn: Drawn, path: str, arrays: Sequence[Any]) -> bool:
  """Returns True, and notes it, if all values of a picture are missing."""
  if any(not np.isnan(values).all() for values in arrays):
    return False
  drawn.skipped.append(
      f'{os.path.basename(path)} is not drawn: no run of it is finished.'
  )
  return True
