"""Keys of a config, as points of a sweep and --override set them."""

from typing import Any

from esmm_jax.types import InputError, suggest
from esmm_jax.workdir import folder
from ml_collections import config_dict


class SectionError(InputError):
  """A key names a section of a config, where a single value is wanted."""


def full_key(key: str) -> str:
  """Puts `run.` before a key of the machine that is written without it.

  Args:
    key: A dotted key; `=VALUE` may follow.
  """
  first = key.partition('=')[0].partition('.')[0]
  return f'run.{key}' if first in folder.MACHINE_KEYS else key


def is_term(tree: config_dict.ConfigDict, key: str) -> bool:
  """Returns whether a key can be the loss weight of one's own labels.

  The terms follow from `dataset.labels`, so no config lists them; a run refuses
  those that it does not have.
  """
  section, _, name = key.rpartition('.')
  is_own = tree.get('dataset', {}).get('name') == 'tabular'
  return is_own and section == 'loss_weights' and name.isidentifier()


def check_key(tree: config_dict.ConfigDict, key: str) -> None:
  """Refuses a dotted key that the config lacks; suggests a similar one.

  Raises:
    InputError: There is no such key.
    SectionError: It is a section.
  """
  if is_term(tree, key):
    return
  node = tree
  for part in full_key(key).split('.'):
    keys = list(node) if isinstance(node, config_dict.ConfigDict) else []
    if part not in keys:
      hint = suggest(part, keys)
      raise InputError(f'the config has no key {part!r}. {hint}')
    node = node[part]
  if isinstance(node, config_dict.ConfigDict):
    raise SectionError(f'set one of its keys: {", ".join(node)}.')


def has_key(tree: config_dict.ConfigDict, key: str) -> bool:
  """Returns whether the config has the dotted key, as a single value."""
  try:
    check_key(tree, key)
  except InputError:
    return False
  return True


def set_key(tree: config_dict.ConfigDict, key: str, value: Any) -> None:
  """Sets a dotted key to a value of its type; None unsets a placeholder.

  Raises:
    InputError: There is no such key, or the value is of another type.
  """
  try:
    check_key(tree, key)
    section, _, name = full_key(key).rpartition('.')
    node = tree[section] if section else tree
    if is_term(tree, key) and name not in node:
      with node.unlocked():
        node[name] = config_dict.placeholder(float)
    kind = node.get_type(name)
    fields = dict(node.items(preserve_field_references=True))
    placeholder = isinstance(fields[name], config_dict.FieldReference)
    if (value is None and not placeholder) or (
        isinstance(value, bool) and kind not in (bool, object)
    ):
      raise InputError(f'the value must be of type {kind.__name__}.')
    node[name] = value
  except TypeError as e:
    raise InputError(
        f'{key}={value}: the value must be of type {kind.__name__}.'
    ) from e
  except InputError as e:
    raise InputError(f'{key}={value}: {e}') from e
