"""Names of parts of one kind, to which plugins add by plain assignment.

    from esmm_jax import ESTIMATORS
    ESTIMATORS['mine'] = Estimator(mine, default_weights)

A name that is taken cannot be assigned again, except by the module that has it:
a cell of a notebook may run twice.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
import re
import sys
import types
from typing import Any, Generic, TypeVar

from esmm_jax.types import InputError

Value = TypeVar('Value')
# A name stands in keys (`test/ctr/NAME`), on command lines and in file names.
_NAME = re.compile(r'[A-Za-z]\w*', re.ASCII)
_MACHINERY = ('collections.abc', '_collections_abc', __name__)


class _Plugins:
  """The plugins of this process.

  Attributes:
    modules: Plugin -> the modules that it consists of, itself among them.
    in_use: Those of the config that was read last.
  """

  modules: dict[str, frozenset[str]] = {}
  in_use: tuple[str, ...] = ()


PLUGINS = _Plugins()


class Registry(MutableMapping[str, Value], Generic[Value]):
  """Names -> parts of one kind: those of this project, and of plugins.

  >>> from esmm_jax.plugins.registry import Registry
  >>> COLOURS = Registry('COLOURS', {'red': 'ff0000'})
  >>> COLOURS['mine'] = '808080'
  >>> sorted(COLOURS)
  ['mine', 'red']
  """

  def __init__(
      self,
      name: str,
      ours: Mapping[str, Value],
      wrong: Callable[[Any], str] = lambda value: '',
  ) -> None:
    """Makes a registry.

    Args:
      name: Of the variable that holds it, for messages.
      ours: The parts of this project.
      wrong: Returns what is wrong with a part that a plugin adds, or ''.
    """
    self._name = name
    self._parts = dict(ours)
    self._ours = frozenset(ours)
    self._wrong = wrong
    # Of others' parts: the modules whose code ran at the assignment, the one
    # that assigns first.
    self._modules: dict[str, list[str]] = {}
    self._files: dict[str, str] = {}

  def __getitem__(self, name: str) -> Value:
    return self._parts[name]

  def __setitem__(self, name: str, value: Value) -> None:
    """Adds a part.

    Raises:
      InputError: It is none of this kind, or its name is taken or no name.
    """
    entry = f'{self._name}[{name!r}]'
    if not isinstance(name, str) or not _NAME.fullmatch(name):
      raise InputError(
          f'{entry}: a name has letters, digits and _, and begins with a'
          ' letter.'
      )
    modules, file = _running()
    if name in self._ours:
      raise InputError(
          f"{entry} is this project's own and stays; take another name."
      )
    # A script that trains is a plugin too: once run, and once imported.
    same = self._files.get(name) == file and not file.startswith('<')
    same |= self._modules.get(name, modules)[0] == modules[0]
    if name in self._parts and not same:
      raise InputError(
          f'{entry} is that of the module {self._modules[name][0]} already;'
          f' {modules[0]} takes another name.'
      )
    if wrong := self._wrong(value):
      raise InputError(f'{entry}: {wrong}')
    # With those of an earlier assignment: two plugins may call one function.
    before = self._modules.get(name, [])
    self._modules[name] = list(dict.fromkeys([*modules, *before]))
    self._files[name] = file
    self._parts[name] = value

  def __delitem__(self, name: str) -> None:
    if name in self._ours:
      raise InputError(
          f"{self._name}[{name!r}] is this project's own and stays."
      )
    del self._parts[name], self._modules[name], self._files[name]

  def __iter__(self) -> Iterator[str]:
    return iter(self._parts)

  def __len__(self) -> int:
    return len(self._parts)

  def __repr__(self) -> str:
    return f'{self._name}{list(self._parts)}'

  def module(self, name: str) -> str:
    """Returns the module that added a part; '' for one of this project."""
    return self._modules.get(name, [''])[0]

  def plugins(self, name: str) -> list[str]:
    """Returns the plugins of this process that add a part; [] for others'."""
    modules = set(self._modules.get(name, ()))
    return [p for p, own in PLUGINS.modules.items() if own & modules]

  def in_use(self) -> dict[str, Value]:
    """Returns the parts that the config that was read last may use.

    Those of plugins that it does not name are left out: what a run does must
    not depend on what else is trained in the process.
    """
    return {n: part for n, part in self._parts.items() if self._is_in_use(n)}

  def _is_in_use(self, name: str) -> bool:
    plugins = self.plugins(name)
    return not plugins or bool(set(plugins) & set(PLUGINS.in_use))


def _running() -> tuple[list[str], str]:
  """Returns the modules whose code assigns a part, and the first one's file.

  The one with the assignment comes first, then those that are being imported:
  a plugin may call a function of another module.
  """
  names: list[str] = []
  file = ''
  frame: types.FrameType | None = sys._getframe(1)
  while frame is not None:
    name = frame.f_globals.get('__name__', '')
    is_import = frame.f_code.co_name == '<module>'
    if name not in _MACHINERY and (is_import or not names):
      file = file or frame.f_code.co_filename
      names.append(name)
    frame = frame.f_back
  return names or ['__main__'], file


def subclass_of(base: type) -> Callable[[Any], str]:
  """Returns a check of a `Registry` of classes.

  Args:
    base: Their base class.
  """

  def wrong(value: Any) -> str:
    is_one = isinstance(value, type) and issubclass(value, base)
    return '' if is_one else f'{value!r} is no subclass of {base.__name__}.'

  return wrong


def instance_of(kind: type) -> Callable[[Any], str]:
  """Returns a check of a `Registry` of values of one type."""

  def wrong(value: Any) -> str:
    is_one = isinstance(value, kind)
    return '' if is_one else f'{value!r} is no {kind.__name__}.'

  return wrong


def function_of(*parameters: str) -> Callable[[Any], str]:
  """Returns a check of a `Registry` of functions.

  Args:
    *parameters: Names of their positional arguments, for the message.
  """

  def wrong(value: Any) -> str:
    if callable(value):
      return ''
    return f'{value!r} is no function of ({", ".join(parameters)}).'

  return wrong


def one_of(*choices: str) -> Callable[[Any], str]:
  """Returns a check of a `Registry` of texts."""

  def wrong(value: Any) -> str:
    every = ', '.join(map(repr, choices))
    return '' if value in choices else f'{value!r} is none of {every}.'

  return wrong
