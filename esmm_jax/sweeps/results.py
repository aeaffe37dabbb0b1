"""Tabulates runs: mean and spread over seeds, and gains over a baseline.

`tabulate` reads the runs of a `Table` (`esmm_jax.sweeps.saved_runs`);
`esmm_jax.reporting.text` makes text of what it returns.

A run that is not finished is missing. A mean is over the finished runs, and its
row says how many of how many. Where a table has a choice, a row holds the runs
of the value that the validation split chose (`esmm_jax.sweeps.choice`).
"""

from collections.abc import Container, Iterable, Mapping, Sequence
import math
from typing import Any, NamedTuple

from esmm_jax import histories
from esmm_jax.metric_names import BALANCING
from esmm_jax.metrics import significance
from esmm_jax.metrics.significance import Paired, Summary
from esmm_jax.sweeps import comparable
from esmm_jax.sweeps.choice import Chosen
from esmm_jax.sweeps.points import Point
from esmm_jax.sweeps.row_noise import auc_difference
from esmm_jax.sweeps.rows import by_row, Pick, select
from esmm_jax.sweeps.saved_runs import run_folder, SavedRun
from esmm_jax.sweeps.table import Column, Table


class Gain(NamedTuple):
  """A row's differences to the baseline at the same seeds.

  Attributes:
    paired: The differences at the seeds that both have.
    p_holm: p-value of the t test, adjusted over the rows of the block.
    minimum_detectable_difference: Difference found with 80 % power by this many
      seeds.
    p_wilcoxon_holm: p-value of the signed-rank test, adjusted likewise; five
      seeds give at best .0625 before the adjustment.
    test_error: DeLong's standard errors of the difference on the test rows,
      summarized over the seeds; n is 0 where the table does not ask for them or
      no predictions were saved.
  """

  paired: Paired
  p_holm: float
  minimum_detectable_difference: float
  p_wilcoxon_holm: float = math.nan
  test_error: Summary = Summary(math.nan, math.nan, 0)

  @property
  def seed_error(self) -> float:
    """Standard error of the mean difference over seeds."""
    n = self.paired.n
    return self.paired.std / math.sqrt(n) if n else math.nan

  @property
  def combined(self) -> tuple[float, float]:
    """95 % interval of the mean with both errors, as if independent."""
    half = 1.96 * math.hypot(self.seed_error, self.test_error.mean)
    return self.paired.mean - half, self.paired.mean + half


class Row(NamedTuple):
  """One row of a block.

  Attributes:
    values: Values of the table's row keys.
    runs: Seed -> run, finished or not.
    cells: Metric -> mean and spread, for columns and extra columns.
    gains: Metric -> gain; empty for the baseline itself and without one.
    candidates: Value -> seed -> run, for all values that were chosen from;
      without a choice {None: runs}.
    chosen: The choice; None in a table without one.
    notes: Why runs do not count, are no pair or should not be averaged.
    against: What the histories of the baseline's runs know.
  """

  values: tuple[Any, ...]
  runs: dict[Any, SavedRun]
  cells: dict[str, Summary]
  gains: dict[str, Gain]
  candidates: dict[Any, dict[Any, SavedRun]]
  chosen: Chosen | None = None
  notes: tuple[str, ...] = ()
  against: str = ''

  @property
  def name(self) -> str:
    """The values, joined by commas."""
    return ', '.join(map(str, self.values))

  @property
  def history(self) -> str:
    """The protocol of its runs' histories, see `histories`."""
    return _history(self.runs.values())

  @property
  def missing(self) -> int:
    """Number of runs that are not finished."""
    return sum(run.results is None for run in self.runs.values())

  def records(self, shown: Container[str]) -> list[str]:
    """Returns what its runs record of balancing, without what is shown."""
    runs = self.runs.values()
    keys = dict.fromkeys(key for run in runs for key in run.results or ())
    return [k for k in keys if k.startswith(BALANCING) and k not in shown]


class Block(NamedTuple):
  """The rows that agree in the table's block keys.

  Attributes:
    values: Values of the block keys.
    rows: Rows in the order of the points.
    columns: Columns of the table that any finished run of the block has.
    extra_columns: Extra columns, likewise.
    notes: Those of the whole results table, in its first block.
  """

  values: tuple[Any, ...]
  rows: list[Row]
  columns: list[Column]
  extra_columns: list[Column]
  notes: tuple[str, ...] = ()


