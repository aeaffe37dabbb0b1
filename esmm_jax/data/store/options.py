"""Options of a data set: from a config's section to its config dataclass."""

from collections.abc import Collection, Mapping
import dataclasses
from typing import Any, TypeVar

from esmm_jax.options import refuse_unknown
from esmm_jax.types import InputError
import tensorflow_datasets as tfds

_Config = TypeVar('_Config', bound=tfds.core.BuilderConfig)
# Splits that vocabularies and scalings may be fitted on, the default first.
FIT_ON = ('train', 'train+valid')
_TFDS_OWN = {f.name for f in dataclasses.fields(tfds.core.BuilderConfig)}


def option_names(config_class: type[tfds.core.BuilderConfig]) -> list[str]:
  """Returns the fields of a config dataclass that are not TFDS' own."""
  names = [f.name for f in dataclasses.fields(config_class)]
  return [n for n in names if n not in _TFDS_OWN]


def make_config(
    config_class: type[_Config],
    options: Mapping[str, Any],
    owner: str,
    others: Collection[str] = (),
) -> _Config:
  """Builds the config of a data set.

  Args:
    config_class: Its fields have the defaults and its constructor the checks.
    options: Field -> value; None keeps the default.
    owner: The data set in error messages.
    others: Options of the data set that are no fields.

  Raises:
    InputError: The data set has no such option, or the constructor refuses a
      value.
  """
  choices = [*option_names(config_class), *others]
  refuse_unknown(options, choices, 'dataset', owner)
  return config_class(**{n: v for n, v in options.items() if v is not None})


def like(value: Any, kind: type, option: str) -> Any:
  """Converts an option to str, int or float.

  Args:
    value: As the config holds it; a number may be a text's value.
    kind: The type.
    option: Its name, for messages.

  Raises:
    InputError: It is of another kind.
  """
  kinds = {str: (str, int, float), int: (int,), float: (int, float)}
  nouns = {str: 'a text', int: 'a whole number', float: 'a number'}
  if isinstance(value, bool) or not isinstance(value, kinds[kind]):
    raise InputError(
        f'dataset.{option} is {value!r}; it must be {nouns[kind]}.'
    )
  return kind(value)
