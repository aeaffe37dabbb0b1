"""Many runs -> rows: mean and spread over seeds, and gains over a baseline.

A run's folder is WORKDIR/runs/NAME with what training writes and `origin.json`,
which the sweep adds: command, commit, device and data. `tabulate` reads the
runs of a `Table`; `esmm_jax.reporting.text` makes text of what it returns.

A run that is not finished is missing. A mean is over the runs that are there,
and its row says how many of how many. Where a table has a choice, a row holds
the runs of the value that the validation split chose
(`esmm_jax.sweeps.choice`).
"""

from collections.abc import Mapping
import math
import os
from typing import Any, NamedTuple

from esmm_jax.json_files import read_json
from esmm_jax.metrics import significance
from esmm_jax.metrics.significance import Paired, Summary
from esmm_jax.sweeps.choice import choose, Chosen
from esmm_jax.sweeps.points import Point, run_name
from esmm_jax.sweeps.row_noise import auc_difference
from esmm_jax.sweeps.table import Column, Table
from esmm_jax.types import InputError
from esmm_jax.workdir.folder import decisive, differences

NAN = float('nan')


class Run(NamedTuple):
  """What a run's folder holds.

  Attributes:
    name: The folder's.
    results: results.json, or None if the run is not finished.
    config: config.json, or None if it has not begun.
    origin: The entries of origin.json, one for each start under other
      circumstances; empty where there is none.
    failure: What kind of error ended it, or ''.
  """

  name: str
  results: dict[str, Any] | None
  config: dict[str, Any] | None
  origin: tuple[dict[str, Any], ...] = ()
  failure: str = ''

  def value(self, metric: str) -> float:
    """A number of results.json; nan if it is not there or not a number."""
    value = (self.results or {}).get(metric)
    return NAN if value is None else float(value)


class Gain(NamedTuple):
  """A row's differences to the baseline at the same seeds.

  Attributes:
    paired: Over the seeds that both have.
    p_holm: The t test's p-value, adjusted over the rows of the block.
    minimum_detectable_difference: Difference found with 80 % power by this many
      seeds.
    p_wilcoxon_holm: The signed-rank test's, likewise; five seeds give .0625
      before the adjustment at best.
    test_error: Over the seeds, DeLong's standard errors of the difference on
      the test rows; of none where it was not asked for or not saved.
  """

  paired: Paired
  p_holm: float
  minimum_detectable_difference: float
  p_wilcoxon_holm: float = NAN
  test_error: Summary = Summary(NAN, NAN, 0)

  @property
  def seed_error(self) -> float:
    """Standard error of the mean over seeds."""
    return self.paired.std / math.sqrt(self.paired.n) if self.paired.n else NAN

  @property
  def combined(self) -> tuple[float, float]:
    """95 % interval of the mean with both errors, as if independent."""
    half = 1.96 * math.hypot(self.seed_error, self.test_error.mean)
    return self.paired.mean - half, self.paired.mean + half


class Row(NamedTuple):
  """One row of a block.

  Attributes:
    values: Of the table's row keys.
    runs: Seed -> run, finished or not.
    cells: Metric -> its mean and spread, of columns and extra columns.
    gains: Metric -> gain; empty for the baseline itself and without one.
    candidates: Value -> seed -> run, of all values that were chosen from; the
      row's own runs alone without a choice.
    chosen: The choice, None in a table without one.
  """

  values: tuple[Any, ...]
  runs: dict[Any, Run]
  cells: dict[str, Summary]
  gains: dict[str, Gain]
  candidates: dict[Any, dict[Any, Run]]
  chosen: Chosen | None = None

  @property
  def name(self) -> str:
    """The values as one text."""
    return ', '.join(map(str, self.values))

  @property
  def missing(self) -> int:
    """Runs that are not finished."""
    return sum(run.results is None for run in self.runs.values())


class Block(NamedTuple):
  """The rows that agree in the table's block keys.

  Attributes:
    values: Of those keys.
    rows: In the order of the points.
    columns: Those of the table that any finished run here has.
    extra_columns: Likewise.
  """

  values: tuple[Any, ...]
  rows: list[Row]
  columns: list[Column]
  extra_columns: list[Column]


def read_run(workdir: str) -> Run:
  """Reads a run's folder, which need not be there.

  Raises:
    InputError: A file in it is not JSON.
  """
  return Run(
      os.path.basename(os.path.normpath(workdir)),
      read_json(os.path.join(workdir, 'results.json')),
      read_json(os.path.join(workdir, 'config.json')),
      tuple(read_json(os.path.join(workdir, 'origin.json')) or ()),
  )


def run_folder(workdir: str, name: str) -> str:
  """Where a sweep's run lies."""
  return os.path.join(workdir, 'runs', name)


def failure_file(workdir: str, name: str) -> str:
  """Where a sweep says why a run failed."""
  return os.path.join(workdir, 'failed', f'{name}.json')


def find_run(workdir: str, name: str) -> Run:
  """A run of a sweep, with its failure if it is not finished."""
  run = read_run(run_folder(workdir, name))
  if run.results is not None:
    return run
  failed = read_json(failure_file(workdir, name)) or {}
  return run._replace(failure=failed.get('error', ''))


def state(run: Run) -> str:
  """Returns how far a run is: to do, begun, failed or finished."""
  if run.results is not None:
    return 'finished'
  if run.failure:
    return 'failed'
  return 'to do' if run.config is None else 'begun'


