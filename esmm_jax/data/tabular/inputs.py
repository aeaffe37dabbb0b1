"""The input columns of a user's log, as options of the config name them."""

import dataclasses
from typing import Any

from esmm_jax.options import check_choice
from esmm_jax.schema import COMBINERS, Field
from esmm_jax.types import InputError, suggest

SCALINGS = ('standard', 'log', 'none')
# Kind -> option of a column -> its type.
_OPTIONS = {
    'id': {'min_count': int, 'max_values': int, 'table': str},
    'ids': {
        'min_count': int,
        'max_values': int,
        'table': str,
        'max_len': int,
        'combiner': str,
    },
    'float': {'scaling': str},
}
KINDS = tuple(_OPTIONS)


@dataclasses.dataclass(frozen=True)
class Input:
  """A column that the model reads.

  Attributes:
    name: Of the column and of the field.
    kind: `id`, `ids` or `float`.
    min_count: Values in fewer training rows are rare.
    max_values: The most frequent values that are kept; 0: all.
    table: Columns of one table share vocabulary and embeddings.
    max_len: `ids`: entries kept of a row, its first ones.
    combiner: `ids`: `sum` or `mean`.
    scaling: `float`: `standard` (mean 0 and variance 1 of the training rows),
      `log` (sign(x) ln(1 + |x|) before that) or `none`.
  """

  name: str
  kind: str
  min_count: int = 2
  max_values: int = 0
  table: str = ''
  max_len: int = 50
  combiner: str = 'mean'
  scaling: str = 'standard'

  def __post_init__(self):
    for option, least in (('min_count', 1), ('max_values', 0), ('max_len', 1)):
      if getattr(self, option) < least:
        raise InputError(f'{option} must be at least {least}.')
    check_choice('combiner', self.combiner, COMBINERS)
    check_choice('scaling', self.scaling, SCALINGS)
    if not self.table:
      object.__setattr__(self, 'table', self.name)

  def field(self, vocab_size: int = 0) -> Field:
    """Returns the field of the schema."""
    if self.kind == 'float':
      return Field(self.name, 'float')
    more = {}
    if self.kind == 'ids':
      more = {'max_len': self.max_len, 'combiner': self.combiner}
    return Field(
        self.name, self.kind, vocab_size=vocab_size, table=self.table, **more
    )


def parse_inputs(kind: str, text: str, min_count: int) -> list[Input]:
  """Parses columns with their options, `user:min_count=5:table=person,item`.

  Args:
    kind: `id`, `ids` or `float`.
    text: The columns, with commas between.
    min_count: Of the columns that have none of their own.

  Raises:
    InputError: Names the column and the option that is not possible.
  """
  return [_parse_input(kind, part, min_count) for part in split_commas(text)]


def _parse_input(kind: str, part: str, min_count: int) -> Input:
  name, *texts = part.split(':')
  options: dict[str, Any] = {} if kind == 'float' else {'min_count': min_count}
  try:
    for text in texts:
      key, equals, value = text.partition('=')
      if key not in _OPTIONS[kind] or not equals:
        raise InputError(
            f'{text!r} is no option of such a column; write KEY=VALUE.'
            f' {suggest(key, _OPTIONS[kind])}'
        )
      try:
        options[key] = _OPTIONS[kind][key](value)
      except ValueError as e:
        raise InputError(f'{value!r} is no whole number.') from e
    return Input(name, kind, **options)
  except InputError as e:
    raise InputError(f'dataset.{kind}: {part!r}: {e}') from e


def split_commas(text: str) -> list[str]:
  """Returns the parts between commas, without blanks and empty parts."""
  return [p.strip() for p in text.split(',') if p.strip()]
