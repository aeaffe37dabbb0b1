"""Rows and positives of the splits of a data set."""

from collections.abc import Mapping
from typing import NamedTuple

from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.tasks import Tasks
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
  parents = {t.name: t.label for t in tasks}
  labels = list(dict.fromkeys(t.label for t in tasks))
  counts = {t.name: np.zeros(2, np.int64) for t in tasks}
  for start in range(0, len(source), _PIECE):
    columns = source.read(start, start + _PIECE, labels)
    for task in tasks:
      label = columns[task.label]
      possible = (
          columns[parents[task.parent]] == 1
          if task.parent
          else np.ones(len(label), bool)
      )
      is_there = possible
      if task.kind == 'binary':
        is_there = possible & (label == 1)
      counts[task.name] += is_there.sum(), possible.sum()
  return Rates(
      len(source), {name: Rate(*map(int, n)) for name, n in counts.items()}
  )


def table(rates: Mapping[str, Rates], tasks: Tasks) -> list[str]:
  """Returns lines for people: a column for each split, a row for each event.

  The share of an event is of the rows where it can happen, so a conversion's
  is the conversion rate of clicks.

  Args:
    rates: Split -> its rates.
    tasks: Those to show; a regression has no rate.
  """
  labels = {t.name: t.label for t in tasks}
  rows = [['', *rates], ['rows', *(f'{r.rows:,}' for r in rates.values())]]
  for task in tasks:
    if task.kind == 'binary':
      of = f' of {labels[task.parent]}' if task.parent else ''
      cells = [str(r.tasks[task.name]) for r in rates.values()]
      rows.append([task.label + of, *cells])
  return aligned(rows)


def aligned(rows: list[list[str]]) -> list[str]:
  """Returns rows of cells as lines, the first column to the left."""
  widths = [max(map(len, column)) for column in zip(*rows)]
  return [
      '  '.join(
          cell.ljust(w) if not k else cell.rjust(w)
          for k, (cell, w) in enumerate(zip(row, widths))
      ).rstrip()
      for row in rows
  ]
