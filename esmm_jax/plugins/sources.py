"""The source files of a plugin, and one checksum of them.

A plugin consists of its module, the packages that hold it, and what these
import of the same package, or, where they lie in a folder of somebody and not
among installed packages, of that folder. Files are read, nothing is imported.
"""

import ast
from collections.abc import Iterator
import hashlib
import os
import sys

from esmm_jax.checksums import hash_json

# Of this project: the commit says what they are.
_NOT = ('esmm_jax', 'configs', 'experiments', 'benchmarks')
_INSTALLED = ('site-packages', 'dist-packages')
_MOST = 1000  # Files, of what may be a large package.


def files(module: str) -> dict[str, str]:
  """Returns the source files of a plugin that is imported.

  Args:
    module: Its name.

  Returns:
    Module -> its file; {} where there are none, of a compiled one say.
  """
  top = module.partition('.')[0]
  root = _root(module)
  if not root:
    return {}
  anywhere = not any(part in root.split(os.sep) for part in _INSTALLED)
  result: dict[str, str] = {}
  waiting = [module]
  while waiting and len(result) < _MOST:
    name = waiting.pop()
    first = name.partition('.')[0]
    if name in result or first in _NOT or not (anywhere or first == top):
      continue
    path = _file(root, name)
    if path:
      result[name] = path
      waiting += _imports(path, name)
    if '.' in name:  # The package that holds it is imported too.
      waiting.append(name.rpartition('.')[0])
  return result


def checksum(module: str) -> str:
  """Returns the sha256 of a plugin's files; '' where there are none.

  Args:
    module: Of a plugin that is imported.
  """
  hashes = {}
  for name, path in files(module).items():
    with open(path, 'rb') as f:
      hashes[name] = hashlib.sha256(f.read()).hexdigest()
  return hash_json(hashes) if hashes else ''


def _root(module: str) -> str:
  """Returns the folder that a module was imported from; '' without one."""
  path = getattr(sys.modules.get(module), '__file__', None)
  if not path or not path.endswith('.py'):
    return ''
  folder, name = os.path.split(os.path.abspath(path))
  up = module.count('.') + (name == '__init__.py')
  for _ in range(up):
    folder = os.path.dirname(folder)
  return folder


def _file(root: str, module: str) -> str:
  """Returns the file of a module below a folder; '' if there is none."""
  base = os.path.join(root, *module.split('.'))
  for path in (os.path.join(base, '__init__.py'), f'{base}.py'):
    if os.path.isfile(path):
      return path
  return ''


def _imports(path: str, module: str) -> Iterator[str]:
  """Yields the names that may be those of modules which a file imports."""
  package = module if os.path.basename(path) == '__init__.py' else (
      module.rpartition('.')[0])
  try:
    with open(path, 'rb') as f:
      tree = ast.parse(f.read())
  except (SyntaxError, ValueError):  # One that is imported never.
    return
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      parts = package.split('.') if node.level and package else []
      parts = parts[: len(parts) - max(node.level - 1, 0)]
      base = '.'.join([*parts, *filter(None, [node.module])])
      yield base
      yield from (f'{base}.{alias.name}'.lstrip('.') for alias in node.names)
