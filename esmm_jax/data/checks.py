"""Refuses columns that a model would read as something else."""

from esmm_jax.schema import Field, Schema
from esmm_jax.types import Columns, InputError, Ragged
import numpy as np


def check_columns(
    schema: Schema, columns: Columns, where: str, first_row: int
) -> None:
  """Refuses ids without a row, numbers not finite, labels of another kind.

  Without it an id past the table is NaN in one kind of lookup and a row of
  another field in the next. The label of a binary task must be 0 or 1, that of
  a regression any finite number.

  Args:
    schema: Says what each column holds.
    columns: Columns of a range of rows; those the schema lacks are not looked
      at.
    where: What to call the place in the message.
    first_row: Number of the first row, for the message.

  Raises:
    InputError: Names the place, the row and the field.
  """

  def refuse(bad, values, text, lists: Ragged | None = None):
    """Raises if any entry is bad; `text` gets the first bad value."""
    if not bad.any():
      return
    entry = row = int(np.flatnonzero(bad)[0])
    if lists is not None:
      row = int(np.searchsorted(lists.offsets, entry, side='right')) - 1
    raise InputError(f'{where}, row {first_row + row}: {text(values[entry])}')

  def refuse_ids(ids: np.ndarray, field: Field, lists: Ragged | None = None):
    if len(ids) and (ids.min() < 0 or ids.max() >= field.vocab_size):
      text = lambda value: (
          f'field {field.name!r} has id {value}, but its vocabulary has the ids'
          f' 0 to {field.vocab_size - 1}. Prepare the data again, or map unseen'
          ' values to id 1.'
      )
      refuse((ids < 0) | (ids >= field.vocab_size), ids, text, lists)

  for field in schema.id_fields:
    refuse_ids(columns[field.name], field)
  for field in schema.list_fields:
    lists = columns[field.name]
    _check_shape(lists, field, where)
    refuse_ids(lists.values, field, lists)
    if lists.weights is not None:
      text = lambda value, name=field.name: (
          f'field {name!r} has a weight that is not finite, {value}.'
      )
      refuse(~np.isfinite(lists.weights), lists.weights, text, lists)
  for field in schema.float_fields:
    values = columns[field.name]
    text = lambda value, name=field.name: (
        f'field {name!r} is {value}; floats must be finite. Fill missing values'
        ' when the data is prepared.'
    )
    refuse(~np.isfinite(values), values, text)
  for task in schema.tasks:
    name, label = task.label, columns[task.label]
    if task.kind == 'regression':
      text = lambda value, name=name: (
          f'label {name!r} is {value}; it must be finite. Give it a number, or'
          ' drop the row, when the data is prepared.'
      )
      refuse(~np.isfinite(label), label, text)
      continue
    text = lambda value, name=name: (
        f'label {name!r} is {value}; it must be 0 or 1.'
    )
    refuse((label != 0) & (label != 1), label, text)


def _check_shape(lists: Ragged, field: Field, where: str) -> None:
  """Refuses lists whose parts do not fit each other."""
  end = int(lists.offsets[-1])
  weights = lists.values if lists.weights is None else lists.weights
  if len(lists.values) != end or len(weights) != end:
    raise InputError(
        f'{where}: field {field.name!r} has {len(lists.values)} values and'
        f' {len(weights)} weights, but its offsets end at {end}. The prepared'
        ' data is damaged; delete its folder and prepare it again.'
    )
  if (np.diff(lists.offsets) < 0).any():
    raise InputError(f'{where}: field {field.name!r} has falling offsets.')
