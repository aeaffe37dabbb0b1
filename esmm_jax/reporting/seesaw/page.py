"""The page of a seesaw laboratory, and its numbers."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
import os
from typing import Any, NamedTuple

from esmm_jax.json_files import read_jsonl
from esmm_jax.reporting import plots, text as report
from esmm_jax.reporting.front_grid import curves, Curves, front_grid
from esmm_jax.reporting.gain_grid import gain_grid
from esmm_jax.reporting.grid import text
from esmm_jax.reporting.margin_grid import margin_grid
from esmm_jax.reporting.page import meanings, sweep_page
from esmm_jax.reporting.page.parts import Code, Missing, Page, Picture, Section
from esmm_jax.reporting.page.parts import Table, Terms, Text
from esmm_jax.reporting.seesaw import balances, costs, stops, verdicts
from esmm_jax.sweeps import seesaw
from esmm_jax.sweeps.results import Block, notes, Row, tabulate
from esmm_jax.sweeps.saved_runs import run_folder, SavedRun
from esmm_jax.sweeps.table import Table as SweepTable
from esmm_jax.workdir.identity import say_once
import numpy as np

_FRONT = (
    'Each point of the line is the mean over seeds of one static ratio of the'
    ' two losses; up and to the right is better. The cross-hair is the'
    ' single-task models. A method is a filled point, its replay a hollow one:'
    ' the line between them is what the changes of the weights are worth.'
)
_BY_STEP = (
    'AUC on the validation split by training step, mean over seeds, of the'
    ' single-task models, the config as it is, the lowest, the middle and the'
    ' highest static ratio, and the methods.'
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


class _Arms(NamedTuple):
  """The runs of a laboratory.

  Attributes:
    design: What is compared.
    workdir: Their folder.
    block: All arms.
    lines: Name of a finished run -> its metrics.jsonl.
  """

  design: seesaw.Design
  workdir: str
  block: Block
  lines: Mapping[str, stops.Lines]

  def finished(self, row: Row) -> dict[Any, SavedRun]:
    """Returns seed -> run of the finished runs of a row."""
    return {s: run for s, run in row.runs.items() if run.name in self.lines}

  def row(self, *values: Any) -> Row:
    """Returns the row of these values."""
    return verdicts.block_rows(self.block)[values]

  @property
  def methods(self) -> list[Row]:
    """The rows of the methods, without their replays."""
    labels = {arm.label for arm in self.design.arms}
    return [
        row
        for row in self.block.rows
        if row.values[0] in labels and row.values[1] == seesaw.METHOD
    ]


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
  arms = _read(design, workdir, blocks[0])
  finished = len(arms.lines)
  names = {r.name for row in blocks[0].rows for r in row.runs.values()}
  title = tables.front.title
  replays = read(tables.replays)[0] if tables.replays else None
  judged = verdicts.of_rows(tables.front, blocks[0].rows)
  pairs = (
      verdicts.of_rows(tables.replays, replays.rows)
      if tables.replays and replays
      else {}
  )
  scores = curves(tables.front, blocks[0])
  front = verdicts.front(scores)
  stopped, single = _stopped(arms)
  says = [
      verdicts.static_weights(judged),
      verdicts.beyond(front),
      verdicts.methods(pairs),
  ]
  if stopped:
    says.append(stops.answer(stopped, design.scores))
  state = []
  if finished < len(names):
    what = f'{finished} of {len(names)} runs are finished. The rest:'
    state.append(Missing(what, command))
  for note in notes(blocks):
    say_once(note)
    state.append(Text(note))
  few = (
      'A test with so few seeds finds large differences only; --seeds=5 or more'
      ' is for conclusions.'
  )
  answers = [*map(Text, says), *([Text(few)] if design.seeds < verdicts.FEW else [])]
  page = Page(
      title,
      f'{len(names)} runs, {finished} finished; seeds: {design.seeds}',
      [],
      [
          Section('State', state),
          Section('What it says', [*answers, Text(tables.front.note)]),
          _front_section(arms, tables.front, scores, folder),
          _gains(tables, blocks, replays, read, folder),
          _balance(arms, folder),
          _by_step(arms, stopped, single, folder),
          _calibration(tables.calibration, read),
          Section('Cost', [_costs(arms)]),
          Section('All scores', [_means(tables.front, blocks)]),
          Section(
              'How it was made',
              [Code(command), Code('\n'.join(report.provenance(blocks)))],
          ),
      ],
  )
  numbers = _numbers(arms, judged, pairs, front, stopped, single)
  return Made(page, blocks, numbers, says)


def _read(design: seesaw.Design, workdir: str, block: Block) -> _Arms:
  """Reads metrics.jsonl of the finished runs."""
  lines = {}
  for row in block.rows:
    for run in row.runs.values():
      if run.results is not None:
        path = os.path.join(run_folder(workdir, run.name), 'metrics.jsonl')
        lines[run.name] = read_jsonl(path)
  return _Arms(design, workdir, block, lines)


def _front_section(
    arms: _Arms, table: SweepTable, scores: Curves, folder: str
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


def _balance(arms: _Arms, folder: str) -> Section:
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


def _valid(design: seesaw.Design) -> tuple[str, str]:
  x, y = design.scores
  return f'valid/{x}/auc', f'valid/{y}/auc'


def _stopped(
    arms: _Arms,
) -> tuple[list[stops.Stopped], stops.Stopped | None]:
  """Returns all arms with their scores by step, and the single-task models.

  Without scores of the validation split there are none.
  """
  made = []
  for row in arms.block.rows:
    of_seeds = {}
    for seed, run in arms.finished(row).items():
      selected = int(run.value('selected_step'))
      stop = stops.stop(arms.lines[run.name], selected, _valid(arms.design))
      if stop is not None:
        of_seeds[seed] = stop
    name = stops.named(row.values)
    made.append(stops.Stopped(name, len(row.runs), of_seeds))
  single = [s for s in made if s.name[0] == seesaw.SINGLE]
  rest = [s for s in made if s.name[0] != seesaw.SINGLE]
  if not single or not any(s.stops for s in made):
    return [], None
  return stops.compared(rest, single[0]), single[0]


def _by_step(
    arms: _Arms,
    stopped: Sequence[stops.Stopped],
    single: stops.Stopped | None,
    folder: str,
) -> Section:
  """Shows the AUC of each task by step, and the steps that are best."""
  title = 'AUC by step'
  if single is None:
    what = 'The validation split has no scores of both tasks by step.'
    return Section(title, [Missing(what)])
  names = arms.design.scores
  panels = {}
  for name, key in zip(names, _valid(arms.design)):
    panel = {}
    for row in _drawn(arms):
      of_seeds = [
          stops.curve(arms.lines[run.name], key)
          for run in arms.finished(row).values()
      ]
      if (line := stops.mean_curve([c for c in of_seeds if c[0]]))[0]:
        panel[_label(row)] = line
    panels[f'{name} AUC'] = panel
  path = os.path.join(folder, 'auc-by-step.png')
  plots.learning(panels, path, 'AUC on the validation split by step')
  return Section(
      title,
      [
          Text(stops.answer(stopped, names)),
          Picture(path, _BY_STEP, large=True),
          Table(stops.steps_grid(stopped, single, names)),
          Table(stops.gains_grid(stopped, names)),
      ],
  )


def _drawn(arms: _Arms) -> list[Row]:
  """Returns the rows whose curves are drawn."""
  ratios = arms.design.ratios
  middle = min(ratios, key=lambda r: abs(math.log(r)))
  some = dict.fromkeys((ratios[0], middle, ratios[-1]))
  return [
      arms.row(seesaw.SINGLE, None),
      arms.row(seesaw.CONFIG, seesaw.AS_IT_IS),
      *(arms.row(seesaw.STATIC, ratio) for ratio in some),
      *arms.methods,
  ]


def _label(row: Row) -> str:
  arm, ratio = row.values
  return f'{arm} {ratio:g}' if isinstance(ratio, float) else text(arm)


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


def _costs(arms: _Arms) -> Table:
  static = arms.row(seesaw.CONFIG, seesaw.AS_IT_IS)
  return Table(costs.costs_grid(arms.block.rows, static))


def _numbers(
    arms: _Arms,
    judged: Mapping[tuple, str],
    pairs: Mapping[tuple, str],
    front: verdicts.Front,
    stopped: Sequence[stops.Stopped],
    single: stops.Stopped | None,
) -> dict[str, Any]:
  """Collects the numbers of the page as plain data, nan as None."""
  design = arms.design
  static = arms.row(seesaw.CONFIG, seesaw.AS_IT_IS)
  rows = []
  for row in arms.block.rows:
    arm, ratio = row.values
    scores = {
        str(seed): [run.value(m) for m in design.metrics]
        for seed, run in arms.finished(row).items()
    }
    rows.append({
        'arm': arm,
        'ratio': ratio,
        'test_auc': scores,
        'over_single_task': judged.get(row.values),
        'over_replay': pairs.get(row.values),
    })
  by_step = [
      {'arm': s.name[0], 'ratio': s.name[1]}
      | {'seeds': {str(k): v._asdict() for k, v in s.stops.items()}}
      for s in (*stopped, *([single] if single else []))
  ]
  margins = {
      str(name): {where: m._asdict() for where, m in by.items()}
      for name, by in front.margins.items()
  }
  return _plain({
      'losses': design.terms,
      'scores': design.scores,
      'arms': rows,
      'front_volume': front.volume._asdict(),
      'margins': margins,
      'by_step': by_step,
      'cost': costs.numbers(arms.block.rows, static),
  })


def _plain(value: Any) -> Any:
  """Returns plain data with None where a number is nan."""
  if isinstance(value, Mapping):
    return {k: _plain(v) for k, v in value.items()}
  if isinstance(value, (list, tuple)):
    return [_plain(v) for v in value]
  return None if isinstance(value, float) and math.isnan(value) else value
