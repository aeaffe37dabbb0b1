"""The options of a function of a config section, read from its signature.

Estimators and methods of balancing have such functions.

The annotation of a keyword says all: its type, its choices or range, and
whether replicas of one program may differ in it.

    form: Literal['rejection', 'weighting'] = 'rejection'     a choice
    error_head: bool = False                                   a switch
    gamma: float | Array = 0.5                                 a traced number
    propensity_floor: Annotated[float | Array, SHARE] = 0.02   with its range

A traced number may be an array, and may differ between replicas. All others are
fixed when a program is compiled.
"""

from collections.abc import Callable, Iterable, Mapping
import functools
import inspect
import typing
from typing import Any, NamedTuple

from esmm_jax import options as checks
from esmm_jax.types import InputError

# Keywords that the framework fills.
RESERVED = ('tasks', 'step', 'terms')
_FINITE = checks.Range(-1e38, 1e38)


class Option(NamedTuple):
  """An option of a function.

  Attributes:
    default: Its value where it is not set.
    kind: str, bool, int or float.
    choices: The texts that it may be; () allows any.
    allowed: The range of a number; None for others.
    traced: Whether it is a number that may differ between replicas.
  """

  default: Any
  kind: type
  choices: tuple[str, ...] = ()
  allowed: checks.Range | None = None
  traced: bool = False


def options(function: Callable[..., Any], skip: int) -> dict[str, Option]:
  """Reads the options of a function.

  Args:
    function: Those of its parameters that are not `RESERVED` are options.
    skip: Positional ones at the beginning, which are no options.

  Returns:
    Name -> option, in the order of the signature.

  Raises:
    InputError: An option has no default, or an annotation that is none of
      those above.
  """
  return dict(_options(function, skip))


@functools.cache  # A sweep asks all functions for each of its configs.
def _options(
    function: Callable[..., Any], skip: int
) -> tuple[tuple[str, Option], ...]:
  """Reads the options as pairs, which nobody can change."""
  hints = typing.get_type_hints(function, include_extras=True)
  parameters = list(inspect.signature(function).parameters.values())
  return tuple(
      (parameter.name, _option(function, parameter, hints))
      for parameter in parameters[skip:]
      if parameter.name not in RESERVED
  )


def _option(
    function: Callable[..., Any],
    parameter: inspect.Parameter,
    hints: Mapping[str, Any],
) -> Option:
  """Reads one option."""
  hint, allowed = hints.get(parameter.name), None
  if typing.get_origin(hint) is typing.Annotated:
    hint, *more = typing.get_args(hint)
    allowed = next((m for m in more if isinstance(m, checks.Range)), None)
  default = parameter.default
  if default is not inspect.Parameter.empty:
    if typing.get_origin(hint) is typing.Literal:
      return Option(default, str, typing.get_args(hint))
    if hint in (str, bool):
      return Option(default, hint)
    if hint in (int, float):
      return Option(default, hint, allowed=allowed or _FINITE)
    # `Array` is Any: see `esmm_jax.types`.
    if float in typing.get_args(hint):
      return Option(default, float, (), allowed or _FINITE, traced=True)
  raise InputError(
      f'{function.__module__}.{function.__qualname__}: option'
      f' {parameter.name!r} needs a default and one of the annotations'
      ' Literal[...], bool, str, int, float, float | Array, or'
      ' Annotated[..., Range(...)] of a number.'
  )


def check(
    values: Mapping[str, Any],
    allowed: Mapping[str, Option],
    owner: str,
    section: str,
) -> None:
  """Refuses values that options cannot have.

  Args:
    values: Option -> value, those that are set.
    allowed: The options of the function.
    owner: The name of the estimator or method.
    section: The config section.

  Raises:
    InputError: An option is unknown, or its value is not allowed.
  """
  checks.refuse_unknown(values, [*allowed], section, owner)
  for name, value in values.items():
    option, key = allowed[name], f'{section}.{name}'
    if option.choices:
      checks.check_choice(key, value, option.choices)
    elif option.allowed:
      if isinstance(value, bool):
        raise InputError(f'{key} is {value}; it must be a number.')
      if option.kind is int and not isinstance(value, int):
        raise InputError(f'{key} is {value!r}; it must be a whole number.')
      checks.check_number(key, value, option.allowed)
    elif not isinstance(value, option.kind):
      raise InputError(f'{key} is {value!r}, not a {option.kind.__name__}.')


def types(functions: Iterable[Mapping[str, Option]]) -> dict[str, type]:
  """Returns the options of all functions and their types.

  Args:
    functions: The options of each. One that two have with different types is
      an `object`.
  """
  kinds: dict[str, type] = {}
  for each in functions:
    for name, option in each.items():
      same = kinds.setdefault(name, option.kind) is option.kind
      kinds[name] = option.kind if same else object
  return kinds


def taken(
    function: Callable[..., Any], values: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns those of the values that a function names."""
  names = inspect.signature(function).parameters
  return {k: v for k, v in values.items() if k in names}
