"""Imports the plugins that a config names, and says so where it cannot."""

from collections.abc import Iterator, Mapping
import contextlib
import importlib
import os
import sys
import traceback
from typing import Any

from esmm_jax import streams
from esmm_jax.plugins import sources
from esmm_jax.plugins.registry import PLUGINS, Registry
from esmm_jax.types import InputError

KEY = 'plugins'
_VERSION = 'plugin '
_sha256: dict[str, str] = {}
_said: set[str] = set()
# Values of the key that `try_to_load` could not import.
_failed: set[str] = set()


def names(value: Any) -> tuple[str, ...]:
  """Reads the key `plugins`.

  >>> from esmm_jax.plugins import loading
  >>> loading.names('my_package.mine, other'), loading.names(None)
  (('my_package.mine', 'other'), ())

  Args:
    value: Names of modules: several, or a text with commas; None: none.

  Raises:
    InputError: One is no name of a module, or is there twice.
  """
  if value is None:
    return ()
  if isinstance(value, str):
    value = value.split(',') if value.strip() else ()
  if not isinstance(value, (tuple, list)):
    raise InputError(
        f'{KEY} is {value!r}; name modules, as in'
        " plugins=('my_package.my_module',)."
    )
  modules = [m.strip() if isinstance(m, str) else m for m in value]
  for module in modules:
    parts = module.split('.') if isinstance(module, str) else ['']
    if not all(part.isidentifier() for part in parts):
      raise InputError(
          f'{KEY}: {module!r} is no name of a module; write it as an import'
          ' does, my_package.my_module, without a path or .py.'
      )
    # A folder of somebody else's run may name any: none of Python's own, some
    # of which do things when they are imported.
    if parts[0] in sys.stdlib_module_names or '__main__' in parts:
      raise InputError(
          f"{KEY}: {module!r} is one of Python's own modules; name yours."
      )
    if modules.count(module) > 1:
      raise InputError(f'{KEY}: {module} is named twice; name it once.')
  return tuple(modules)


def load(value: Any, run: str = '') -> bool:
  """Imports plugins that are not imported yet.

  Args:
    value: See `names`.
    run: Folder of the run that needs them, for messages; '' if it has none.

  Returns:
    Whether one was not there before: names are known that were not.

  Raises:
    InputError: One cannot be imported; says why and what to do.
  """
  new = [m for m in names(value) if m not in PLUGINS.modules]
  for module in new:
    _import(module, run)
    files = sources.files(module)
    PLUGINS.modules[module] = frozenset({module, *files})
    # Of what is imported: the file may change while the process runs.
    _sha256[module] = sources.checksum(module)
  return bool(new)


def use(config: Mapping[str, Any], run: str = '') -> None:
  """Imports the plugins of a config, whose parts are then those in use.

  Args:
    config: A config, which may lack the key.
    run: See `load`.

  Raises:
    InputError: See `load`.
  """
  modules = names(config.get(KEY))
  load(modules, run)
  PLUGINS.in_use = modules


@contextlib.contextmanager
def borrowed(config: Mapping[str, Any], run: str) -> Iterator[None]:
  """Uses the plugins of another run within the block.

  Args:
    config: The config of that run.
    run: Its folder.

  Raises:
    InputError: See `load`.
  """
  before = PLUGINS.in_use
  try:
    use(config, run)
    yield
  finally:
    PLUGINS.in_use = before


def in_use(registry: Mapping[str, Any], name: str, key: str) -> Any:
  """Returns a part of a registry that the config in use may take.

  Args:
    registry: A `Registry`, or any mapping; has the name.
    name: Of the part.
    key: The config key that names it, for messages.

  Raises:
    InputError: It is of a plugin that the config does not name.
  """
  if not isinstance(registry, Registry):
    return registry[name]
  module, added_by = registry.module(name), registry.plugins(name)
  if added_by and not set(added_by) & set(PLUGINS.in_use):
    wanted = (*PLUGINS.in_use, added_by[0])
    raise InputError(
        f'{key} is {name!r}, which is of the plugin {added_by[0]}, and this'
        f' config does not name that; set {KEY}={wanted}.'
    )
  if module and not added_by:
    _say_once(
        f'{key} is {name!r}, which {module} added to this process alone: no'
        ' other one can predict with the run. Name a module that adds it in'
        f' the key {KEY} of the config.'
    )
  return registry[name]


