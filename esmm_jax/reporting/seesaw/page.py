"""The page of a seesaw laboratory, and its numbers."""

from collections.abc import Mapping, Sequence
import dataclasses
import os
from typing import Any, NamedTuple

from esmm_jax.reporting import plots, text as report
from esmm_jax.reporting.front_grid import curves, Curves, front_grid
from esmm_jax.reporting.gain_grid import gain_grid
from esmm_jax.reporting.grid import text
from esmm_jax.reporting.margin_grid import margin_grid
from esmm_jax.reporting.page import meanings, sweep_page
from esmm_jax.reporting.page.parts import Code, Missing, Page, Picture, Section
from esmm_jax.reporting.page.parts import Table, Terms, Text
from esmm_jax.reporting.seesaw import balances, by_step, costs, stops
from esmm_jax.reporting.seesaw import verdicts
from esmm_jax.reporting.seesaw.arms import Arms, read as read_arms
from esmm_jax.reporting.seesaw.numbers import numbers as collect
from esmm_jax.sweeps import seesaw
from esmm_jax.sweeps.results import Block, notes, tabulate
from esmm_jax.sweeps.table import Table as SweepTable
from esmm_jax.workdir.identity import say_once
import numpy as np

_FRONT = (
    'Each point of the line is the mean over seeds of one static ratio of the'
    ' two losses; up and to the right is better. The cross-hair is the'
    ' single-task models. A method is a filled point, its replay a hollow one:'
    ' the line between them is what the changes of the weights are worth.'
)
_TOO_FEW = (
    'A test with so few seeds finds large differences only; --seeds=5 or more'
    ' is for conclusions.'
)


class Made(NamedTuple):
  """A page, and the same for programs and for the terminal.

  Attributes:
    page: The page.
    blocks: Of the results table with the front.
    numbers: What seesaw.json holds.
    says: Sentences.
  """

  page: Page
  blocks: list[Block]
  numbers: dict[str, Any]
  says: list[str]


def make(
    design: seesaw.Design,
    tables: seesaw.Tables,
    workdir: str,
    command: str,
    configs: Mapping[str, Any] | None = None,
) -> Made:
  """Draws the pictures into WORKDIR/plots and makes the page.

  Args:
    design: What is compared.
    tables: Its results tables.
    workdir: Folder of the runs.
    command: That makes it again.
    configs: See `comparable.read_runs`.

  Raises:
    InputError: As `tabulate`.
  """
  folder = os.path.join(workdir, 'plots')
  read = lambda table: tabulate(table, workdir, configs)
  blocks = read(tables.front)
  arms = read_arms(design, workdir, blocks[0])
  replays = read(tables.replays)[0] if tables.replays else None
  judged = verdicts.of_rows(tables.front, blocks[0].rows)
  pairs = (
      verdicts.of_rows(tables.replays, replays.rows)
      if tables.replays and replays
      else {}
  )
  scores = curves(tables.front, blocks[0])
  front = verdicts.front(scores)
  stopped, single = by_step.stopped(arms)
  says = [
      verdicts.static_weights(judged),
      verdicts.beyond(front),
      verdicts.methods(pairs),
  ]
  if stopped:
    says.append(stops.answer(stopped, design.scores))
  answers = says + [_TOO_FEW] * (design.seeds < verdicts.FEW)
  page = Page(
      tables.front.title,
      f'{arms.planned} runs, {len(arms.lines)} finished; seeds:'
      f' {design.seeds}',
      [],
      [
          _state(arms, command),
          Section(
              'What it says', [*map(Text, answers), Text(tables.front.note)]
          ),
          _front_section(arms, tables.front, scores, folder),
          _gains(tables, blocks, replays, read, folder),
          _balance(arms, folder),
          by_step.section(arms, stopped, single, folder),
          _calibration(tables.calibration, read),
          Section('Cost', [_costs(arms)]),
          Section('All scores', [_means(tables.front, blocks)]),
          Section(
              'How it was made',
              [Code(command), Code('\n'.join(report.provenance(blocks)))],
          ),
      ],
  )
  values = collect(arms, judged, pairs, front, stopped, single)
  return Made(page, blocks, values, says)


