"""Columns of a user's log, and comparisons of them, as labels of 0 and 1.

    clicked                     0, 1, false, true; null and -1: not known
    rating>=4                   numbers: >=, >, <=, <
    action==buy, stars!=5       one text or number: ==, !=
    clicked_at!=""              "" is a missing value

The value is read as the column is: 4 is 4.0 and '4.00', true is 1 and True, and
2022-04-01T12:30 the time that is stored. A number of which digits would be lost
in a float is compared as a whole number.
"""

import dataclasses
import decimal
import re

from esmm_jax.data.csv_files.quoted_names import unquote
from esmm_jax.data.values import raw_values
from esmm_jax.data.values.raw_values import Location
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_COMPARE = {
    '==': np.equal, '!=': np.not_equal, '>=': np.greater_equal,
    '<=': np.less_equal, '>': np.greater, '<': np.less,
}  # fmt: skip
_EQUAL = ('==', '!=')
_EXPRESSION = re.compile(
    r'("(?:[^"]|"")*"|\'(?:[^\']|\'\')*\'|[^"\'].*?|)'
    r'\s*(==|!=|>=|<=|>|<)(.*)',
    re.S,
)
_NUMBER = r'^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$'
_CODE = re.compile(r'[+-]?0\d+')  # 007: a text, as an identifier is.
_TRUTHS = {'true': '1', 'false': '0'}
_EXACT = 1 << 53  # From it on a float skips whole numbers.


@dataclasses.dataclass(frozen=True)
class Event:
  """A column, or a comparison of one, that a label is read from.

  >>> from esmm_jax.data.tabular.events import Event
  >>> Event.parse('rating>=4', 'conversion')
  Event(column='rating', operator='>=', value='4')

  Attributes:
    column: Of the file.
    operator: `==`, `!=`, `>=`, `<=`, `>` or `<`; '' where the column is the
      label.
    value: What the column is compared with, as it is written.
  """

  column: str
  operator: str = ''
  value: str = ''

  @classmethod
  def parse(cls, text: str, option: str) -> 'Event':
    """Parses COLUMN or COLUMN OPERATOR VALUE; both may be in quotes.

    Args:
      text: The label.
      option: The key of the dataset section, for messages.

    Raises:
      InputError: A side is missing, or an order is asked of a text.
    """
    parts = _EXPRESSION.fullmatch(text.strip())
    if parts is None:
      if '=' in text and text.strip()[0] not in '"\'':
        raise InputError(
            f'dataset.{option}: {text!r} has one =; write == to compare, or put'
            ' a name that holds = in quotes.'
        )
      if not unquote(text):
        raise InputError(
            f'dataset.{option}: {text!r} names no column. Leave it empty if'
            ' there is none.'
        )
      return cls(unquote(text))
    event = cls(unquote(parts[1]), parts[2], parts[3].strip())
    if not event.column or not event.value:
      raise InputError(
          f'dataset.{option}: {text!r} lacks the column or the value; write it'
          " like 'rating>=4' or 'action==buy'."
      )
    if event.operator not in _EQUAL and event.number is None:
      raise InputError(
          f'dataset.{option}: {text!r} compares with {event.value!r}, which is'
          f' no number; {event.operator} is for numbers. Texts have == and !=.'
      )
    return event

  @property
  def number(self) -> decimal.Decimal | None:
    """The number that the column is compared with; None for a text."""
    value = self.value
    if self.operator in _EQUAL:
      value = _TRUTHS.get(value.lower(), value)
      if _CODE.fullmatch(value):
        return None
    return decimal.Decimal(value) if re.match(_NUMBER, value) else None

  def __str__(self) -> str:
    return f'{self.column}{self.operator}{self.value}'

  def read(self, array: pa.Array, location: Location) -> np.ndarray:
    """Reads 0, 1 or -1 for what is not known, int8 [n].

    Null is not known, and so is -1 where the column itself is the label.

    Raises:
      InputError: A value is not possible.
    """
    if not self.operator:
      return _read_plain(array, location)
    compare = _COMPARE[self.operator]
    if not unquote(self.value):
      return compare(~_is_there(array, location), True).astype(np.int8)
    number = self.number
    if number is not None and (
        self.operator not in _EQUAL or _is_number(array.type)
    ):
      if abs(number) >= _EXACT:
        return self._compare_exactly(array, location)
      values = raw_values.floats(array, location)
      happened = compare(values, float(number))
      return np.where(np.isnan(values), -1, happened).astype(np.int8)
    texts = raw_values.texts(array, location)
    equal = pc.fill_null(self._equals(texts), False)
    happened = compare(equal.to_numpy(zero_copy_only=False), True)
    is_null = texts.is_null().to_numpy(zero_copy_only=False)
    return np.where(is_null, -1, happened).astype(np.int8)

  def _compare_exactly(self, array: pa.Array, location: Location) -> np.ndarray:
    """Compares whole numbers with one of at least 2^53."""
    must = f'a whole number of 64 bits, as it is compared with {self.value}'
    values = raw_values.whole(array, must, location)
    is_null = values.is_null().to_numpy(zero_copy_only=False)
    numbers = pc.fill_null(values, 0).to_numpy(zero_copy_only=False)
    happened = [_COMPARE[self.operator](int(v), self.number) for v in numbers]
    return np.where(is_null, -1, happened).astype(np.int8)

  def _equals(self, texts: pa.Array) -> pa.Array:
    """Compares texts [n] with the value; 4, 4.0 and '4 ' are one number."""
    number = self.number
    if number is None or abs(number) >= _EXACT:
      value = f'{number:f}' if number is not None else unquote(self.value)
      return pc.equal(texts, raw_values.canonical(pa.array([value.strip()]))[0])
    for truth, digit in _TRUTHS.items():
      truths = pc.equal(texts, truth.capitalize())
      texts = pc.if_else(truths, digit, texts)
    numbers = pc.match_substring_regex(texts, _NUMBER)
    numbers = pc.if_else(numbers, texts, pa.scalar(None, pa.string()))
    return pc.equal(pc.cast(numbers, pa.float64()), float(number))


def _is_number(kind: pa.DataType) -> bool:
  """Returns whether a type is of numbers; true and false are 1 and 0."""
  types = pa.types
  return (
      types.is_integer(kind)
      or types.is_floating(kind)
      or types.is_decimal(kind)
      or types.is_boolean(kind)
  )


def _is_there(array: pa.Array, location: Location) -> np.ndarray:
  """Returns bool [n], where a value is not missing."""
  if pa.types.is_string(array.type):
    array = raw_values.texts(array, location)
  missing = pc.is_null(array, nan_is_null=True)
  return ~missing.to_numpy(zero_copy_only=False)


def _read_plain(array: pa.Array, location: Location) -> np.ndarray:
  """Reads 0, 1, and -1 for null and -1."""
  try:
    return raw_values.labels(array, location)
  except InputError as e:
    # The usual column has neither, so it is not searched for them first.
    try:
      texts = raw_values.texts(array, location)
    except InputError:
      raise e from None
    unknown = pc.fill_null(pc.equal(texts, '-1'), True)
    if not pc.any(unknown).as_py():
      if not pa.types.is_string(array.type):
        raise
      example = f"'{location.name}==yes'"
      raise InputError(f'{e} Compare other words, as in {example}.') from e
    labels = raw_values.labels(pc.if_else(unknown, '0', texts), location)
    unknown = unknown.to_numpy(zero_copy_only=False)
    return np.where(unknown, np.int8(-1), labels)
