"""The input columns of a user's log, as options of the config name them."""

import dataclasses
import re
from typing import Any

from esmm_jax.shared_tables import targets
from esmm_jax.data.csv_files.quoted_names import colon_hint, split, unquote
from esmm_jax.data.tabular.cells.buckets import parse_edges, SUFFIX
from esmm_jax.data.values.raw_values import SEPARATOR
from esmm_jax.options import check_choice, check_number, Range
from esmm_jax.schema import COMBINERS, Field
from esmm_jax.types import InputError, suggest

_MOST = 2**31 - 1  # Of rows, values and entries of a list.
_MOST_BUCKETS = 1 << 16
SCALINGS = ('standard', 'log', 'none')
# Kind -> option of a column -> its type.
_OPTIONS = {
    'id': {
        'min_count': int,
        'max_values': int,
        'table': str,
        'buckets': int,
        'edges': parse_edges,
    },
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
CROSSES = 'crosses'
_OPTIONS[CROSSES] = {'min_count': int, 'max_values': int}
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
  """A column that the model reads, or what is made of one or two.

  Attributes:
    name: Of the field, and of the column if `column` is not set.
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
    column: `id`: the column of numbers, of whose buckets the field is.
    buckets: `id`: so many buckets with equally many training rows.
    edges: `id`: rising edges of the buckets; None: not fitted, or no number.
    parts: `id`: the two inputs that it is a cross of.
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
  column: str = ''
  buckets: int = 0
  edges: tuple[float, ...] | None = None
  parts: tuple['Input', ...] = ()

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

  @property
  def is_bucket(self) -> bool:
    """True if it is the bucket of a number."""
    return bool(self.column)

  @property
  def needs_edges(self) -> bool:
    """True if its edges, or those of a part, are still to be fitted."""
    if self.parts:
      return any(part.needs_edges for part in self.parts)
    return self.is_bucket and self.edges is None

  @property
  def is_made(self) -> bool:
    """True if it is no column of the log: a bucket or a cross."""
    return self.is_bucket or bool(self.parts)

  @property
  def option(self) -> str:
    """The key of the dataset section that names it."""
    return CROSSES if self.parts else self.kind

  @property
  def columns(self) -> tuple[str, ...]:
    """The raw columns that it is made of."""
    if self.parts:
      return tuple(name for part in self.parts for name in part.columns)
    return (self.column or self.name,)

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
    kind: `id`, `ids`, `float` or `crosses`.
    text: The columns, with commas between; a name with a comma or a colon in it
      stands in quotes. Crosses are two columns, `user*item`.
    min_count: Of the columns that have none of their own.

  Raises:
    InputError: Names the column and the option that is not possible.
  """
  try:
    parts = split(text, after=_after(kind))
  except InputError as e:
    raise InputError(f'dataset.{kind}: {e}') from e
  return [_parse_input(kind, part, min_count) for part in parts]


def _parse_input(kind: str, part: str, min_count: int) -> Input:
  # `weights=:` too.
  pairs = re.sub(r'=:(?=:|$)', '=colon', part)
  name, *texts = split(pairs, ':', _after(kind)) or ['']
  options: dict[str, Any] = {} if kind == 'float' else {'min_count': min_count}
  try:
    if kind != CROSSES and not (name := unquote(name)):
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
      except InputError:
        raise
      except ValueError as e:
        raise InputError(f'{value!r} is no whole number.') from e
    if kind == CROSSES:
      return _cross(name, options)
    if {'buckets', 'edges'} & set(keys):
      return _bucket(name, keys, options)
    return Input(name, kind, **options)
  except InputError as e:
    raise InputError(f'dataset.{kind}: {part!r}: {e}') from e


def _after(kind: str) -> str:
  """Returns the characters behind which a quote opens."""
  return '=*' if kind == CROSSES else '='


def _cross(text: str, options: dict[str, Any]) -> Input:
  """Makes the input of a cross, `user*item`.

  Raises:
    InputError: It is not of two different columns.
  """
  names = [unquote(name) for name in split(text, '*')]
  if len(names) != 2 or len({*names}) != 2 or not all(names):
    raise InputError(
        'a cross is of two different columns, FIRST*SECOND; make a column of'
        ' more in the log.'
    )
  parts = tuple(Input(name, 'id') for name in names)
  return Input(f'{names[0]}_x_{names[1]}', 'id', parts=parts, **options)


def _bucket(name: str, keys: list[str], options: dict[str, Any]) -> Input:
  """Makes the input of the buckets of a number.

  Raises:
    InputError: Another option is set, or the number of buckets is not possible.
  """
  if len(keys) > 1:
    raise InputError(
        f'{keys[0]!r} and {keys[1]!r} exclude each other: buckets=N or'
        ' edges=0|10|100 is the only option of buckets, and every bucket is'
        ' kept.'
    )
  del options['min_count']
  if 'buckets' in options:
    check_number('buckets', options['buckets'], Range(2, _MOST_BUCKETS))
  return Input(f'{name}{SUFFIX}', 'id', 1, column=name, **options)


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
