"""Reads search spaces: which keys of a config vary, and how.

    learning_rate=log:1e-4:1e-2              between these, on a log scale
    model.dropout=0:.5                       between these
    model.embed_dim=log:8:64                 whole numbers, if the key has such
    model.tower_units=[(64, 32), (128, 64)]  one of these

A file has one of these in a line; empty lines and what follows a # are left
out.
"""

import ast
from collections.abc import Callable, Sequence
import dataclasses
import math
import re
from typing import Any

from esmm_jax.types import InputError

_KEY = re.compile(r'[A-Za-z_][\w.]*=')
_HELP = (
    'write KEY=LOW:HIGH, KEY=log:LOW:HIGH or KEY=[VALUE, VALUE], with texts in'
    " quotes, as learning_rate=log:1e-4:1e-2 or activation=['relu', 'gelu']."
)
_DIGITS = 4  # Of a number that is tried.


@dataclasses.dataclass(frozen=True)
class Dimension:
  """A key that varies.

  Attributes:
    key: Dotted, of the config.
    choices: The values, if they are listed; otherwise ().
    low: The least value of a range.
    high: The largest one.
    log: Whether the logarithm is uniform, not the value.
    whole: Whether the range is of whole numbers.
  """

  key: str
  choices: tuple[Any, ...] = ()
  low: float = 0
  high: float = 0
  log: bool = False
  whole: bool = False

  def __str__(self) -> str:
    if self.choices:
      return f'{self.key}={list(self.choices)}'
    log = 'log:' if self.log else ''
    return f'{self.key}={log}{self.low:g}:{self.high:g}'

  @property
  def ends(self) -> tuple[Any, ...]:
    """All choices, or both ends of the range."""
    return self.choices or (self.low, self.high)

  def value(self, drawn: Any) -> Any:
    """Returns the value of the key for what a sampler drew.

    Args:
      drawn: A number of the range, or the `repr` of a choice. Of a number that
        is not whole four digits count, so that people can type it.
    """
    if self.choices:
      return {repr(choice): choice for choice in self.choices}[drawn]
    if self.whole:
      return int(drawn)
    return min(max(float(f'{drawn:.{_DIGITS}g}'), self.low), self.high)


def read(texts: Sequence[str]) -> list[Dimension]:
  """Reads a search space.

  Args:
    texts: Lines as above, and paths of files with such lines.

  Returns:
    The dimensions, in the order of their keys: the order of the texts does not
    change what is drawn.

  Raises:
    InputError: A file is not there, a line is none, or a key is there twice.
  """
  dimensions: dict[str, Dimension] = {}
  for text in texts:
    for where, line in _lines(text):
      new = _dimension(where, line)
      if new.key in dimensions:
        raise InputError(f'--space={where}: {new.key} is there twice.')
      dimensions[new.key] = new
  if not dimensions:
    raise InputError(f'--space has no key: {_HELP}')
  return [dimensions[key] for key in sorted(dimensions)]


def typed(
    dimension: Dimension, kind: Callable[[str], type | None]
) -> Dimension:
  """Returns a dimension whose range is of whole numbers where its key is.

  Args:
    dimension: As `read` returns it.
    kind: Key -> type of its value.

  Raises:
    InputError: The key is no number, or an end of the range is not whole.
  """
  if dimension.choices:
    return dimension
  wanted, key = kind(dimension.key), dimension.key
  if wanted not in (int, float):
    raise InputError(
        f'--space={key}: its value is no number, so it has no range; {_HELP}'
    )
  whole = wanted is int
  if whole and any(end != int(end) for end in dimension.ends):
    raise InputError(
        f'--space={key}: it takes whole numbers, and {dimension.low:g} to'
        f' {dimension.high:g} has others at its ends.'
    )
  to = int if whole else float
  low, high = to(dimension.low), to(dimension.high)
  return dataclasses.replace(dimension, whole=whole, low=low, high=high)


def _lines(text: str) -> list[tuple[str, str]]:
  """Returns (text for errors, line) of a flag, which is a line or a file."""
  if _KEY.match(text):
    return [(text, text)]
  try:
    with open(text, encoding='utf-8') as f:
      lines = f.read().splitlines()
  except (OSError, UnicodeDecodeError) as e:
    raise InputError(
        f'--space={text}: it is neither KEY=... nor a file that can be read'
        f' ({e}); {_HELP}'
    ) from e
  numbered = enumerate((line.partition('#')[0].strip() for line in lines), 1)
  return [(f'{text}: line {n}: {line}', line) for n, line in numbered if line]


def _dimension(where: str, line: str) -> Dimension:
  """Parses KEY=..."""
  key, equals, rest = (part.strip() for part in line.partition('='))
  try:
    if not _KEY.fullmatch(f'{key}{equals}'):
      raise ValueError
    if rest.startswith(('[', '(')):
      choices, ends = tuple(ast.literal_eval(rest)), []
    else:
      choices, ends = (), rest.removeprefix('log:').split(':')
      low, high = map(float, ends)
  except (ValueError, SyntaxError, TypeError) as e:
    raise InputError(f'--space={where}: {_HELP}') from e
  if not ends:
    if len(set(map(repr, choices))) < max(len(choices), 2):
      raise InputError(f'--space={where}: list two values or more, each once.')
    return Dimension(key, choices)
  log = rest.startswith('log:')
  if not (math.isfinite(low) and math.isfinite(high) and low < high):
    raise InputError(f'--space={where}: the first end must be the lower one.')
  if log and low <= 0:
    raise InputError(f'--space={where}: a log scale begins above 0.')
  return Dimension(key, (), low, high, log)
