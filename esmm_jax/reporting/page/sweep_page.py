"""The page of a sweep: its results table, its pictures, its runs."""

from collections.abc import Mapping, Sequence
import os
import shlex
from typing import Any
from urllib.parse import quote

from esmm_jax import histories
from esmm_jax.entry import commands
from esmm_jax.reporting import figures, text as report
from esmm_jax.reporting.forests import forests
from esmm_jax.reporting.grid import Grid, short
from esmm_jax.reporting.page import sections
from esmm_jax.reporting.page.parts import Code, Missing, Page, Picture, Section
from esmm_jax.reporting.page.parts import Table, Text
from esmm_jax.sweeps.comparable import read_runs
from esmm_jax.sweeps.points import run_name
from esmm_jax.sweeps.results import Block, notes, tabulate
from esmm_jax.sweeps.saved_runs import find_run, run_folder, SavedRun, state
from esmm_jax.sweeps.table import Table as SweepTable
from esmm_jax.workdir.identity import say_once

_CAPTIONS = {
    'front': (
        'Each point is the mean over seeds of one weighting of the tasks, its'
        ' ellipse (a line, of two seeds) one standard deviation of them; up'
        ' and to the right is better. A curve that beats the single-task point'
        ' in one direction only shows the seesaw.'
    ),
    'training-size': 'Mean ± one standard deviation over seeds.',
    'cvr-by-ctr-decile': (
        'Mean predicted over mean true CVR by tenth of the true CTR; 1 has no'
        ' bias. Bands are one standard deviation over seeds.'
    ),
}
_GAINS = (
    'Difference to the baseline at the same seed, mean and 95 % interval (cut'
    ' off at five times the largest mean). A filled point has p < .05 after'
    ' Holm. One task on the right and another one on the left of 0 is a seesaw.'
)


def begun(table: SweepTable | None, workdir: str) -> list[str]:
  """Lists the runs that have a config.

  Args:
    table: The results table; its runs are listed in the order of its points.
      None: the runs are those in the folder, by name.
    workdir: Folder of the sweep.
  """
  if table is not None:
    names = list(dict.fromkeys(map(run_name, table.points)))
  else:
    folder = os.path.join(workdir, 'runs')
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
  return [n for n in names if find_run(workdir, n).config is not None]


def make(
    table: SweepTable,
    spec: str,
    workdir: str,
    output: str,
    folder: str = '',
    configs: Mapping[str, Any] | None = None,
) -> Page:
  """Draws the pictures and makes the page.

  Args:
    table: The results table.
    spec: Its file and variant, for the command that resumes the sweep; or the
      command.
    workdir: Folder of the sweep.
    output: Path of the page; links to the runs are relative to it.
    folder: Gets the pictures; '': WORKDIR/plots.
    configs: See `comparable.read_runs`.

  Raises:
    InputError: As `tabulate`.
  """
  blocks = tabulate(table, workdir, configs)
  folder = folder or os.path.join(workdir, 'plots')
  drawn = figures.draw(table, blocks, folder)
  grids = report.grids(table, blocks)
  tables: list[Any] = [Text(table.note)] if table.note else []
  tables += [Table(grid) for grid in grids]
  pictures: list[Any] = draw_gains(table, blocks, folder)
  pictures += [Picture(p, _caption(p), True) for p in drawn.paths]
  pictures += [Missing(text) for text in drawn.skipped]
  by_name, _ = read_runs(table.points, workdir, configs)
  runs = list(by_name.values())
  finished = sum(run.results is not None for run in runs)
  command = spec
  if not commands.is_one(spec):  # As a laboratory has it.
    command = (
        f'{commands.command("sweep")} --sweep={shlex.quote(spec)}'
        f' --workdir={shlex.quote(workdir)}'
    )
  state = []
  if finished < len(runs):
    failed = sum(bool(run.failure) for run in runs)
    what = f'{finished} of {len(runs)} runs are finished'
    what += f', {failed} failed.' if failed else '.'
    what += ' The command that resumes the sweep:'
    state.append(Missing(what, command))
  for note in notes(blocks):
    say_once(note)
    state.append(Text(note))
  facts = report.provenance(blocks)
  return Page(
      table.title,
      f'{spec}: {len(runs)} runs, {finished} finished',
      [],
      [
          Section('State', state),
          Section('Table', tables),
          Section('Pictures', pictures),
          Section('Runs', [_runs(table, blocks, by_name, workdir, output)]),
          Section('How it was made', [Code(command), Code('\n'.join(facts))]),
      ],
  )