def try_to_load(config: Mapping[str, Any] | None, run: str) -> None:
  """Imports the plugins of a run of which only numbers are shown.

  A warning says, once, that one cannot be imported.

  Args:
    config: The content of config.json; may hold anything.
    run: The run's folder.
  """
  value = config.get(KEY) if isinstance(config, Mapping) else None
  if value is None or repr(value) in _failed:
    return
  try:
    load(value, run)
  except InputError as e:
    _failed.add(repr(value))  # A table may have a hundred such runs.
    streams.warn(f'{e} Until then it is not known what is best of its metrics.')


def versions(config: Mapping[str, Any]) -> dict[str, str]:
  """Returns what is noted of the plugins of a config that are imported.

  Args:
    config: The config.

  Returns:
    'plugin NAME' -> the beginning of the sha256 of its source files.
  """
  return {
      f'{_VERSION}{module}': f'sha256 {_sha256[module][:16] or "unknown"}'
      for module in names(config.get(KEY))
  }


def compare(
    run: str, then: Mapping[str, Any], config: Mapping[str, Any]
) -> None:
  """Warns where plugins are not those that a run was trained with.

  Args:
    run: The run's folder.
    then: The versions that it noted; {} if it noted none.
    config: Its config, whose plugins are imported.
  """
  for key, now in versions(config).items():
    if then.get(key, now) != now:
      _say_once(
          f'{run} was trained with the {key} of {then[key]}, and here it has'
          f' {now}: its source has changed, and numbers may differ.'
      )


def _say_once(text: str) -> None:
  if text not in _said:
    _said.add(text)
    streams.warn(text)


def _import(module: str, run: str) -> None:
  """Imports a module.

  Raises:
    InputError: It is not there, or its code raises something.
  """
  needed = f', which {run} needs,' if run else ''
  about = f'{KEY}: the module {module!r}{needed}'
  try:
    importlib.import_module(module)
  except (Exception, SystemExit) as e:  # Whatever somebody's code does.
    absent = e.name if isinstance(e, ModuleNotFoundError) else None
    if absent and f'{module}.'.startswith(f'{absent}.'):
      part = '' if absent == module else f' (there is no {absent!r})'
      raise InputError(
          f'{about} is not there{part}. Run from the folder that holds'
          f' {module.partition(".")[0]}, or add that folder to PYTHONPATH.'
      ) from e
    raise InputError(
        f'{about} cannot be imported: {_where(e)}{_told(e)} Mend the module.'
    ) from e


def _where(error: BaseException) -> str:
  """Returns the file and line of the module that raised an error."""
  if isinstance(error, SyntaxError):
    return f'{os.path.basename(error.filename or "")}, line {error.lineno}: '
  frames = traceback.extract_tb(error.__traceback__)
  inside = [
      frame
      for frame in frames
      if not frame.filename.startswith('<')
      and frame.filename != __file__
      and os.path.basename(os.path.dirname(frame.filename)) != 'importlib'
      and not _is_of_esmm_jax(frame.filename)
  ]
  if not inside:
    return ''
  return f'{os.path.basename(inside[-1].filename)}, line {inside[-1].lineno}: '


def _is_of_esmm_jax(path: str) -> bool:
  root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
  return os.path.abspath(path).startswith(root + os.sep)


def _told(error: BaseException) -> str:
  """Returns the text of an error as a sentence, with its type."""
  text = error.msg if isinstance(error, SyntaxError) else str(error)
  own = isinstance(error, InputError)
  kind = '' if own else f'{type(error).__name__}: '
  return f'{kind}{" ".join(text.split()) or "no reason"}'.rstrip('.') + '.'

