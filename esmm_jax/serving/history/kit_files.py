"""Writes the modules that look a history up beside an exported model.

They are the package's own, under another name, so that an export computes what
the run does: `esmm_jax.x.y` becomes `esmm_kit.x.y`. Which ones is read from
their imports.
"""

import ast
import os
import pathlib
import re
from typing import Any

from esmm_jax.serving.history import kit
from esmm_jax.json_files import write_json
from esmm_jax.schema import Schema

_OWN = 'esmm_jax'
_IMPORT = re.compile(rf'^(\s*(?:from|import) ){_OWN}\b', re.MULTILINE)
_ABOUT = '"""Modules of esmm_jax that an exported model needs; see kit.py."""\n'


def write(folder: str, schema: Schema, as_of: int | None) -> None:
  """Writes the package into the folder of an export.

  Args:
    folder: Of the export.
    schema: The fields of the model.
    as_of: See `History`.
  """
  root = pathlib.Path(__file__).parents[2]
  for module, text in modules(root).items():
    path = os.path.join(folder, kit.NAME, *module.split('.')[1:]) + '.py'
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w', encoding='utf-8') as f:
      f.write(_IMPORT.sub(rf'\1{kit.NAME}', text))
  for parent, _, _ in os.walk(os.path.join(folder, kit.NAME)):
    with open(os.path.join(parent, '__init__.py'), 'w', encoding='utf-8') as f:
      f.write(_ABOUT)
  about = {'schema': schema.to_dict(), 'as_of': as_of}
  write_json(os.path.join(folder, kit.NAME, kit.FILE), about)


def modules(root: Any) -> dict[str, str]:
  """Returns the modules that the kit needs, itself too: name -> source.

  Args:
    root: Folder of the package.
  """
  sources: dict[str, str] = {}
  waiting = [f'{_OWN}.serving.history.kit']
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