def tabulate(
    table: Table, workdir: str, configs: Mapping[str, Any] | None = None
) -> list[Block]:
  """Reads the runs of a table.

  A damaged run is a missing one. Runs that are no pair, because they differ in
  data or in a key that their points do not set, get no gain and no test.

  Args:
    table: The results table.
    workdir: Folder of the sweep.
    configs: See `comparable.read_runs`.

  Returns:
    The blocks in the order of the points; one if the table has no block keys.

  Raises:
    InputError: The runs of a row do not belong together.
  """
  runs, notes = comparable.read_runs(table.points, workdir, configs)
  picked = {
      values: [select(table, *item, runs) for item in rows.items()]
      for values, rows in by_row(table).items()
  }
  by_cell = {}
  for picks in picked.values():
    for pick in picks:
      by_cell |= {
          table.cell(p): (p, pick.runs[p[table.seed]]) for p in pick.points
      }
  made = [_block(table, *item, by_cell, workdir) for item in picked.items()]
  return [made[0]._replace(notes=tuple(notes)), *made[1:]]


def notes(blocks: Sequence[Block]) -> list[str]:
  """Returns why runs of a results table do not count or are not compared."""
  texts = [text for block in blocks for text in block.notes]
  texts += [t for block in blocks for row in block.rows for t in row.notes]
  return list(dict.fromkeys(texts))


def _block(
    table: Table,
    values: tuple,
    picks: list[Pick],
    by_cell: Mapping[Any, tuple[Point, SavedRun]],
    workdir: str,
) -> Block:
  """Makes the rows of a block and adjusts their p-values together."""
  rows = [_row(table, pick, by_cell, workdir) for pick in picks]
  for metric in table.gain_columns:
    gaining = [row for row in rows if metric in row.gains]
    pairs = [row.gains[metric].paired for row in gaining]
    adjusted = significance.holm(p.p_t for p in pairs)
    ranked = significance.holm(p.p_wilcoxon for p in pairs)
    for row, p, p_ranked in zip(gaining, adjusted, ranked):
      row.gains[metric] = row.gains[metric]._replace(
          p_holm=float(p), p_wilcoxon_holm=float(p_ranked)
      )
  finished = [
      run.results
      for row in rows
      for run in row.runs.values()
      if run.results is not None
  ]
  metrics = set().union(*finished)
  is_shown = lambda c: c.metric in metrics or not finished
  return Block(
      values,
      rows,
      list(filter(is_shown, table.columns)),
      list(filter(is_shown, table.extra_columns)),
  )


def _row(
    table: Table,
    pick: Pick,
    by_cell: Mapping[Any, tuple[Point, SavedRun]],
    workdir: str,
) -> Row:
  """Summarizes the runs of a row and compares them with the baseline's."""
  runs, others, texts = pick.runs, {}, []
  if table.baseline is not None:
    for p in pick.points:
      if (there := by_cell.get(table.baseline_cell(p))) is not None:
        others[p[table.seed]] = there[1]
        texts.append(comparable.no_pair((p, runs[p[table.seed]]), there))
        if texts[-1]:
          others[p[table.seed]] = SavedRun('', None, None)
  texts.append(comparable.other_data(list(runs.values())))
  chosen_from = {k: _history(c.values()) for k, c in pick.candidates.items()}
  texts.append(
      histories.comparison(
          list(chosen_from.values()), list(map(str, chosen_from)), 'candidate'
      )
  )
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
      gains[metric] = Gain(paired, math.nan, detectable)
      if metric in table.test_noise:
        error = _test_error(metric, runs, others, workdir)
        gains[metric] = gains[metric]._replace(test_error=error)
  cells = {
      c.metric: significance.summarize(r.value(c.metric) for r in runs.values())
      for c in (*table.columns, *table.extra_columns)
  }
  return Row(
      pick.values,
      runs,
      cells,
      gains,
      pick.candidates,
      pick.chosen,
      tuple(filter(None, texts)),
      _history(others.values()),
  )


def _history(runs: Iterable[SavedRun]) -> str:
  """Returns what the histories of finished runs know."""
  return histories.joined(r.history for r in runs if r.results is not None)


def _test_error(
    metric: str,
    runs: Mapping[Any, SavedRun],
    others: Mapping[Any, SavedRun],
    workdir: str,
) -> Summary:
  """Summarizes DeLong's errors over the seeds where both have the metric."""
  errors = []
  for seed, other in others.items():
    pair = (runs[seed], other)
    if not any(math.isnan(run.value(metric)) for run in pair):
      folders = (run_folder(workdir, run.name) for run in pair)
      errors.append(auc_difference(*folders, metric).error)
  return significance.summarize(errors)
