"""Refuses columns that a model would read as something else."""

from esmm_jax.schema import Field, Schema
from esmm_jax.types import Columns, InputError, Ragged
import numpy as np


def check_columns(
    schema: Schema, columns: Columns, where: str, first_row: int
) -> None:
  """Refuses ids without a row, numbers that are not finite, labels not 0 or 1.

  Without it an id past the table is NaN in one kind of lookup and a row of
  another field in the next.

  Args:
    schema: Says what each column holds.
    columns: Columns of a range of rows; those the schema lacks are not looked
      at.
    where: What to call the place in the message.
    first_row: Number of the first row, for the message.

  Raises:
    InputError: Names the place, the row and the field.
  """

  def refuse(bad: np.ndarray, text: str, lists: Ragged | None = None):
    """Raises if any entry is bad."""
    if not bad.any():
      return
    row = int(np.flatnonzero(bad)[0])
    if lists is not None:
      row = int(np.searchsorted(lists.offsets, row, side='right')) - 1
    raise InputError(f'{where}, row {first_row + row}: {text}')

  for field in schema.id_fields:
    ids = columns[field.name]
    refuse(_outside(ids, field), _id_text(field, ids))
  for field in schema.list_fields:
    lists = columns[field.name]
    _check_shape(lists, field, where)
    ids, weights = lists.values, lists.weights
    refuse(_outside(ids, field), _id_text(field, ids), lists)
    if weights is not None:
      refuse(
          ~np.isfinite(weights),
          f'field {field.name!r} has a weight that is not finite.',
          lists,
      )
  for field in schema.float_fields:
    values = columns[field.name]
    bad = ~np.isfinite(values)
    value = values[np.flatnonzero(bad)[0]] if bad.any() else 0
    refuse(
        bad,
        f'field {field.name!r} is {value}; floats must be finite. Fill missing'
        ' values when the data is prepared.',
    )
  for name in schema.labels:
    label = columns[name]
    bad = (label != 0) & (label != 1)
    value = label[np.flatnonzero(bad)[0]] if bad.any() else 0
    refuse(bad, f'label {name!r} is {value}; it must be 0 or 1.')


def _outside(ids: np.ndarray, field: Field) -> np.ndarray:
  """Which ids have no row in the field's table."""
  if not len(ids) or (ids.min() >= 0 and ids.max() < field.vocab_size):
    return np.zeros(0, bool)
  return (ids < 0) | (ids >= field.vocab_size)


def _id_text(field: Field, ids: np.ndarray) -> str:
  outside = _outside(ids, field)
  first = ids[np.flatnonzero(outside)[0]] if outside.any() else 0
  return (
      f'field {field.name!r} has id {first}, but its vocabulary has the ids 0'
      f' to {field.vocab_size - 1}. Prepare the data again, or map unseen'
      ' values to id 1.'
  )


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
