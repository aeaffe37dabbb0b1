"""The input columns of a user's log, as options of the config name them."""

import dataclasses
import re
from typing import Any

from esmm_jax.shared_tables import targets
from esmm_jax.data.csv_files.quoted_names import colon_hint, split, unquote
from esmm_jax.data.values.raw_values import SEPARATOR
from esmm_jax.options import check_choice, check_number, Range
from esmm_jax.schema import COMBINERS, Field
from esmm_jax.types import InputError, suggest

_MOST = 2**31 - 1  # Of rows, values and entries of a list.
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
        'target': str,
        'separator': str,
        'weights': str,
    },
    'float': {'scaling': str},
}
KINDS = tuple(_OPTIONS)
# Names of separators, because the options themselves stand between , and :.
_SEPARATORS = {
    'colon': ':',
    'comma': ',',
    'equals': '=',
    'newline': '\n',
    'pipe': '|',
    'semicolon': ';',
    'space': ' ',
    'tab': '\t',
}


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
    combiner: `ids`: `sum`, `mean` or `attention`.
    separator: `ids`: between the entries of a list that is a text; '': `|`, or
      as the text says that begins with [, see `list_texts`.
    weights: `ids`: between an entry and its weight, as in `sport:0.5`; '': no
      weights. Of a row the heaviest `max_len` entries are kept.
    target: Of `attention`: the column of kind `id` that the entries are
      compared with, whose table they share.
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
  separator: str = ''
  weights: str = ''
  target: str = ''

  def __post_init__(self):
    for option, least in (('min_count', 1), ('max_values', 0), ('max_len', 1)):
      check_number(option, getattr(self, option), Range(least, _MOST))
    check_choice('combiner', self.combiner, COMBINERS)
    check_choice('scaling', self.scaling, SCALINGS)
    if self.weights and self.weights == (self.separator or SEPARATOR):
      raise InputError('separator and weights are the same.')
    if wrong := targets.alone(self):
      raise InputError(wrong)
    # The table of a list with a target is known with that column.
    if not self.table and not self.target:
      object.__setattr__(self, 'table', self.name)

  def field(self, vocab_size: int = 0) -> Field:
    """Returns the field of the schema."""
    if self.kind == 'float':
      return Field(self.name, 'float')
    more = {}
    if self.kind == 'ids':
      more = {'max_len': self.max_len, 'combiner': self.combiner}
      more |= {'weighted': bool(self.weights), 'target': self.target}
    return Field(
        self.name, self.kind, vocab_size=vocab_size, table=self.table, **more
    )


def parse_inputs(kind: str, text: str, min_count: int) -> list[Input]:
  """Parses columns with their options, `user:min_count=5:table=person,item`.

  Args:
    kind: `id`, `ids` or `float`.
    text: The columns, with commas between; a name with a comma or a colon in it
      stands in quotes.
    min_count: Of the columns that have none of their own.

  Raises:
    InputError: Names the column and the option that is not possible.
  """
  try:
    parts = split(text)
  except InputError as e:
    raise InputError(f'dataset.{kind}: {e}') from e
  return [_parse_input(kind, part, min_count) for part in parts]


def _parse_input(kind: str, part: str, min_count: int) -> Input:
  # `weights=:` too.
  pairs = re.sub(r'=:(?=:|$)', '=colon', part)
  name, *texts = split(pairs, ':') or ['']
  options: dict[str, Any] = {} if kind == 'float' else {'min_count': min_count}
  try:
    if not (name := unquote(name)):
      raise InputError('the name of the column is empty.')
    keys = [text.partition('=')[0] for text in texts]
    for key in keys:
      if keys.count(key) > 1:
        raise InputError(f'{key!r} is set twice.')
    for text in texts:
      key, equals, value = text.partition('=')
      if key not in _OPTIONS[kind] or not equals:
        raise InputError(
            f'{text!r} is no option of such a column; write KEY=VALUE'
            f'{colon_hint(name, text)}.'
            f' {suggest(key, _OPTIONS[kind])}'
        )
      if key in ('separator', 'weights'):
        options[key] = _separator(unquote(value) if len(value) > 2 else value)
        continue
      try:
        options[key] = _OPTIONS[kind][key](unquote(value))
      except ValueError as e:
        raise InputError(f'{value!r} is no whole number.') from e
    return Input(name, kind, **options)
  except InputError as e:
    raise InputError(f'dataset.{kind}: {part!r}: {e}') from e


def _separator(text: str) -> str:
  r"""Returns a separator that is written out, named, or escaped like \x01."""
  if not text:
    raise InputError(
        f'a separator is empty; write it, or {", ".join(_SEPARATORS)}.'
    )
  if '\\' not in text:
    return _SEPARATORS.get(text, text)
  try:
    return text.encode('ascii').decode('unicode_escape')
  except UnicodeError as e:
    raise InputError(f'{text!r} is no separator; write \\x01, say.') from e
