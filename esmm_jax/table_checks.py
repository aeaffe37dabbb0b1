"""What a table must be, told before anything has run."""

from collections.abc import Iterable
from typing import Any

from esmm_jax.sweep import Choice, FIGURES, Front, Table, TEST_NOISE
from esmm_jax.types import InputError


def check(table: Table) -> None:
  """Refuses a table that cannot be made of its points.

  Raises:
    InputError: It says what is wrong.
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
  metrics = [c.metric for c in table.columns]
  for metric in table.gain_columns:
    if metric not in metrics:
      raise InputError(
          f'Table {table.title!r}: {metric!r} in gain_columns is no column;'
          f' the columns are {", ".join(metrics)}.'
      )
  _check_among(table, 'test_noise', table.test_noise, TEST_NOISE)
  _check_among(table, 'test_noise', table.test_noise, table.gain_columns)
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
    table: Table, name: str, given: Iterable[str], known: Iterable[str]
) -> None:
  for item in given:
    if item not in known:
      raise InputError(
          f'Table {table.title!r}: {item!r} in {name} is not one of'
          f' {", ".join(known) or "any, there are no gain_columns"}.'
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
  if choice.mode not in ('max', 'min'):
    raise InputError(f"{where}.mode={choice.mode!r} is not 'max' or 'min'.")
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
