"""Refuses columns whose values are impossible."""

from collections.abc import Sequence

from esmm_jax.schema import Field, Schema
from esmm_jax.types import Columns, InputError, Ragged
import numpy as np


def check_columns(
    schema: Schema, columns: Columns, where: str, first_row: int
) -> None:
  """Refuses ids outside the vocabulary, numbers not finite, impossible labels.

  The label of a binary task must be 0 or 1, that of a regression any finite
  number, the weight of a row one that is not negative.

  Args:
    schema: The fields and labels.
    columns: Columns of a range of rows; those that the schema lacks are
      ignored. Fields that are `by_group` are not among them, see
      `check_groups`.
    where: The data, for the message.
    first_row: Number of the first row, for the message.

  Raises:
    InputError: Names the data, the row and the field.
  """
  # Unchecked, an id past its vocabulary would read NaN in one kind of lookup
  # and the embedding of another field in the next.
  fields = [f for f in schema.fields if not f.by_group]
  _check_fields(fields, columns, where, first_row)
  check_labels(schema, columns, where, first_row)
  if schema.weight:
    weight = columns[schema.weight]
    bad = ~(np.isfinite(weight) & (weight >= 0))
    text = 'is {}; it must be finite and at least 0.'
    _refuse(bad, weight, text, 'the weight', where, first_row)


def check_labels(
    schema: Schema, columns: Columns, where: str, first_row: int
) -> None:
  """Refuses impossible labels; see `check_columns`.

  Raises:
    InputError: Names the data, the row and the label.
  """
  for task in schema.tasks:
    label = columns[task.label]
    if task.kind == 'regression':
      bad = ~np.isfinite(label)
      text = (
          'is {}; it must be finite. Give it a number, or drop the row, when'
          ' the data is prepared.'
      )
    else:
      bad, text = (label != 0) & (label != 1), 'is {}; it must be 0 or 1.'
    subject = f'label {task.label!r}'
    _refuse(bad, label, text, subject, where, first_row)


def check_groups(schema: Schema, groups: Columns, where: str) -> None:
  """Refuses impossible values of a group table.

  Raises:
    InputError: Names the data, the row of the group table and the field.
  """
  fields = [f for f in schema.fields if f.by_group]
  _check_fields(fields, groups, f'{where}, group table', 0)


def check_index(index: np.ndarray, num_groups: int, where: str) -> None:
  """Refuses indices past the end of the group table.

  Raises:
    InputError: Names the data and the index.
  """
  if len(index) and (index.min() < 0 or index.max() >= num_groups):
    raise InputError(
        f'{where}: a row points to group {index.max()} of {num_groups}, or to a'
        ' negative one. The prepared data is damaged; delete its folder and'
        ' prepare it again.'
    )


def _check_fields(
    fields: Sequence[Field], columns: Columns, where: str, first_row: int
) -> None:
  """Refuses impossible values of some fields."""
  for f in fields:
    values, weights, lists = columns[f.name], None, None
    at = {'where': where, 'first_row': first_row}
    at['subject'] = f'field {f.name!r}'
    if f.pooled and f.kind == 'id':
      weights = columns[f'{f.name}.weight']
    if f.kind == 'float':
      text = (
          'is {}; floats must be finite. Fill missing values when the data is'
          ' prepared.'
      )
      _refuse(~np.isfinite(values), values, text, **at)
      continue
    if f.kind == 'ids':
      lists = values
      _check_shape(lists, f, where)
      values, weights = lists.values, lists.weights
    # min and max first: they need no memory, and nearly always suffice.
    if len(values) and (values.min() < 0 or values.max() >= f.vocab_size):
      text = (
          'has id {}, but its vocabulary has the ids 0 to'
          f' {f.vocab_size - 1}. Prepare the data again, or map unseen values'
          ' to id 1.'
      )
      bad = (values < 0) | (values >= f.vocab_size)
      _refuse(bad, values, text, **at, lists=lists)
    if weights is not None:
      text = 'has a weight that is not finite, {}.'
      _refuse(~np.isfinite(weights), weights, text, **at, lists=lists)


def _refuse(
    bad: np.ndarray,
    values: np.ndarray,
    text: str,
    subject: str,
    where: str,
    first_row: int,
    lists: Ragged | None = None,
) -> None:
  """Raises if any entry is bad; {} in `text` is the first bad value."""
  if not bad.any():
    return
  entry = row = int(np.flatnonzero(bad)[0])
  if lists is not None:
    row = int(np.searchsorted(lists.offsets, entry, side='right')) - 1
  text = text.format(values[entry])
  raise InputError(f'{where}, row {first_row + row}: {subject} {text}')


def _check_shape(lists: Ragged, field: Field, where: str) -> None:
  """Refuses lists whose values, weights and offsets do not fit each other."""
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
