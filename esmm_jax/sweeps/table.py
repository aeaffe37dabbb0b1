"""Describes results tables of sweeps and validates them before a run starts."""

from collections.abc import Iterable, Mapping
import dataclasses
from typing import Any

from esmm_jax.metric_names import direction
from esmm_jax.sweeps.points import Sweep
from esmm_jax.sweeps.table_parts import BETTER, Choice, Column, Front, Paper
from esmm_jax.types import InputError

# Metrics whose standard error over test rows is known:
# `esmm_jax.sweeps.row_noise`.
TEST_NOISE = tuple(
    f'test/{space}/auc'
    for space in ('ctr', 'cvr_clicked', 'ctcvr', 'ctcvr_common')
)
# Pictures that a table can have: `esmm_jax.reporting.figures`.
FIGURES = ('fronts', 'training_size', 'cvr_by_ctr_decile', 'gains')


@dataclasses.dataclass(frozen=True)
class Table:
  """A results table: its runs, rows, columns and gains.

  Attributes:
    title: Heading of the table.
    points: The runs. One row holds the points that agree in `rows` and
      `blocks`; they differ in `seed`, and in the key of `choice`.
    columns: Shown as mean and standard deviation over seeds. A column that no
      run of a block has is left out there.
    rows: Keys of the points that name a row.
    blocks: Keys of the points; each combination of their values is a table of
      its own.
    seed: Key that numbers the repetitions of a row.
    baseline: Keys and values of the row that gains are measured against. A key
      of `rows` or `blocks` that is not named is as in the row itself, so that
      {'@model': 'single_task'} is the single task in the same block. None: no
      gains.
    gain_columns: Metrics, each one of `columns`, that get a gain: the
      difference to the baseline's run of the same seed.
    extra_columns: Facts shown as their mean alone.
    paper: Published numbers; None without any.
    note: Explanation for readers, printed under the title.
    choice: The choice that each row makes on the validation split, if any.
    test_noise: Those of `gain_columns` whose gain gets a standard error of the
      test rows too; each one of `TEST_NOISE`.
    verdict: Two of `gain_columns`, such as CTR and CVR AUC: tells whether one
      task gains while the other one loses.
    front: The curves that the rows form, if any.
    figures: Each one of `FIGURES`.
    overview: Those of `gain_columns` that get a grid of their gains in all
      blocks: a line for each row, a column for each block.
  """

  title: str
  points: Sweep
  columns: tuple[Column, ...]
  rows: tuple[str, ...]
  blocks: tuple[str, ...] = ()
  seed: str = 'seed'
  baseline: Mapping[str, Any] | None = None
  gain_columns: tuple[str, ...] = ()
  extra_columns: tuple[Column, ...] = ()
  paper: Paper | None = None
  note: str = ''
  choice: Choice | None = None
  test_noise: tuple[str, ...] = ()
  verdict: tuple[str, str] | None = None
  front: Front | None = None
  figures: tuple[str, ...] = ()
  overview: tuple[str, ...] = ()

  def __post_init__(self):
    _check(self)

  def cell(self, point: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Returns the point's block, row and seed as (key, value) pairs."""
    return tuple(
        (k, point[k]) for k in (*self.blocks, *self.rows, self.seed)
    )

  def candidate(self, point: Mapping[str, Any]) -> Any:
    """Returns the point's candidate value; None without a choice."""
    return point.get(self.choice.key) if self.choice else None

  def baseline_cell(
      self, point: Mapping[str, Any]
  ) -> tuple[tuple[str, Any], ...]:
    """Returns the cell of the point that `point` is compared with."""
    return self.cell({**point, **(self.baseline or {})})


def _check(table: Table) -> None:
  """Refuses a table that cannot be made of its points.

  Raises:
    InputError: The first mistake; names the table and its field.
  """
  if not table.points:
    raise InputError(f'Table {table.title!r} has no points.')
  for point in table.points:
    for key in ('config', table.seed, *table.rows, *table.blocks):
      if key not in point:
        raise InputError(
            f'Table {table.title!r}: the point {point} has no {key!r}.'
        )
  if table.choice is not None:
    _check_choice(table, table.choice)
  _check_cells(table)
  _check_columns(table)
  if table.baseline is not None:
    _check_baseline(table)
  if table.front is not None:
    _check_front(table, table.front)
  _check_among(table, 'figures', table.figures, FIGURES)


def _check_cells(table: Table) -> None:
  seen = set()
  for point in table.points:
    cell = table.cell(point)
    if table.choice is not None:
      cell = (*cell, (table.choice.key, table.candidate(point)))
    if cell in seen:
      raise InputError(
          f'Table {table.title!r}: two points are {dict(cell)}. Add what they'
          ' differ in to rows or blocks.'
      )
    seen.add(cell)


def _check_columns(table: Table) -> None:
  for column in (*table.columns, *table.extra_columns):
    if column.better not in ('higher', 'lower', None):
      raise InputError(
          f'Table {table.title!r}: better={column.better!r} of'
          f" {column.header!r} is not 'higher', 'lower' or None."
      )
    named = BETTER[direction(column.metric)]
    if named and column.better not in (named, None):
      raise InputError(
          f'Table {table.title!r}: better={column.better!r} of'
          f' {column.header!r}, but {column.metric} is better when it is'
          f' {named}. Leave `better` out.'
      )
  metrics = [c.metric for c in table.columns]
  for metric in table.gain_columns:
    if metric not in metrics:
      raise InputError(
          f'Table {table.title!r}: {metric!r} in gain_columns is no column;'
          f' the columns are {", ".join(metrics)}.'
      )
  _check_among(table, 'test_noise', table.test_noise, TEST_NOISE)
  _check_among(table, 'test_noise', table.test_noise, table.gain_columns)
  _check_among(table, 'overview', table.overview, table.gain_columns)
  if table.verdict is not None:
    _check_among(table, 'verdict', table.verdict, table.gain_columns)
    better = {c.metric: c.better for c in table.columns}
    if len(set(table.verdict)) != 2 or any(
        better[metric] != 'higher' for metric in table.verdict
    ):
      raise InputError(
          f'Table {table.title!r}: verdict={table.verdict}; name two metrics'
          " whose columns are better='higher'."
      )


def _check_among(
    table: Table, name: str, items: Iterable[str], choices: Iterable[str]
) -> None:
  for item in items:
    if item not in choices:
      raise InputError(
          f'Table {table.title!r}: {item!r} in {name} is not one of'
          f' {", ".join(choices) or "any, there are no gain_columns"}.'
      )


def _check_baseline(table: Table) -> None:
  baseline = dict(table.baseline or {})
  if extra := sorted(set(baseline) - {*table.rows, *table.blocks}):
    raise InputError(
        f'Table {table.title!r}: baseline has {extra}, which are neither in'
        ' rows nor in blocks.'
    )
  cells = {table.cell(p) for p in table.points}
  if not any(table.baseline_cell(p) in cells for p in table.points):
    raise InputError(
        f'Table {table.title!r}: no point is the baseline {baseline}.'
    )


def _check_choice(table: Table, choice: Choice) -> None:
  where = f'Table {table.title!r}: choice'
  if not choice.metric.startswith('valid/'):
    raise InputError(
        f"{where}.metric={choice.metric!r} does not begin with 'valid/'; the"
        ' test split never chooses.'
    )
  named = direction(choice.metric)
  modes = (named,) if named else ('max', 'min')
  if choice.mode not in modes:
    raise InputError(
        f'{where}.mode={choice.mode!r} is not {" or ".join(map(repr, modes))},'
        f' the best end of {choice.metric!r}.'
    )
  if choice.key in (table.seed, *table.rows, *table.blocks):
    raise InputError(
        f'{where}.key={choice.key!r} is in rows, in blocks or the seed, so a'
        ' row has one value of it; take it out there.'
    )
  if not any(choice.key in point for point in table.points):
    raise InputError(f'{where}.key={choice.key!r} is in none of the points.')


def _check_front(table: Table, front: Front) -> None:
  where = f'Table {table.title!r}: front'
  if set(table.rows) != {front.series, front.along}:
    raise InputError(
        f'{where} is of the rows {front.series!r} and {front.along!r}, and the'
        f' rows are {table.rows}; make other keys blocks.'
    )
  metrics = [c.metric for c in table.columns]
  _check_among(table, 'front', (front.x, front.y), metrics)
  for metric in (front.x, front.y):
    if direction(metric) == 'min':
      raise InputError(
          f'{where} is of metrics of which more is better; {metric!r} is not.'
      )
  curves: dict[tuple, dict[Any, set]] = {}
  for point in table.points:
    block = curves.setdefault(tuple(point[k] for k in table.blocks), {})
    block.setdefault(point[front.series], set()).add(point[front.along])
  for block, series in curves.items():
    if series.pop(front.single, None) != {None}:
      raise InputError(
          f'{where}.single={front.single!r} must be one row of the block'
          f' {block}, with {front.along!r} None.'
      )
    lone = [
        name
        for name, values in series.items()
        if all(isinstance(v, str) for v in values)
    ]
    for name in lone:
      del series[name]
    if lone and len(series) != 1:
      raise InputError(
          f'{where}: {front.along!r} of {lone[0]!r} is a text, so its points'
          f' are compared with a curve; the block {block} has {len(series)}'
          ' curves, and must have one.'
      )
    for name, values in series.items():
      if not all(isinstance(v, (int, float)) for v in values):
        raise InputError(
            f'{where}: {front.along!r} of {name!r} is {values}; curves are'
            ' ordered by numbers.'
        )
      if values != next(iter(series.values())):
        raise InputError(
            f'{where}: {front.along!r} of {name!r} is {sorted(values)} and that'
            f' of {next(iter(series))!r} another set; give all curves the same.'
        )
