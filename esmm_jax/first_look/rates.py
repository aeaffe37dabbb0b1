"""Rows and positives of the splits of a data set."""

from collections.abc import Mapping
from typing import NamedTuple

from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.tasks import Tasks
from esmm_jax.types import Array
import numpy as np

_PIECE = 1 << 20


class Rate(NamedTuple):
  """Frequency of an event where it can happen.

  Attributes:
    positives: Rows whose label is 1; of a regression: those that have a value.
    rows: Rows where it can be 1: all, or those with the parent's event.
  """

  positives: int
  rows: int

  def __str__(self) -> str:
    """Returns `1,234 (5.02%)`, or `0` without rows."""
    if not self.rows:
      return '0'
    share = self.positives / self.rows
    return f'{self.positives:,} ({share:.{2 if share >= 0.0095 else 4}%})'


class Rates(NamedTuple):
  """Of a split.

  Attributes:
    rows: Of the split.
    tasks: Task -> its rate.
  """

  rows: int
  tasks: dict[str, Rate]


def of_split(builder: ColumnarBuilder, split: str, tasks: Tasks) -> Rates:
  """Counts the labels of a split.

  Args:
    builder: The prepared data set.
    split: `train[:10%]`, say.
    tasks: Those to count.
  """
  source = builder.as_data_source(split)
  labels = list(dict.fromkeys(t.label for t in tasks))
  total = Rates(0, {t.name: Rate(0, 0) for t in tasks})
  for start in range(0, len(source), _PIECE):
    columns = source.read(start, start + _PIECE, labels)
    total = _sum(total, of_labels(columns, tasks))
  return total


def of_labels(labels: Mapping[str, Array], tasks: Tasks) -> Rates:
  """Counts labels that are in memory.

  Args:
    labels: Label -> [n].
    tasks: Those to count.
  """
  parents = {t.name: t.label for t in tasks}
  columns = {t.label: np.asarray(labels[t.label]) for t in tasks}
  rates = {}
  for task in tasks:
    label = columns[task.label]
    possible = np.ones(len(label), bool)
    if task.parent:
      possible = columns[parents[task.parent]] == 1
    is_there = possible & (label == 1) if task.kind == 'binary' else possible
    rates[task.name] = Rate(int(is_there.sum()), int(possible.sum()))
  return Rates(max(map(len, columns.values()), default=0), rates)


def _sum(a: Rates, b: Rates) -> Rates:
  tasks = {
      name: Rate(*(x + y for x, y in zip(rate, b.tasks[name])))
      for name, rate in a.tasks.items()
  }
  return Rates(a.rows + b.rows, tasks)


def table(
    rates: Mapping[str, Rates], tasks: Tasks, width: int | None = None
) -> list[str]:
  """Returns lines for people: a column for each split, a row for each event.

  The share of an event is of the rows where it can happen, so a conversion's
  is the conversion rate of clicks.

  Args:
    rates: Split -> its rates.
    tasks: Those to show; a regression has no rate.
    width: See `aligned`.
  """
  labels = {t.name: t.label for t in tasks}
  rows = [['', *rates], ['rows', *(f'{r.rows:,}' for r in rates.values())]]
  for task in tasks:
    if task.kind == 'binary':
      of = f' of {labels[task.parent]}' if task.parent else ''
      cells = [str(r.tasks[task.name]) for r in rates.values()]
      rows.append([task.label + of, *cells])
  return aligned(rows, width)


def aligned(rows: list[list[str]], width: int | None = None) -> list[str]:
  """Returns rows of cells as lines, the first column to the left.

  Args:
    rows: Of as many cells each.
    width: Characters of a line; where they are too few for a row, the first
      cell of each row has a line of its own. None: as many as there are.
  """
  widths = [max(map(len, column)) for column in zip(*rows)]
  if width is not None and sum(widths) + 2 * len(widths) - 2 > width:
    blank = [['', *cells] for _, *cells in rows]
    lines = []
    for (first, *_), values in zip(rows, aligned(blank)):
      lines += [first] if first else []
      lines.append(values)
    return lines
  return [
      '  '.join(
          cell.ljust(w) if not k else cell.rjust(w)
          for k, (cell, w) in enumerate(zip(row, widths))
      ).rstrip()
      for row in rows
  ]
