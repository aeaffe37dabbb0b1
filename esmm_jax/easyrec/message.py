"""Messages of protocol buffers: fields with values that are read by type."""

from collections.abc import Iterable, Iterator
import dataclasses
import math
from typing import Any

from esmm_jax.options import COUNT_OR_NONE, NOT_NEGATIVE, Range
from esmm_jax.types import InputError

ANY = Range(-1e38, 1e38)  # The finite numbers of float32.


class Word(str):
  """A bare name as a value, of an enumeration for example."""


@dataclasses.dataclass
class Field:
  """A field of a message.

  Attributes:
    name: Its name.
    value: A number, text, `Word`, bool or `Message`; a list is several fields.
    line: Line in the text, from 1; 0 for one that is not written there.
    used: Whether it was read through its message.
    written: Its name in the text, where `name` is another one.
  """

  name: str
  value: Any
  line: int
  used: bool = False
  written: str = ''


class Message:
  """The fields of a message, in order; records which were read."""

  def __init__(self, fields: list[Field], line: int = 1):
    self.fields = fields
    self.line = line

  def all(self, name: str) -> list[Any]:
    """Returns the values of a repeated field."""
    fields = [f for f in self.fields if f.name == name]
    for f in fields:
      f.used = True
    return [f.value for f in fields]

  def get(
      self, name: str, default: Any = None, allowed: Range | None = None
  ) -> Any:
    """Returns the last value of a field, as protocol buffers define it.

    Args:
      name: Of the field.
      default: Where it is not written; a number, bool or text tells its type.
      allowed: Of a number; default: what is finite and not negative.

    Raises:
      InputError: The value is of another type than the default, or outside of
        the range.
    """
    fields = [f for f in self.fields if f.name == name]
    self.all(name)
    return _like(fields[-1], default, allowed) if fields else default

  def numbers(
      self, name: str, kind: type = float, allowed: Range | None = None
  ) -> list[Any]:
    """Returns the values of a repeated field of numbers.

    Raises:
      InputError: As `get`.
    """
    fields = [f for f in self.fields if f.name == name]
    self.all(name)
    return [_like(f, kind(), allowed) for f in fields]

  def texts(self, name: str) -> list[str]:
    """Returns the values of a repeated field of texts.

    Raises:
      InputError: One of them is no text.
    """
    fields = [f for f in self.fields if f.name == name]
    self.all(name)
    return [_like(f, '') for f in fields]

  def enum(self, name: str, default: str) -> str | int:
    """Returns the value of an enumeration, a name or a number.

    Raises:
      InputError: It is neither.
    """
    value = self.get(name)
    if value is None:
      return default
    if isinstance(value, (bool, float, Message)):
      raise _wrong(self.field(name), 'a name')
    return value

  def field(self, name: str) -> 'Field':
    """Returns the last field of a name; an empty one if there is none."""
    fields = [f for f in self.fields if f.name == name]
    return fields[-1] if fields else Field(name, None, self.line)

  def has(self, name: str) -> bool:
    """Tells whether a field is written, be it as an empty message."""
    return any(f.name == name for f in self.fields)

  def first(self, names: Iterable[str]) -> str:
    """Returns the one of `names` that is written, as in a oneof; or ''."""
    return next((f.name for f in self.fields if f.name in set(names)), '')

  def messages(self, name: str) -> list['Message']:
    """Returns the inner messages of a repeated field.

    Raises:
      InputError: One of them is a value.
    """
    values = self.all(name)
    for value in values:
      if not isinstance(value, Message):
        raise InputError(
            f'line {self.line}: {name} must be a message, {{...}}.')
    return values

  def message(self, name: str) -> 'Message':
    """Returns an inner message; an empty one if there is none."""
    message = self.get(name)
    if message is None:
      return Message([], self.line)
    if not isinstance(message, Message):
      raise InputError(f'line {self.line}: {name} must be a message, {{...}}.')
    return message

  def unused(self, path: str = '') -> Iterator[tuple[str, int, Any]]:
    """Yields (path, line, value) of fields that were not read, outermost."""
    for f in self.fields:
      name = f.written or f.name
      here = f'{path}.{name}' if path else name
      if not f.used:
        yield here, f.line, f.value
      elif isinstance(f.value, Message):
        yield from f.value.unused(here)


def _like(field: Field, default: Any, allowed: Range | None = None) -> Any:
  """Returns a value as a number, bool or text, if its default is one."""
  value = field.value
  if isinstance(default, bool):
    right = isinstance(value, bool) or value in (0, 1)
    noun, convert = 'true or false', bool
  elif isinstance(default, (int, float)):
    if isinstance(value, Word) and value.lower().lstrip('-') in ('inf', 'nan'):
      value = float(value)
    right = isinstance(value, (int, float)) and not isinstance(value, bool)
    noun, convert = 'a number', lambda v: v
    allowed = allowed or NOT_NEGATIVE
    if isinstance(default, int):
      right = right and math.isfinite(value) and value == value // 1
      noun, convert = 'a whole number', int
      allowed = COUNT_OR_NONE if allowed is NOT_NEGATIVE else allowed
    right = right and allowed.holds(value)
    noun += f' in {allowed}'
  elif isinstance(default, str):
    right, noun, convert = isinstance(value, str), 'a text', str
  else:
    return value
  if not right:
    raise _wrong(field, noun)
  return convert(value)


def _wrong(field: Field, noun: str) -> InputError:
  shown = repr(field.value)
  if isinstance(field.value, Message):
    shown = 'a message'
  elif isinstance(field.value, (Word, bool)):
    shown = str(field.value)
  name = field.written or field.name
  return InputError(
      f'line {field.line}: {name} is {shown}; it must be {noun}.')
