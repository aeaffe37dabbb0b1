"""Compares the keys of a dataset section that name the same thing."""

from collections.abc import Iterable, Sequence
import dataclasses
import itertools
from typing import Any

from esmm_jax.shared_tables import targets
from esmm_jax.data.tabular.inputs import Input
from esmm_jax.types import InputError

# Uses of one column that go together; the others exclude each other. A user may
# be a feature, group GAUC and keep rows together; a time may be a feature.
_TOGETHER = {
    frozenset(pair)
    for pair in (
        ('input', 'group'),
        ('input', 'split_by'),
        ('input', 'time'),
        ('input', 'weight'),
        ('group', 'split_by'),
        ('group', 'time'),
    )
}
_LATE = 'a label is not known before the impression'
_SPLIT = 'it has one value in the training rows'
_WEIGHT = 'a weight is a number of its own'


def check_names(
    inputs: Sequence[Input],
    events: dict[str, Any],
    stored: Sequence[str],
    history: Sequence[str] = (),
) -> None:
  """Refuses names of inputs that others have.

  Args:
    inputs: The columns that the model reads.
    events: See `check_columns`.
    stored: Names of other columns of the prepared data.
    history: Names of the fields of the log's history.

  Raises:
    InputError: There is no input, or one has a name that it cannot have.
  """
  if not inputs:
    raise InputError(
        'dataset.id, dataset.ids and dataset.float name no column; the model'
        " would have nothing to read. Write dataset.id='user_id,item_id' say."
    )
  names = [c.name for c in inputs]
  for column in [column for c in inputs for column in c.columns]:
    if column in [_column(event) for event in events.values()]:
      raise InputError(
          f'Column {column!r} is a label; it cannot be an input too.'
      )
  for name in names:
    if names.count(name) > 1:
      raise InputError(
          f'Column {name!r} is named twice in the dataset section. Remove one'
          ' of the two.'
      )
    # A column is a file of its name.
    if name in stored or '/' in name or name.startswith('.'):
      raise InputError(
          f'Column {name!r}: this name is reserved or has a character that is'
          ' not allowed; rename the column.'
      )
  for name in history:
    if name in (*names, *stored):
      raise InputError(
          f'dataset.history creates a column {name!r}, but the log has a column'
          ' of that name; rename the one in the log.'
      )


def check_columns(
    inputs: Iterable[Input], events: dict[str, Any], others: dict[str, str]
) -> None:
  """Refuses one column for two uses that exclude each other.

  Args:
    inputs: The columns that the model reads.
    events: Label -> what it is read from: a column, or something with the
      attribute `column` that differs where the label does.
    others: Option -> column, of `group`, `time`, `split_by`, `split_column` and
      `weight`; '' for none.

  Raises:
    InputError: Names the column and both keys.
  """
  uses = [
      ('input', f'dataset.{c.option}', name)
      for c in inputs
      for name in c.columns
  ]
  for label, event in events.items():
    uses.append(('label', f'the label {label}', _column(event)))
  uses += [(o, f'dataset.{o}', name) for o, name in others.items() if name]
  for (a, key, name), (b, other_key, other) in itertools.combinations(uses, 2):
    if name != other or frozenset((a, b)) in _TOGETHER or a == b:
      continue
    why = _WEIGHT if 'weight' in (a, b) else _SPLIT
    why = _LATE if 'label' in (a, b) else why
    raise InputError(
        f'Column {name!r} is used for {key} and {other_key}, but {why}. Remove'
        ' it from one of them.'
    )
  for (label, event), (later, same) in itertools.combinations(
      events.items(), 2
  ):
    if str(event) == str(same):
      raise InputError(
          f'The labels {label} and {later} are both {str(event)!r}; they would'
          ' always be equal. Name the column of each.'
      )


def with_targets(inputs: Sequence[Input]) -> list[Input]:
  """Gives lists with a target the table of that column.

  Raises:
    InputError: A target is no column of kind `id`, or has another table than
      the list is given.
  """
  by_name = {c.name: c for c in inputs}
  for c in inputs:
    if wrong := targets.of_target(c, by_name):
      raise InputError(f'dataset.ids: {c.name!r}: {wrong}')
  return [
      dataclasses.replace(c, table=by_name[c.target].table) if c.target else c
      for c in inputs
  ]


def check_tables(inputs: Sequence[Input]) -> None:
  """Refuses two values of one option for a table that columns share.

  Raises:
    InputError: Names both columns, the option and its values, or the table.
  """
  first: dict[str, Input] = {}
  for c in inputs:
    other = first.setdefault(c.table, c)
    if other is not c and (c.is_made or other.is_made):
      made = c if c.is_made else other
      raise InputError(
          f'table={c.table} names the table of {made.name!r}, a bucket or a'
          ' cross, which has values of its own. Choose another name.'
      )
    for option in ('min_count', 'max_values'):
      one, two = getattr(other, option), getattr(c, option)
      if c.kind != 'float' and one != two:
        raise InputError(
            f'Columns {other.name!r} and {c.name!r} share the table'
            f' {c.table!r}, but {option} is {one} for the first and {two} for'
            ' the second; a table has one vocabulary. Give both the same'
            f' {option}.'
        )


def _column(event: Any) -> str:
  return getattr(event, 'column', event)
