"""Options of a config section: dataclasses that check their own values.

A section is a frozen dataclass that derives from `Section`. Its fields are the
keys of the config, with the default and the allowed values beside them:

    @dataclasses.dataclass(frozen=True)
    class Schedule(Section, prefix='schedule'):
      name: str = one_of('constant', 'cosine', default='constant')
      warmup_steps: int = number(0, COUNT_OR_NONE)
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, ClassVar, NamedTuple, Self

from esmm_jax.types import InputError, suggest


class Range(NamedTuple):
  """An interval of numbers; it includes its ends unless they are open.

  Attributes:
    low: The least number.
    high: The greatest number.
    open_low: Excludes `low`.
    open_high: Excludes `high`.
  """

  low: float
  high: float
  open_low: bool = False
  open_high: bool = False

  def holds(self, value: float) -> bool:
    """Returns whether the interval contains the value; it never has nan."""
    above = value > self.low if self.open_low else value >= self.low
    below = value < self.high if self.open_high else value <= self.high
    return above and below

  def __str__(self) -> str:
    left = '(' if self.open_low else '['
    right = ')' if self.open_high else ']'
    return f'{left}{_text(self.low)}, {_text(self.high)}{right}'


def _text(value: float) -> str:
  return str(value) if isinstance(value, int) else f'{value:g}'


COUNT = Range(1, 2**31 - 1)
COUNT_OR_NONE = Range(0, 2**31 - 1)
SEED = Range(0, 2**32 - 1)  # JAX makes a random key of 32 bits.
POSITIVE = Range(0, 1e38, open_low=True)  # The finite numbers of float32.
NOT_NEGATIVE = Range(0, 1e38)
SHARE = Range(0, 1)
POSITIVE_SHARE = Range(0, 1, open_low=True)
BELOW_ONE = Range(0, 1, open_high=True)
WIDTH = Range(1, 2**16)
LAYERS = 64


def number(default: Any, allowed: Range) -> Any:
  """Declares a dataclass field whose number must lie in a range."""
  return dataclasses.field(default=default, metadata={'range': allowed})


def one_of(*choices: str, default: str) -> Any:
  """Declares a dataclass field whose text must be one of the choices."""
  return dataclasses.field(default=default, metadata={'choices': choices})


def check_number(key: str, value: Any, allowed: Range) -> None:
  """Refuses a number outside its range; None is unset and passes.

  Args:
    key: The config key, for the message.
    value: The number.
    allowed: Its range.

  Raises:
    InputError: The number is outside the range.
  """
  try:
    holds = value is None or allowed.holds(value)
  except TypeError:  # A text, where a config declares no type.
    holds = False
  if not holds:
    whole = ' whole number' if isinstance(value, int) else ' number'
    raise InputError(f'{key} is {value}; it must be a{whole} in {allowed}.')


def check_choice(key: str, value: str, choices: Sequence[str]) -> None:
  """Refuses a text that is none of the choices.

  Raises:
    InputError: It is none of them; names the nearest.
  """
  if value not in choices:
    raise InputError(
        f'{key} is {value!r}, which is not known. {suggest(value, choices)}'
    )


def check_units(key: str, units: Sequence[Any]) -> None:
  """Refuses widths of layers that no network can have.

  Raises:
    InputError: A width is no whole number in its range, or there are too many.
  """
  whole = all(isinstance(n, int) and WIDTH.holds(n) for n in units)
  if not whole or len(units) > LAYERS:
    raise InputError(
        f'{key} is {units}; it must be at most {LAYERS} whole numbers in'
        f' {WIDTH}, the width of each layer.'
    )


def refuse_unknown(
    options: Mapping[str, Any], choices: Sequence[str], prefix: str, owner: str
) -> None:
  """Refuses options that are set but that their owner does not take.

  Args:
    options: Name -> value; None is unset.
    choices: Names that the owner takes.
    prefix: The config section.
    owner: Takes the options; for the message.

  Raises:
    InputError: An option is unknown; names the nearest.
  """
  for name, value in options.items():
    if value is not None and name not in choices:
      raise InputError(
          f'{prefix}.{name} is set, but {owner} has no such option.'
          f' {suggest(name, choices)}'
      )


@dataclasses.dataclass(frozen=True)
class Section:
  """A part of a config that checks its values when it is made."""

  prefix: ClassVar[str] = ''

  def __init_subclass__(cls, prefix: str = '', **more: Any):
    """Sets the name of the section; '' for keys at the top of the config."""
    super().__init_subclass__(**more)
    cls.prefix = prefix

  def __post_init__(self):
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      key = self.key(field.name)
      if 'range' in field.metadata:
        check_number(key, value, field.metadata['range'])
      if 'choices' in field.metadata:
        check_choice(key, value, field.metadata['choices'])
    self.check()

  def check(self) -> None:
    """Refuses combinations of values; sections override it.

    Raises:
      InputError: Two values do not go together.
    """

  @classmethod
  def key(cls, name: str) -> str:
    """Returns a field's key in the config."""
    return f'{cls.prefix}.{name}' if cls.prefix else name

  @classmethod
  def names(cls) -> list[str]:
    """Returns the names of the fields."""
    return [f.name for f in dataclasses.fields(cls)]

  @classmethod
  def read(cls, options: Mapping[str, Any]) -> Self:
    """Makes the section from a mapping of exactly its keys.

    Args:
      options: Name -> value; absent ones take the default.

    Raises:
      InputError: A key is unknown, or a value is not allowed.
    """
    for name in options:
      if name not in cls.names():
        raise InputError(
            f'the config has a key {cls.key(name)!r}, which no part of a run'
            f' reads. {suggest(name, cls.names())}'
        )
    return cls(**options)


# Keys whose default was another one in earlier versions.
_FORMER = {'evals_per_epoch': 1}


def former(now: Mapping[str, Any], saved: Mapping[str, Any]) -> str:
  """Returns what to add to a command to go on with a run of an older version.

  Args:
    now: Flat config of the command.
    saved: Flat config of the run.

  Returns:
    A sentence behind a blank; '' where a former default is not the reason.

  >>> former({'evals_per_epoch': 4}, {'evals_per_epoch': 1})
  ' Earlier versions had other defaults: --config.evals_per_epoch=1 keeps them.'
  """
  flags = [
      f'--config.{key}={value}'
      for key, value in _FORMER.items()
      if saved.get(key) == value != now.get(key)
  ]
  if not flags:
    return ''
  return f' Earlier versions had other defaults: {" ".join(flags)} keeps them.'