def make_without_table(workdir: str, output: str, why: str) -> Page:
  """Makes the page of a sweep of which no results table is there.

  Args:
    workdir: Folder of the sweep.
    output: Path of the page; links to the runs are relative to it.
    why: The reason.

  Raises:
    InputError: A file of a run is not JSON.
  """
  rows, hrefs = [], {}
  for i, name in enumerate(begun(None, workdir)):
    run = find_run(workdir, name)
    rows.append([histories.labelled(name, run.history), state(run)])
    hrefs[i, 1] = _link(run_folder(workdir, name), output)
  command = (
      f'{commands.command("report")} --workdir={shlex.quote(workdir)}'
      ' --sweep=FILE'
  )
  finished = sum(row[1] == 'finished' for row in rows)
  grid = Grid('', ['name', 'run'], rows, 2, [])
  return Page(
      f'Sweep {os.path.basename(os.path.abspath(workdir))}',
      f'{len(rows)} runs, {finished} finished',
      [],
      [
          Section('State', [Missing(why, command)]),
          Section('Runs', [Table(grid, hrefs)]),
      ],
  )


def _link(folder: str, output: str) -> str:
  """Returns the link from a page to a run: to its page, else its folder."""
  page = os.path.join(folder, 'report.html')
  target = page if os.path.exists(page) else folder
  base = os.path.dirname(os.path.abspath(output))
  relative = os.path.relpath(os.path.abspath(target), base)
  return quote(relative.replace(os.sep, '/'))


def draw_gains(
    table: SweepTable, blocks: Sequence[Block], folder: str
) -> list[Picture]:
  """Draws the gains of each block that has some: gains.png, gains-2.png."""
  return [
      Picture(path, _GAINS, True) for path in forests(table, blocks, folder)
  ]


def _caption(path: str) -> str:
  stem = os.path.basename(path).removesuffix('.png')
  for name, text in _CAPTIONS.items():
    if stem.startswith(name):
      return text
  return stem


def _runs(
    table: SweepTable,
    blocks: Sequence[Block],
    runs: Mapping[str, SavedRun],
    workdir: str,
    output: str,
) -> Table:
  """Lists each run with its state, its numbers and a link to it."""
  columns = list(dict.fromkeys(c for block in blocks for c in block.columns))
  keys = [*table.blocks, *table.rows]
  last = len(keys) - 1  # Ends the name of the row.
  if table.choice:
    keys.append(table.choice.key)
  keys.append(table.seed)
  rows, hrefs, exact = [], {}, {}
  for i, point in enumerate(table.points):
    name = run_name(point)
    run = runs[name]
    text = state(run)
    text = f'failed: {run.failure}' if text == 'failed' else text
    named = ['–' if point.get(k) is None else str(point[k]) for k in keys]
    named[last] = histories.labelled(named[last], run.history)
    values = [run.value(c.metric) for c in columns]
    rows.append([*named, text, *map(sections.number, values)])
    folder = run_folder(workdir, name)
    if os.path.isdir(folder):
      hrefs[i, len(keys)] = _link(folder, output)
    exact |= {
        (i, len(keys) + 1 + j): repr(value)
        for j, value in enumerate(values)
        if value == value  # Not nan.
    }
  headers = [*map(short, keys), 'run', *(c.header for c in columns)]
  notes = [
      'The word in the column run leads to the run: its page where there is one'
      ' (--runs writes them all), else its folder.'
  ]
  return Table(Grid('', headers, rows, len(keys) + 1, notes), hrefs, exact)
