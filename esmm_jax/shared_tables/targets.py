"""Checks of fields that share a table: sizes, and the targets of lists.

A list that is combined by attention shares the table of its target: the id
field that its entries are compared with.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from esmm_jax.types import InputError, suggest

ATTENTION = 'attention'


def check(fields: Sequence[Any]) -> None:
  """Refuses fields of one table that differ in size, and wrong targets.

  Args:
    fields: As `schema.Field`.

  Raises:
    InputError: Names the field.
  """
  sizes: dict[str, int] = {}
  by_name = {f.name: f for f in fields}
  for f in fields:
    if f.kind == 'float':
      continue
    if sizes.setdefault(f.table, f.vocab_size) != f.vocab_size:
      raise InputError(
          f'Field {f.name!r}: table {f.table!r} has {sizes[f.table]} ids in'
          f' another field and {f.vocab_size} here; fields that share a table'
          ' share the vocabulary.'
      )
    if wrong := of_target(f, by_name):
      raise InputError(f'Field {f.name!r}: {wrong}')


def alone(field: Any) -> str:
  """Returns why a field cannot have its combiner and target, or ''.

  Args:
    field: With `name`, `kind`, `combiner` and `target`.
  """
  attends = field.combiner == ATTENTION
  if attends and field.kind != 'ids':
    return f'combiner=attention is for kind "ids", not {field.kind!r}.'
  if attends and not field.target:
    return (
        'combiner=attention needs a target, the id column that the entries are'
        ' compared with: target=item, say.'
    )
  if field.target and not attends:
    return (
        f'target={field.target} is for combiner=attention, not'
        f' {field.combiner}.'
    )
  if attends and field.target == field.name:
    return 'its target is the list itself; name a column of kind id.'
  return ''


def of_target(field: Any, others: Mapping[str, Any]) -> str:
  """Returns why a field cannot have its target, or ''.

  Args:
    field: With `name`, `table` and `target`; where it has a target, a table of
      '' is that of the target.
    others: Name -> field, of all fields.
  """
  if not field.target:
    return ''
  target = others.get(field.target)
  if target is None:
    return (
        f'its target {field.target!r} is none of the fields.'
        f' {suggest(field.target, others)}'
    )
  if target.kind != 'id':
    return (
        f'its target {target.name!r} is of kind {target.kind!r}; attention'
        ' compares the entries with one id, a field of kind "id".'
    )
  if any(getattr(f, 'by_group', False) for f in (field, target)):
    return (
        'combiner=attention is of columns that each row has by itself; it or'
        f' its target {target.name!r} is by_group. Use the combiner mean.'
    )
  if getattr(target, 'weighted', False):
    return f'its target {target.name!r} is weighted, so it may be absent.'
  if field.table not in ('', target.table):
    return (
        f'its table is {field.table!r} and that of its target {target.name!r}'
        f' is {target.table!r}; attention compares embeddings of one table.'
        ' Leave table out.'
    )
  return ''