def tabulate(table: Table, workdir: str) -> list[Block]:
  """Reads the runs of a table.

  Args:
    table: What to show.
    workdir: Of the sweep.

  Raises:
    InputError: A file is not JSON, or the runs of a row do not belong together.
  """
  names = dict.fromkeys(map(run_name, table.points))
  runs = {name: find_run(workdir, name) for name in names}
  blocks: dict[tuple, dict[tuple, list[Point]]] = {}
  for point in table.points:
    rows = blocks.setdefault(tuple(point[k] for k in table.blocks), {})
    rows.setdefault(tuple(point[k] for k in table.rows), []).append(point)
  picked = {
      values: [_pick(table, *item, runs) for item in rows.items()]
      for values, rows in blocks.items()
  }
  by_cell = {}
  for picks in picked.values():
    for pick in picks:
      by_cell |= {table.cell(p): pick.runs[p[table.seed]] for p in pick.points}
  return [_block(table, *item, by_cell, workdir) for item in picked.items()]


class _Pick(NamedTuple):
  """What a row is made of: its values, the points and runs it keeps."""

  values: tuple[Any, ...]
  points: list[Point]
  runs: dict[Any, Run]
  candidates: dict[Any, dict[Any, Run]]
  chosen: Chosen | None


def _pick(
    table: Table,
    values: tuple,
    points: list[Point],
    runs: Mapping[str, Run],
) -> _Pick:
  """Keeps the points of the value that is chosen, all without a choice."""
  by_value: dict[Any, list[Point]] = {}
  for point in points:
    by_value.setdefault(table.candidate(point), []).append(point)
  candidates = {
      value: {p[table.seed]: runs[run_name(p)] for p in own}
      for value, own in by_value.items()
  }
  for value, own in by_value.items():
    _check_alike(table, own, candidates[value])
  if table.choice is None:
    return _Pick(values, points, candidates[None], candidates, None)
  metric, mode = table.choice.metric, table.choice.mode
  chosen = choose(
      {
          value: {seed: run.value(metric) for seed, run in own.items()}
          for value, own in candidates.items()
      },
      mode,
  )
  if chosen.taken:
    kept, kept_runs = by_value[chosen.value], candidates[chosen.value]
  else:  # Runs of which nothing is known.
    kept = list({p[table.seed]: p for p in points}.values())
    kept_runs = {p[table.seed]: Run('', None, None) for p in kept}
  return _Pick(values, kept, kept_runs, candidates, chosen)


def _block(
    table: Table,
    values: tuple,
    picks: list[_Pick],
    by_cell: Mapping[Any, Run],
    workdir: str,
) -> Block:
  made = [_row(table, pick, by_cell, workdir) for pick in picks]
  for metric in table.gain_columns:
    gaining = [row for row in made if metric in row.gains]
    pairs = [row.gains[metric].paired for row in gaining]
    adjusted = significance.holm(p.p_t for p in pairs)
    ranked = significance.holm(p.p_wilcoxon for p in pairs)
    for row, p, p_ranked in zip(gaining, adjusted, ranked):
      row.gains[metric] = row.gains[metric]._replace(
          p_holm=float(p), p_wilcoxon_holm=float(p_ranked)
      )
  finished = [
      run.results
      for row in made
      for run in row.runs.values()
      if run.results is not None
  ]
  known = set().union(*finished)
  there = lambda c: c.metric in known or not finished
  return Block(
      values,
      made,
      list(filter(there, table.columns)),
      list(filter(there, table.extra_columns)),
  )


def _row(
    table: Table, pick: _Pick, by_cell: Mapping[Any, Run], workdir: str
) -> Row:
  runs = pick.runs
  others = {}
  if table.baseline is not None:
    for p in pick.points:
      if (other := by_cell.get(table.baseline_cell(p))) is not None:
        others[p[table.seed]] = other
  gains = {}
  if any(other is not runs[seed] for seed, other in others.items()):
    for metric in table.gain_columns:
      paired = significance.paired(
          {seed: run.value(metric) for seed, run in runs.items()},
          {seed: run.value(metric) for seed, run in others.items()},
      )
      detectable = significance.minimum_detectable_difference(
          paired.std, paired.n
      )
      gains[metric] = Gain(paired, NAN, detectable)
      if metric in table.test_noise:
        error = _test_error(metric, runs, others, workdir)
        gains[metric] = gains[metric]._replace(test_error=error)
  cells = {
      c.metric: significance.summarize(r.value(c.metric) for r in runs.values())
      for c in (*table.columns, *table.extra_columns)
  }
  return Row(pick.values, runs, cells, gains, pick.candidates, pick.chosen)


def _test_error(
    metric: str,
    runs: Mapping[Any, Run],
    others: Mapping[Any, Run],
    workdir: str,
) -> Summary:
  """DeLong's standard errors at the seeds where both runs have the metric."""
  errors = []
  for seed, other in others.items():
    pair = (runs[seed], other)
    if not any(math.isnan(run.value(metric)) for run in pair):
      ours, theirs = (run_folder(workdir, run.name) for run in pair)
      errors.append(auc_difference(ours, theirs, metric).error)
  return significance.summarize(errors)


def _check_alike(
    table: Table, points: list[Point], runs: Mapping[Any, Run]
) -> None:
  """Refuses to average runs whose configs differ in more than the points do.

  They do when a config file was changed between two parts of a sweep.
  """
  absent = object()  # A point may lack a key that another one sets.
  free = {
      key
      for key in set().union(*points)
      if len({point.get(key, absent) for point in points}) > 1
  }
  free |= {table.seed, 'dataset.raw_dir'}
  first, known = '', {}
  for run in runs.values():
    if run.results is None or run.config is None:
      continue
    config = decisive(run.config)
    config = {k: v for k, v in config.items() if k not in free}
    if not first:
      first, known = run.name, config
    if differing := differences(config, known):
      raise InputError(
          f'The runs {run.name} and {first} are of one row, but'
          f' {differing[0]}. A config file was changed in between; delete the'
          ' folder of the older one and run the sweep again.'
      )
