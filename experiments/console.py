"""Tables of results, lines and warnings, as the programs print them."""

from collections.abc import Mapping, Sequence
import shutil
from typing import Any

from esmm_jax import histories, streams
from esmm_jax.printable import printable

# Metrics of a split in the order of the columns; the second line of a
# regression, the last where the truth is known.
SHOWN = (
    *('auc', 'gauc', 'logloss', 'calibration'),
    *('mse', 'mae', 'r2', 'rank_correlation'),
    *('kl', 'ratio', 'ratio_clicked', 'ratio_unclicked'),
)
# Where a run is evaluated, those of its first ranks too.
WITH_RANKS = (
    *SHOWN[:4],
    *('auc_pr', 'recall_at_1pct', 'recall_at_10pct', 'ks'),
    *SHOWN[4:],
)
# Columns of a table at least.
_LEAST = 40
# Columns of a run's name in a line of a table. A longer name of the only run
# stands behind the table alone.
_NAME = 32


def say(text: str) -> None:
  """Prints lines, which may hold names of files, columns and runs."""
  streams.say(text)


def warn(text: str) -> None:
  """Prints a line on stderr that begins with `warning: `."""
  streams.warn(text)


def _table(
    runs: Mapping[str, Mapping[str, Any]],
    spaces: Sequence[str],
    metrics: Sequence[str],
) -> Any:
  """Returns the table of some metrics: a row for each space and run."""
  from esmm_jax.reporting.grid import digits
  from rich.box import SIMPLE_HEAD
  from rich.table import Table
  from rich.text import Text

  table = Table(box=SIMPLE_HEAD, padding=(0, 1))
  table.add_column('task', no_wrap=True)
  has_names = len(runs) > 1 or max(map(len, runs), default=0) <= _NAME
  if has_names:  # A long one goes on in the line below.
    table.add_column('run', overflow='fold', max_width=_NAME)
  for name in metrics:
    table.add_column(name.replace('_', ' '), justify='right', no_wrap=True)
  for space in spaces:
    for run, r in runs.items():
      values = [r.get(f'test/{space}/{name}') for name in metrics]
      if any(value is not None for value in values):
        texts = ['' if v is None else digits(v) for v in values]
        # As `Text`, for brackets in a text would be markup.
        names = [space, run] if has_names else [space]
        names = [Text(printable(name)) for name in names]
        table.add_row(*names, *texts)
  return table


def print_results(
    runs: Mapping[str, Mapping[str, Any]],
    title: str = 'test split',
    metrics: Sequence[str] = SHOWN,
) -> None:
  """Prints the metrics `test/...`: a row for each space and run.

  Metrics that do not fit into the terminal's columns are in a second table.

  The title says what their histories know (`histories`), or the name of each
  run where they know different things.
  """
  from rich.console import Console
  from rich.text import Text

  known = {name: r.get(histories.KEY, '') for name, r in runs.items()}
  shared = known.popitem()[1] if len(set(known.values())) == 1 else ''
  if not shared:
    runs = {
        histories.labelled(name, r.get(histories.KEY, '')): r
        for name, r in runs.items()
    }
  keys = {  # (space, metric), in the order of the results.
      tuple(key.split('/')[1:]): None
      for r in runs.values()
      for key in r
      if key.startswith('test/') and key.split('/')[-1] in metrics
  }
  shown = [m for m in metrics if any(name == m for _, name in keys)]
  spaces = list(dict.fromkeys(space for space, _ in keys))
  head = histories.labelled(title, shared) if shared else title
  columns = max(shutil.get_terminal_size().columns, _LEAST)
  wide = Console(width=10_000, highlight=False)
  while shown or head:
    for num in range(len(shown), -1, -1):  # The most that fit.
      table = _table(runs, spaces, shown[:num])
      width = wide.measure(table).maximum
      if width <= columns or num <= 1:
        break
    # A number is never cut: one column and the names may be wider.
    console = Console(width=max(columns, width), highlight=False)
    if head:  # In a line of its own, which may be wider than the table.
      console.print(Text(printable(head), 'italic'), soft_wrap=True)
    console.print(table)
    head, shown = '', shown[max(num, 1):]
  for run, r in runs.items():
    if r.get('steps'):
      rate = r['examples_per_second'] or float('nan')
      console.print(
          f'{printable(run)}: {r["steps"]:,} steps, parameters of step'
          f' {r["selected_step"]:,}, {r["num_params"]:,} parameters,'
          f' {rate:,.0f} examples/s',
          markup=False,
      )
