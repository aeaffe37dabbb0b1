"""Writes what encodes and serves rows into the folder of an exported model.

The modules are the package's own, under another name, so that an export
computes what the run does: `esmm_jax.x.y` becomes `esmm_kit.x.y`. Which ones is
read from their imports.
"""

import ast
from collections.abc import Sequence
import functools
import os
import pathlib
import re

from esmm_jax.json_files import write_json
from esmm_jax.schema import Schema
from esmm_jax.serving.kit.rows import FILE, NAME

_OWN = 'esmm_jax'
_IMPORT = re.compile(rf'^(\s*(?:from|import) ){_OWN}\b', re.MULTILINE)
_ABOUT = '"""Modules of esmm_jax that encode.py and serve.py need."""\n'
_PROGRAMS = {
    'encode.py': '''\
"""Encodes rows for the exported model in this folder.

    rows = load()
    features = rows.encode([{'user': 7, 'item': 9}])  # Input -> array.

`rows.names` are the columns that it reads. Needs NEEDED.
"""

import os

from LOADER import load as _load

FOLDER = os.path.dirname(os.path.abspath(__file__))


def load(folder=FOLDER):
  """Reads what encodes the rows of an export, this one by default."""
  return _load(folder)
''',
    'serve.py': '''\
"""Serves scores of the exported model in this folder over HTTP.

`python serve.py --help` has its flags. Needs jax, flatbuffers, NEEDED.
"""

import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))


def main():
  """Serves until SIGTERM."""
  try:
    from esmm_kit.serving.kit import command

    return command.main(FOLDER)
  except ModuleNotFoundError as e:
    needed = 'NEEDED, jax, flatbuffers'.replace(',', '')
    sys.exit(f'error: there is no package {e.name}: pip install {needed}')


if __name__ == '__main__':
  sys.exit(main())
''',
}


def write(
    folder: str, schema: Schema, has_history: bool, as_of: int | None
) -> None:
  """Writes `encode.py`, `serve.py` and their modules into an export.

  Args:
    folder: Of the export.
    schema: The fields of the model.
    has_history: Whether the run has a history.
    as_of: See `History`.
  """
  loader, needed = 'serving.kit.rows', 'numpy, pyarrow'
  if has_history:
    loader, needed = 'serving.history.kit', 'numpy, pyarrow, numba'
  first = ('serving.kit.command', loader)
  root = pathlib.Path(__file__).parents[2]
  for module, text in modules(str(root), first).items():
    path = os.path.join(folder, NAME, *module.split('.')[1:]) + '.py'
    os.makedirs(os.path.dirname(path), exist_ok=True)
    _write(path, _IMPORT.sub(rf'\1{NAME}', text))
  for parent, _, _ in os.walk(os.path.join(folder, NAME)):
    _write(os.path.join(parent, '__init__.py'), _ABOUT)
  for name, text in _PROGRAMS.items():
    text = text.replace('LOADER', f'{NAME}.{loader}')
    _write(os.path.join(folder, name), text.replace('NEEDED', needed))
  about = {'schema': schema.to_dict(), 'as_of': as_of}
  write_json(os.path.join(folder, NAME, FILE), about)


def _write(path: str, text: str) -> None:
  with open(path, 'w', encoding='utf-8') as f:
    f.write(text)


@functools.cache
def modules(root: str, first: Sequence[str]) -> dict[str, str]:
  """Returns the modules that some need, themselves too: name -> source.

  Args:
    root: Folder of the package.
    first: Names of modules in it.
  """
  sources: dict[str, str] = {}
  waiting = [f'{_OWN}.{module}' for module in first]
  while waiting:
    module = waiting.pop()
    path = os.path.join(root, *module.split('.')[1:]) + '.py'
    if module in sources or not os.path.isfile(path):
      continue  # A folder, or a name in a module.
    with open(path, encoding='utf-8') as f:
      sources[module] = f.read()
    for node in ast.walk(ast.parse(sources[module])):
      if isinstance(node, ast.Import):
        waiting += [alias.name for alias in node.names]
      elif isinstance(node, ast.ImportFrom):
        waiting.append(node.module or '')
        waiting += [f'{node.module}.{alias.name}' for alias in node.names]
    waiting = [m for m in waiting if m.split('.')[0] == _OWN]
  return sources
