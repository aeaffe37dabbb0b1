"""The modules of configs/ and experiments/ by both of their names.

An installed package holds these folders as `esmm_jax.configs` and
`esmm_jax.experiments`, and that is how the code names them. In a checkout they
lie beside the package, where `python -m experiments.train` finds them too. So
that a class is not there twice, each module is loaded as `esmm_jax.x.y`, and
`x.y` is another name of the same object.
"""

from collections.abc import Sequence
import importlib
from importlib import machinery, util
import os
import sys
import types
from typing import Any

NAMES = ('configs', 'experiments')
_PACKAGE = 'esmm_jax'
_INSIDE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_BESIDE = os.path.dirname(_INSIDE)


def is_checkout() -> bool:
  """Returns whether the folders lie beside the package, not in it."""
  return not os.path.isdir(os.path.join(_INSIDE, NAMES[0]))


def root() -> str:
  """Returns the folder that holds the package; of a checkout, its root."""
  return _BESIDE


def folder(name: str) -> str:
  """Returns the folder of one of `NAMES`."""
  return os.path.join(root() if is_checkout() else _INSIDE, name)


class _Other:
  """Gives the module of one name another name."""

  def __init__(self, spec: machinery.ModuleSpec):
    self._spec = spec  # Of the module itself.
    self._loader: Any = spec.loader

  def create_module(self, spec: Any) -> types.ModuleType:
    return importlib.import_module(self._spec.name)

  def exec_module(self, module: types.ModuleType) -> None:
    module.__spec__ = self._spec  # importlib has set that of the other name.

  def is_package(self, fullname: str) -> bool:
    return self._spec.submodule_search_locations is not None

  def get_source(self, fullname: str) -> str | None:
    return self._loader.get_source(self._spec.name)

  def get_code(self, fullname: str) -> types.CodeType | None:
    """Returns the code, for `python -m`."""
    return self._loader.get_code(self._spec.name)


class _Finder:
  """Finds `esmm_jax.configs` beside the package, and `configs.x` by alias."""

  def __init__(self) -> None:
    self.aliases: set[str] = set()

  def find_spec(
      self,
      fullname: str,
      path: Sequence[str] | None,
      target: types.ModuleType | None = None,
  ) -> machinery.ModuleSpec | None:
    top, _, rest = fullname.partition('.')
    if top == _PACKAGE and rest in NAMES:
      place = folder(rest)
      return util.spec_from_file_location(
          fullname,
          os.path.join(place, '__init__.py'),
          submodule_search_locations=[place],
      )
    if not rest or top not in self.aliases:
      return None
    spec = util.find_spec(f'{_PACKAGE}.{fullname}')
    if spec is None:
      return None
    alias = machinery.ModuleSpec(
        fullname,
        _Other(spec),  # type: ignore[arg-type] # Its base imports slowly.
        origin=spec.origin,
        is_package=spec.submodule_search_locations is not None,
    )
    alias.cached = spec.cached
    alias.has_location = spec.has_location
    return alias


_FINDER = _Finder()


def install() -> None:
  """Makes `esmm_jax.configs` and `esmm_jax.experiments` importable."""
  if is_checkout():
    _begin()


def _begin() -> None:
  if _FINDER not in sys.meta_path:
    sys.meta_path.insert(0, _FINDER)


def alias(name: str) -> None:
  """Makes a module that is being imported another name of `esmm_jax.<name>`.

  Args:
    name: One of `NAMES`, as which the folder is imported.
  """
  _begin()
  _FINDER.aliases.add(name)
  sys.modules[name] = importlib.import_module(f'{_PACKAGE}.{name}')
