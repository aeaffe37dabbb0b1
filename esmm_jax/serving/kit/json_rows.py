"""The body of a request -> rows, and why rows cannot be read."""

from collections.abc import Sequence
from typing import Any

from esmm_jax.json_files import parse_json
from esmm_jax.types import InputError, similar

WHERE = 'rows'
_LIKE = 0.8  # 'usr' is like 'user', and 'user_id' is not.
_MOST = 100  # Sets of keys, and keys of one, that are compared.


def parse(body: bytes) -> list[dict[str, Any]]:
  """Returns the rows of a body, {"rows": [{COLUMN: VALUE}]}.

  Raises:
    InputError: It is something else.
  """
  try:
    value = parse_json(body.decode())
  except ValueError as e:
    raise InputError(f'the body is no JSON: {e}.') from e
  if not isinstance(value, dict) or list(value) != ['rows']:
    raise InputError('the body must be {"rows": [{"COLUMN": VALUE, ...}]}.')
  rows = value['rows']
  if not isinstance(rows, list):
    raise InputError('"rows" must be a list of objects, a row each.')
  for number, row in enumerate(rows):
    if not isinstance(row, dict):
      raise InputError(f'{WHERE}, row {number} is no object.')
  return rows


def refuse_misspelled(rows: list[dict[str, Any]], names: Sequence[str]) -> None:
  """Refuses rows that lack a column and have one of a similar name.

  Other keys are not looked at, and what a row lacks is missing in it: so a name
  with an error in it would give a score of a row without that column.

  Raises:
    InputError: There is such a row.
  """
  wanted = frozenset(names)
  different: set[frozenset[str]] = set()
  for number, row in enumerate(rows):
    if wanted <= row.keys() or (keys := frozenset(row)) in different:
      continue
    if len(different) == _MOST:
      return
    different.add(keys)
    for key in sorted(keys - wanted)[:_MOST]:
      if near := similar(key, sorted(wanted - keys), _LIKE):
        raise InputError(
            f'{WHERE}, row {number}: the model reads no column {key!r}. Did you'
            f' mean {near!r}? If that is missing, give it as null.'
        )


def refuse_mixed(rows: list[dict[str, Any]], names: Sequence[str]) -> None:
  """Refuses columns that arrow takes for no column, and names the row.

  Raises:
    InputError: A value is an object or a list of lists, or a column has lists
      in some rows and single values in others.
  """
  for name in names:
    first = None  # Whether the first value is a list.
    for number, row in enumerate(rows):
      value = row.get(name)
      is_list = isinstance(value, list)
      entries = value if is_list else [value]
      wrong = ''
      if any(isinstance(entry, dict) for entry in entries):
        wrong = 'holds an object; it must be a text, a number or a list of them'
      elif any(isinstance(entry, list) for entry in entries):
        wrong = 'holds lists in a list'
      elif value is not None and first is None:
        first = is_list
      elif value is not None and first != is_list:
        kinds = ('a single value', 'a list')
        wrong = f'is {kinds[is_list]}, and {kinds[first]} in rows before'
      if wrong:
        raise InputError(f'{WHERE}, row {number}: column {name!r} {wrong}.')
