"""The rows of a results table, and the runs of one row that a person names."""

from collections.abc import Mapping, Sequence
import os
from typing import Any, NamedTuple

from esmm_jax.sweeps import comparable, names as names_of_runs, table_json
from esmm_jax.sweeps.choice import choose, Chosen
from esmm_jax.sweeps.points import Point, run_name
from esmm_jax.sweeps.saved_runs import run_folder, SavedRun
from esmm_jax.sweeps.table import Table
from esmm_jax.types import InputError

_LISTED = 10  # Rows and runs that a message names.


class Pick(NamedTuple):
  """The selected points and runs of a row.

  Attributes:
    values: Values of the table's row keys.
    points: The selected ones.
    runs: Seed -> run, of the selected points.
    candidates: Value -> seed -> run, of all that were chosen from.
    chosen: The choice; None in a table without one.
  """

  values: tuple[Any, ...]
  points: list[Point]
  runs: dict[Any, SavedRun]
  candidates: dict[Any, dict[Any, SavedRun]]
  chosen: Chosen | None


def select(
    table: Table,
    values: tuple,
    points: list[Point],
    runs: Mapping[str, SavedRun],
) -> Pick:
  """Selects the points of a row: those of the chosen value, or all.

  Args:
    table: The results table.
    values: Values of its row keys.
    points: Those of the row.
    runs: Name -> run, of all points.

  Raises:
    InputError: The runs do not belong together.
  """
  by_value: dict[Any, list[Point]] = {}
  for point in points:
    by_value.setdefault(table.candidate(point), []).append(point)
  candidates = {
      value: {p[table.seed]: runs[run_name(p)] for p in candidate}
      for value, candidate in by_value.items()
  }
  for value, candidate in by_value.items():
    comparable.check_alike(table.seed, candidate, candidates[value])
  if table.choice is None:
    return Pick(values, points, candidates[None], candidates, None)
  metric, mode = table.choice.metric, table.choice.mode
  chosen = choose(
      {
          value: {seed: run.known(metric) for seed, run in by_seed.items()}
          for value, by_seed in candidates.items()
      },
      mode,
  )
  if chosen.taken:
    selected, by_seed = by_value[chosen.value], candidates[chosen.value]
  else:  # The row still shows its seeds, as missing runs.
    selected = list({p[table.seed]: p for p in points}.values())
    by_seed = {p[table.seed]: SavedRun('', None, None) for p in selected}
  return Pick(values, selected, by_seed, candidates, chosen)


def by_row(table: Table) -> dict[tuple, dict[tuple, list[Point]]]:
  """Returns values of the block keys -> of the row keys -> points."""
  blocks: dict[tuple, dict[tuple, list[Point]]] = {}
  for point in table.points:
    rows = blocks.setdefault(tuple(point[k] for k in table.blocks), {})
    rows.setdefault(tuple(point[k] for k in table.rows), []).append(point)
  return blocks


def is_sweep(folder: str) -> bool:
  """Returns whether a folder is that of a sweep, by its sweep.json."""
  return os.path.lexists(os.path.join(folder, table_json.NAME))


def folders_of_row(workdir: str, text: str, names: Sequence[str]) -> list[str]:
  """Returns the folders of the runs of a row, in the order of the points.

  Args:
    workdir: Folder of the sweep.
    text: The row, as a person wrote it: its values as the table shows them,
      with commas between, those of the block before them where several blocks
      have such a row. '': the only one.
    names: The values in it, without quotes.

  Raises:
    InputError: There is no such row or there are several, or a run of it is not
      finished or damaged.
  """
  with names_of_runs.as_in(workdir):
    return _folders_of_row(workdir, text, names)


def _folders_of_row(
    workdir: str, text: str, names: Sequence[str]
) -> list[str]:
  table, _ = table_json.read(workdir)
  values, points = _row(table, workdir, text, names)
  runs, _ = comparable.read_runs(points, workdir)
  for run in runs.values():
    if run.problem:
      raise InputError(run.problem)
  row = f'the row {", ".join(_texts(values))} of {workdir}'
  if missing := [run.name for run in runs.values() if run.results is None]:
    raise InputError(
        f'{len(missing)} of the {len(runs)} runs of {row} are not finished:'
        f' {_listed(missing, ", ")}. Finish the sweep, or name the runs to'
        ' average with commas between.'
    )
  selected = select(table, values, points, runs)
  if selected.chosen and not selected.chosen.taken:
    raise InputError(
        f'no value of {table.choice.key} could be chosen for {row}. Name the'
        ' runs to average with commas between.'
    )
  return [run_folder(workdir, run.name) for run in selected.runs.values()]


def _row(
    table: Table, workdir: str, text: str, names: Sequence[str]
) -> tuple[tuple, list[Point]]:
  """Returns values and points of the row that a person names."""
  rows = {
      (*block, *values): (values, points)
      for block, by_values in by_row(table).items()
      for values, points in by_values.items()
  }
  matching = [
      values for values in rows if not text or _is_named(values, text, names)
  ]
  if not matching:  # Without the values of its block.
    num = len(table.blocks)
    matching = [v for v in rows if _is_named(v[num:], text, names)]
  if len(matching) == 1:
    return rows[matching[0]]
  listed = _listed([', '.join(_texts(values)) for values in rows], '; ')
  if not text:
    raise InputError(
        f'--workdir={workdir} is the folder of a sweep with {len(rows)} rows;'
        f' name one by --row: {listed}.'
    )
  num = len(matching) or 'none'
  raise InputError(
      f'--row={text} names {num} of the rows of {workdir}, which are: {listed}.'
  )


def _is_named(values: tuple, text: str, names: Sequence[str]) -> bool:
  """Returns whether a row has the values that a person names."""
  texts = _texts(values)
  named = [_texts([None])[0] if name == 'None' else name for name in names]
  return named == texts or text.strip() == ', '.join(texts)


def _texts(values: Sequence[Any]) -> list[str]:
  """Returns values as the table shows them."""
  return ['–' if value is None else str(value) for value in values]


def _listed(names: Sequence[str], separator: str) -> str:
  """Joins the first names, and says how many more there are."""
  more = len(names) - _LISTED
  rest = [f'and {more} more'] if more > 0 else []
  return separator.join([*names[:_LISTED], *rest])
