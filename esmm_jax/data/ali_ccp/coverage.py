"""Coverage of fields: rows that have a value, and rare values."""

import os
from typing import Any

from esmm_jax.schema import Field, MISSING, RARE, Schema
from esmm_jax.types import Columns, Ragged
import numpy as np

_COUNTED = ('rows', 'values', 'rare', 'longest')


class Coverage:
  """Counts encoded ids, each as often as rows of the split have it."""

  def __init__(self, schema: Schema):
    self._schema = schema
    self._counts = {f.name: dict.fromkeys(_COUNTED, 0) for f in schema.inputs}

  def add_rows(self, columns: Columns) -> None:
    """Adds rows."""
    for f in self._schema.row_part.fields:
      self.add(f, columns[f.name], None)

  def merge(self, other: 'Coverage') -> None:
    """Adds what was counted of other rows or groups."""
    for name, counts in self._counts.items():
      more = other._counts[name]
      for key in _COUNTED:
        both = counts[key], more[key]
        counts[key] = max(both) if key == 'longest' else sum(both)

  def add(
      self, f: Field, column: np.ndarray | Ragged, rows: np.ndarray | None
  ) -> None:
    """Adds some ids.

    Args:
      f: Their field.
      column: The ids.
      rows: int64 [n], how often each entry counts; None: once.
    """
    counts = self._counts[f.name]
    if isinstance(column, Ragged):
      lengths = np.diff(column.offsets)
      weight = None if rows is None else np.repeat(rows, lengths)
      counts['rows'] += _total(lengths > 0, rows)
      counts['values'] += _total(lengths, rows)
      counts['rare'] += _total(column.values == RARE, weight)
      counts['longest'] = max(counts['longest'], int(lengths.max(initial=0)))
      return
    present = _total(column != MISSING, rows)
    counts['rows'] += present
    counts['values'] += present
    counts['rare'] += _total(column == RARE, rows)

  def to_dict(self, num_rows: int) -> dict[str, dict[str, Any]]:
    """Returns the shares for the report.

    Args:
      num_rows: Rows of the split.

    Returns:
      Field -> `rows_with_value`, the share of the rows that have one, and
      `rare`, the share of the values that are rare or unseen; of lists
      `mean_length`, over all rows, and `longest`.
    """
    shares = {}
    for f in self._schema.inputs:
      c = self._counts[f.name]
      shares[f.name] = {
          'rows_with_value': c['rows'] / max(num_rows, 1),
          'rare': c['rare'] / max(c['values'], 1),
      }
      if f.kind == 'ids':
        shares[f.name]['mean_length'] = c['values'] / max(num_rows, 1)
        shares[f.name]['longest'] = c['longest']
    return shares


def ids_path(field: Field, folder: str) -> str:
  """Returns the file of a field's ids in the folder of a group table."""
  part = '.values' if field.kind == 'ids' else ''
  return os.path.join(folder, f'{field.name}{part}.npy')


def _total(values: np.ndarray, rows: np.ndarray | None) -> int:
  """Returns the sum of values [n], value i `rows[i]` times."""
  return int(values.sum() if rows is None else np.dot(rows, values))