def _state(arms: Arms, command: str) -> Section:
  """Says which runs are missing or do not count."""
  parts: list[Any] = []
  if len(arms.lines) < arms.planned:
    what = f'{len(arms.lines)} of {arms.planned} runs are finished. The rest:'
    parts.append(Missing(what, command))
  for note in notes([arms.block]):
    say_once(note)
    parts.append(Text(note))
  return Section('State', parts)


def _front_section(
    arms: Arms, table: SweepTable, scores: Curves, folder: str
) -> Section:
  """Shows the front, its volume, and how far methods lie beyond it."""
  x, y = (f'{space} AUC' for space in arms.design.scores)
  arrays = [scores.single, *scores.series.values()]
  arrays += [v for by in scores.points.values() for v in by.values()]
  if all(np.isnan(values).all() for values in arrays):
    return Section('Front', [Missing('No run of the front is finished.')])
  first, second = arms.design.terms
  path = os.path.join(folder, 'front.png')
  plots.fronts(
      {text(name): values for name, values in scores.series.items()},
      scores.along,
      scores.single,
      path,
      table.title,
      x,
      y,
      f'log2 of the {first} : {second} weight',
      {text(name): by for name, by in scores.points.items()},
  )
  grids = [front_grid(table, arms.block), margin_grid(table, arms.block)]
  tables = [Table(g) for g in grids if g.rows]
  return Section('Front', [Picture(path, _FRONT, True), *tables])


def _gains(
    tables: seesaw.Tables,
    blocks: Sequence[Block],
    replays: Block | None,
    read: Any,
    folder: str,
) -> Section:
  """Shows gains over single-task models, the config as it is, replays."""
  parts: list[Any] = list(sweep_page.draw_gains(tables.front, blocks, folder))
  parts.append(_gain_table(tables.front, blocks[0]))
  config = read(tables.config)[0]
  parts.append(_gain_table(tables.config, config))
  if tables.replays and replays:
    parts.append(_gain_table(tables.replays, replays))
  return Section('Gains', parts)


def _gain_table(table: SweepTable, block: Block) -> Any:
  """Shows the gains of a block over the baseline of its table."""
  columns = [c for c in block.columns if c.metric in table.gain_columns]
  if not columns or not any(row.gains for row in block.rows):
    return Missing('No run of these gains is finished.')
  return Table(gain_grid(table, block, columns))


def _balance(arms: Arms, folder: str) -> Section:
  """Shows weights and gradients of the methods along training."""
  rows = {text(row.values[0]): row for row in arms.methods}
  runs = {n: list(arms.finished(row).values()) for n, row in rows.items()}
  weights = arms.design.weights
  return balances.section(
      arms.design.terms,
      weights[0] / weights[1],
      {n: [arms.lines[r.name] for r in of_arm] for n, of_arm in runs.items()},
      runs,
      os.path.join(folder, 'balance.png'),
  )


def _calibration(table: SweepTable | None, read: Any) -> Section:
  """Shows calibration, ECE and normalized entropy of both scores' spaces."""
  if table is None:
    return Section('Calibration', [])
  about = meanings.of_metrics()
  names = dict.fromkeys(c.metric.split('/')[-1] for c in table.columns)
  return Section(
      'Calibration',
      [_means(table, read(table)), Terms([about[name] for name in names])],
  )


def _means(table: SweepTable, blocks: Sequence[Block]) -> Table:
  """Shows mean and spread of all columns, without gains and fronts."""
  plain = dataclasses.replace(
      table, title='', baseline=None, front=None, verdict=None,
      gain_columns=(), figures=(), test_noise=(),
  )  # fmt: skip
  (grid,) = report.grids(plain, blocks)
  return Table(grid)


def _costs(arms: Arms) -> Table:
  return Table(costs.costs_grid(arms.block.rows, arms.config))
